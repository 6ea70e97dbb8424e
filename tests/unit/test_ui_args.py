"""The command line: words, switches, addresses; and that nothing a user types ends in a traceback."""

import io
from contextlib import redirect_stderr, redirect_stdout

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinsock.inspect.facts import Question
from twinsock.uapi.in_ import IPPROTO_MPTCP, IPPROTO_TCP, IPPROTO_UDP
from twinsock.uapi.socket import AF_INET, AF_INET6, AF_UNIX, SOCK_DGRAM, SOCK_STREAM
from twinsock.ui import cli, why
from twinsock.ui.args import UsageError, parse
from twinsock.ui.target import parse_target


def target(text: str) -> Question:
    return parse_target(text, False)


def run(*argv: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = cli.main(list(argv))
    return code, out.getvalue(), err.getvalue()


def test_options_may_stand_anywhere_and_take_their_value_either_way() -> None:
    args = parse(["--uid", "5", "80", "--device=lo", "--reuseaddr"], ("--reuseaddr",), ("--uid", "--device"))
    assert args.words == ["80"]
    assert args.values == {"--uid": "5", "--device": "lo"}
    assert args.has("--reuseaddr")


def test_an_optional_value_is_taken_only_if_it_is_a_number() -> None:
    assert parse(["--wait", "80x"], (), (), ("--wait",)).words == ["80x"]
    assert parse(["80", "--wait", "2.5"], (), (), ("--wait",)).values == {"--wait": "2.5"}


def test_a_misspelt_option_is_answered_with_the_right_one() -> None:
    with pytest.raises(UsageError, match="did you mean --reuseaddr"):
        parse(["--reusaddr"], ("--reuseaddr",), ())


def test_a_bare_port_means_tcp_on_every_ipv4_address() -> None:
    question = target("8080")
    assert (question.family, question.protocol, question.address, question.port) == (AF_INET, IPPROTO_TCP, bytes(4), 8080)


@pytest.mark.parametrize(
    ("text", "family", "protocol", "port"),
    [
        ("tcp://0.0.0.0:80", AF_INET, IPPROTO_TCP, 80),
        ("udp://[::]:53", AF_INET6, IPPROTO_UDP, 53),
        ("udp:53", AF_INET, IPPROTO_UDP, 53),
        ("53/udp", AF_INET, IPPROTO_UDP, 53),
        ("tcp6://:80", AF_INET6, IPPROTO_TCP, 80),
        ("mptcp://:8443", AF_INET, IPPROTO_MPTCP, 8443),
        ("[::1]:65535", AF_INET6, IPPROTO_TCP, 65535),
        ("*:1", AF_INET, IPPROTO_TCP, 1),
        (":0", AF_INET, IPPROTO_TCP, 0),
        ("[fe80::1%eth0]:80", AF_INET6, IPPROTO_TCP, 80),
    ],
)
def test_every_way_to_write_an_address_is_understood(text: str, family: int, protocol: int, port: int) -> None:
    question = target(text)
    assert (question.family, question.protocol, question.port) == (family, protocol, port)


def test_unix_names_are_paths_or_abstract() -> None:
    assert target("unix:/run/x.sock").path == b"/run/x.sock"
    assert target("/run/x.sock").family == AF_UNIX
    assert target("unix:@name").path == b"\0name"
    assert target("unix:///run/x").path == b"/run/x"
    assert target("unix:/run/x").type == SOCK_STREAM
    assert target("unix-dgram:/run/x").type == SOCK_DGRAM


@pytest.mark.parametrize(
    "text",
    [
        *("65536", "-1", "1e3", "", ":", "::1", "[::1]", "[::1:80", "1.2.3:80", "300.1.1.1:80", "tcp://", "sctp://:1"),
        *("80/sctp", "127.0.0.1", "[1.2.3.4]:80", "[::g]:80", "1.2.3.4%lo:80", "unix:", "unix:" + "x" * 109, "99999999999999999999"),
    ],
)
def test_a_bad_address_is_one_clear_line_and_exit_code_2(text: str) -> None:
    code, out, err = run("why", text)
    assert code == 2
    assert out == ""
    assert err.startswith("twinsock why: ") and err.count("\n") == 1


@pytest.mark.parametrize(
    "argv",
    [
        ["80", "--uid", "no-such-user-here"],
        ["80", "--uid", "4294967295"],
        ["80", "--pid", "0"],
        ["80", "--pid", "x"],
        ["80", "--pid", "4194304"],
        ["80", "--netns", "no-such-namespace"],
        ["80", "--v6only"],
        ["[::]:80", "--v6only", "--no-v6only"],
        ["80", "81"],
        ["80", "--wait=soon"],
        ["80", "--json=x"],
        [],
    ],
)
def test_bad_options_are_one_clear_line_and_exit_code_2(argv: list[str]) -> None:
    code, out, err = run("why", *argv)
    assert (code, out) == (2, "")
    assert err.startswith("twinsock why: ") and err.count("\n") == 1


def test_a_misspelt_command_is_answered_with_the_right_one() -> None:
    code, _out, err = run("wy")
    assert code == 2
    assert "did you mean why" in err


def test_version_and_help_are_printed_to_standard_output() -> None:
    assert run("--version")[1].startswith("twinsock ")
    assert "why" in run("--help")[1]
    assert "usage: twinsock why" in run("why", "--help")[1]


WORDS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["80", "tcp://", "[::]:80", "udp://[", "unix:", "@", "--uid", "--pid", "--netns", "--device", "--", "-", "%"]),
    st.integers(-5, 10**22).map(str),
    st.sampled_from([*why.FLAGS, *why.VALUED, *why.OPTIONAL]),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(WORDS, max_size=6))
def test_no_command_line_ends_in_a_traceback(words: list[str]) -> None:
    try:
        args = parse(words, why.FLAGS, why.VALUED, why.OPTIONAL)
        if not any("." in word or word.isalpha() for word in args.words):  # names would be looked up in the network
            why.read_question(args)
    except UsageError as error:
        assert "\n" not in str(error)
