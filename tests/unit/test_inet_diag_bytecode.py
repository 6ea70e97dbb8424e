"""Filter programs: a small interpreter, by sock_diag's rules, agrees with the logic that was asked for."""

from hypothesis import given
from hypothesis import strategies as st

from twinsock.uapi.inet_diag import INET_DIAG_BC_D_EQ, INET_DIAG_BC_JMP, INET_DIAG_BC_S_EQ, INET_DIAG_BC_S_GE
from twinsock.wire.inet_diag import bc_and, bc_not, bc_or, bc_port

MEANING = {
    INET_DIAG_BC_S_EQ: lambda sport, dport, value: sport == value,
    INET_DIAG_BC_D_EQ: lambda sport, dport, value: dport == value,
    INET_DIAG_BC_S_GE: lambda sport, dport, value: sport >= value,
}


def accepts(program, sport, dport):
    """Run a program; also what the kernel's audit asks: each jump lands on an operation, or at most 4 past the end."""
    at = 0
    while at < len(program):
        op, yes, no = program[at], program[at + 1], int.from_bytes(program[at + 2 : at + 4], "little")
        assert yes >= 4
        assert at + no <= len(program) + 4
        if op == INET_DIAG_BC_JMP:
            at += no
            continue
        value = int.from_bytes(program[at + 6 : at + 8], "little")
        at += yes if MEANING[op](sport, dport, value) else no
    return at == len(program)


leaves = st.tuples(st.sampled_from(sorted(MEANING)), st.integers(0, 3))
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.just("and"), inner, inner), st.tuples(st.just("or"), inner, inner), st.tuples(st.just("not"), inner)
    ),
    max_leaves=12,
)


def compiled(tree):
    if tree[0] == "and":
        return bc_and(compiled(tree[1]), compiled(tree[2]))
    if tree[0] == "or":
        return bc_or(compiled(tree[1]), compiled(tree[2]))
    if tree[0] == "not":
        return bc_not(compiled(tree[1]))
    return bc_port(*tree)


def meant(tree, sport, dport):
    if tree[0] == "and":
        return meant(tree[1], sport, dport) and meant(tree[2], sport, dport)
    if tree[0] == "or":
        return meant(tree[1], sport, dport) or meant(tree[2], sport, dport)
    if tree[0] == "not":
        return not meant(tree[1], sport, dport)
    return MEANING[tree[0]](sport, dport, tree[1])


@given(trees)
def test_a_program_accepts_what_its_expression_means(tree):
    program = compiled(tree)
    for sport in range(4):
        for dport in range(4):
            assert accepts(program, sport, dport) == meant(tree, sport, dport)
