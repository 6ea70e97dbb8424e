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
    assert run("--version")[1].rstrip().endswith(("(pure Python)", "(compiled)"))
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


TARGETS = st.one_of(
    st.integers(0, 70000).map(str),
    st.builds(
        "{}://{}:{}".format, st.sampled_from(["tcp", "udp", "mptcp", "tcp6", "sctp"]), st.ip_addresses().map(str), st.integers(0, 65535)
    ),
    st.builds("[{}%{}]:{}".format, st.ip_addresses(v=6).map(str), st.sampled_from(["lo", "1", "nope", "\x00"]), st.integers(0, 65535)),
    st.builds("unix{}:{}".format, st.sampled_from(["", "-dgram", "-seqpacket", "-x"]), st.text(max_size=120)),
    st.sampled_from(
        ["[fe80::1]:80", "[ff02::1]:80", "224.0.0.1:80", "255.255.255.255:80", "[::ffff:127.0.0.1]:80", "/", "/dev/null", "/proc/1/x"]
    ),
)
SWITCHES = st.lists(
    st.sampled_from(
        [
            *("--reuseaddr", "--reuseport", "--v6only", "--no-v6only", "--freebind", "--transparent", "--bind-only", "--json"),
            *(
                "--device=lo",
                "--device=nope",
                "--device=\udcff",
                "--uid=0",
                "--uid=65534",
                "--uid=nobody",
                "--pid=1",
                "--netns=1",
                "--netns=\n",
            ),
        ]
    ),
    max_size=4,
)


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(TARGETS, SWITCHES, st.booleans())
def test_whatever_is_asked_of_this_machine_is_answered_without_a_traceback(text: str, switches: list[str], connect: bool) -> None:
    code, out, err = run("why", text, *switches, *(["--connect"] if connect else []))
    assert code in (0, 1, 2, 3)
    assert (out == "") == (code == 2 or (code == 3 and err != ""))
    assert err.count("\n") == (1 if out == "" else 0)
