"""What uapi, wire and kernel do without, so that mypyc compiles them well and the same seed gives the same run."""

import ast

import pytest

from tests.arch.sources import Source, sources

CORE = ("uapi", "wire", "kernel")
NAMES = {
    "dataclass": "a plain class",
    "NamedTuple": "a plain class",
    "namedtuple": "a plain class",
    "Enum": "Final ints",
    "IntEnum": "Final ints",
    "IntFlag": "Final ints",
    "__slots__": "nothing: mypyc's classes have fixed attributes",
}
CALLS = {
    "id": "it differs from run to run",
    "hash": "it differs from run to run",
    "open": "the core does no I/O",
    "print": "the core does no I/O",
    "input": "the core does no I/O",
    "eval": "mypyc cannot see into it",
    "exec": "mypyc cannot see into it",
    "__import__": "imports are written as imports",
}
NODES = {
    ast.Yield: "a generator",
    ast.YieldFrom: "a generator",
    ast.AsyncFunctionDef: "async",
    ast.Await: "await",
    ast.AsyncFor: "async for",
    ast.AsyncWith: "async with",
    ast.Global: "global: state belongs to a Kernel or a Net",
}


def core_violations(source: Source) -> list[str]:
    """Return the constructs that the core does without, one line each."""
    bad = []
    for node in ast.walk(source.tree):
        what = _violation(node)
        if what:
            bad.append(f"{source.path}:{getattr(node, 'lineno', 0)}: {what}")
    return bad


def _violation(node: ast.AST) -> str:
    for kind, text in NODES.items():
        if isinstance(node, kind):
            return text
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    if isinstance(node, ast.alias):
        name = node.name
    if name in NAMES:
        return f"{name}, use {NAMES[name]}"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
        return f"{node.func.id}(): {CALLS[node.func.id]}"
    if isinstance(node, ast.ClassDef) and len([base for base in node.bases if _base_name(base) != "Protocol"]) > 1:
        return f"class {node.name} has two bases"
    if isinstance(node, ast.For | ast.comprehension) and _is_set(node.iter):
        return "a set is iterated: its order differs from run to run"
    return ""


def _base_name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _is_set(node: ast.expr) -> bool:
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("set", "frozenset")


def _is_type_checking_block(node: ast.stmt) -> bool:
    """Tell whether a statement is `TYPE_CHECKING = False`, or the imports under it, which cost nothing at run time."""
    if isinstance(node, ast.Assign):
        return ast.unparse(node) == "TYPE_CHECKING = False"
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and all(isinstance(s, ast.ImportFrom) for s in node.body)


def uapi_violations(source: Source) -> list[str]:
    """Return the statements of a uapi file that are neither a Final constant nor a table of names."""
    bad = []
    for node in source.tree.body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        typing = isinstance(node, ast.ImportFrom) and node.module in ("typing", "__future__")
        constant = (
            isinstance(node, ast.AnnAssign)
            and ast.unparse(node.annotation).startswith("Final")
            and node.value is not None
            and not any(isinstance(part, ast.Call | ast.Lambda | ast.Attribute) for part in ast.walk(node.value))
        )
        if not (docstring or typing or constant or _is_type_checking_block(node)):
            bad.append(f"{source.path}:{node.lineno}: {ast.unparse(node)[:60]}")
    return bad


def test_the_core_does_without_slow_and_random_constructs() -> None:
    core = [source for source in sources("src") if source.layer in CORE]
    assert [line for source in core for line in core_violations(source)] == []


def test_uapi_holds_only_constants_and_name_tables() -> None:
    uapi = [source for source in sources("src") if source.layer == "uapi"]
    assert [line for source in uapi for line in uapi_violations(source)] == []


@pytest.mark.parametrize(
    "text",
    [
        "from dataclasses import dataclass",
        "@dataclasses.dataclass\nclass C: ...",
        "class C(NamedTuple): ...",
        "class C(enum.IntEnum): ...",
        "class C:\n    __slots__ = ('a',)",
        "def f():\n    yield 1",
        "def f():\n    yield from []",
        "async def f(): ...",
        "def f():\n    global x",
        "class C(A, B): ...",
        "x = id(y)",
        "x = hash(y)",
        "print(1)",
        "for x in {1, 2}: ...",
        "x = [a for a in set(b)]",
    ],
)
def test_a_construct_that_the_core_does_without_is_found(text: str) -> None:
    assert core_violations(Source("src/twinsock/kernel/net/core/sock.py", text))


@pytest.mark.parametrize(
    "text", ["def f(): ...", "X = 1", "X: int = 1", "X: Final = int('1')", "class C: ...", "import os", "x(1)", "if 1: ..."]
)
def test_anything_but_a_constant_in_uapi_is_found(text: str) -> None:
    assert uapi_violations(Source("src/twinsock/uapi/errno.py", text))
