"""`twinsock ss` without a kernel: options, the filter language, the table, what is refused; and no traceback for any input."""

import io
from contextlib import redirect_stderr, redirect_stdout

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinsock.inspect.filter import Subject, compiled
from twinsock.inspect.tcp_info import parse_bbr, parse_tcp_info
from twinsock.ui import ss
from twinsock.ui.args import UsageError
from twinsock.ui.ss_extra import arrows, duration
from twinsock.ui.ss_filter import Parser, tokens_of
from twinsock.ui.ss_formats import grouped, ordered
from twinsock.ui.ss_help import help_text
from twinsock.ui.ss_options import ALL_STATES, BOUND_INACTIVE, CLOSE, CONNECTED, ESTABLISHED, LISTEN, OPTIONS, TABLES, Options, parse
from twinsock.ui.ss_sheet import Sheet
from twinsock.ui.ss_summary import summary_text

CLIENT = Subject(2, bytes([10, 0, 0, 1]), 40000, bytes([10, 0, 0, 2]), 443)
MAPPED = Subject(10, b"\0" * 10 + b"\xff\xff" + bytes([10, 0, 0, 1]), 80, b"\0" * 15 + b"\1", 9)


def options(line: str) -> Options:
    return parse(line.split())


def condition(text: str) -> Parser:
    return Parser(text.split(), lambda name: 7, lambda path: 99, False)


def matches(text: str, subject: Subject) -> bool:
    return condition(text).parse().matches(subject)


def refused(*argv: str) -> str:
    err = io.StringIO()
    with redirect_stderr(err), redirect_stdout(io.StringIO()):
        assert ss.main(list(argv)) == 2
    return err.getvalue()


def test_short_options_combine_and_take_values_attached_or_apart() -> None:
    assert options("-tlnp").given == ["tcp", "listening", "numeric", "processes"]
    assert options("-tfinet").values["family"] == options("-t -f inet").values["family"] == "inet"
    assert options("--fam=inet6").families == (10,)


def test_tables_follow_the_options() -> None:
    assert options("").tables == list(TABLES)
    assert options("-tu").tables == ["udp", "tcp"]
    assert options("-4").tables == ["raw", "udp", "tcp", "mptcp"] and options("-4").families == (2,)
    assert options("-A all,!unix,!inet,!netlink").tables == ["packet_raw", "packet_dgram", "vsock_stream", "vsock_dgram", "xdp"]
    assert options("-46").families == (2, 10)


def test_states_follow_the_options_and_the_filter() -> None:
    assert options("-t").states == CONNECTED
    assert options("-ta").states == ALL_STATES
    assert options("-tl").states == LISTEN | CLOSE
    assert options("-tB").states == BOUND_INACTIVE
    assert options("-t state established exclude established state listening").states == LISTEN
    assert options("-t state estab sport = :80").states == ESTABLISHED


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("-K", "ss -K does"),
        ("-E", "twinsock trace"),
        ("-Q", "unknown option -Q"),
        ("--listning", "did you mean --listening"),
        ("--f", "--family or --filter"),
        ("-f inet9", "no family inet9"),
        ("-A tpc", "did you mean tcp"),
        ("-A sctp", "SCTP"),
        ("-x -4", "exclude each other"),
        ("state foo", "no state foo"),
        ("state established exclude all", "no state is left"),
        ("-N", "needs a value"),
        ("--tcp=yes", "takes no value"),
        ("-F /nonexistent", "cannot read the filter"),
        ("--json --csv", "at a time"),
    ],
)
def test_what_makes_no_sense_gets_a_sentence(line: str, sentence: str) -> None:
    assert sentence in refused(*line.split())


def test_signs_need_no_blanks() -> None:
    assert tokens_of("sport=:80 &&!(dport>=5||src a)") == [
        *("sport", "=", ":80", "&&", "!", "(", "dport", ">=", "5", "||", "src", "a", ")"),
    ]
    assert tokens_of("src unix:/run/[!a]*") == ["src", "unix:/run/[!a]*"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sport = :40000", True),
        ("sport 40000 dport 443", True),
        ("sport gt 40000", False),
        ("dport le :443 and dport ge 443", True),
        ("dport = :https", True),
        ("dst 10.0.0.0/8", True),
        ("dst 10/8", True),
        ("dst 10.0.0.0/31", False),
        ("src 10.0.0.1:40000", True),
        ("src 10.0.0.1:1", False),
        ("not dst 10.0.0.2", False),
        ("sport 1 or dport 443", True),
        ("sport 1 or sport 40000 and dport 1", False),
        ("( sport 1 or sport 40000 ) and dport 1", False),
        ("src unix:*", False),
        ("dev eth0", False),
        ("cgroup != /x", True),
        ("fwmark = 0/0xff", True),
        ("! ! sport 40000", True),
    ],
)
def test_a_filter_selects_what_it_says(text: str, expected: bool) -> None:
    assert matches(text, CLIENT) is expected


def test_an_ipv4_prefix_selects_mapped_addresses_as_the_kernel_does() -> None:
    assert matches("src 10.0.0.0/8", MAPPED) and not matches("src [::]/128", MAPPED)
    assert matches("src [::ffff:10.0.0.1]:80", MAPPED) and matches("dst [::1]", MAPPED)


@pytest.mark.parametrize(
    "text", ["", "sport", "sport = ", "( sport 1", "sport 1 )", "src 1.2.3.4/33", "fwmark x", "sport = :nosuchservice", "src < 1"]
)
def test_a_broken_filter_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        condition(text).parse()


def test_deep_brackets_are_refused_before_the_stack_is_used_up() -> None:
    with pytest.raises(UsageError, match="levels"):
        condition("( " * 5000 + "sport 1" + " )" * 5000).parse()


def test_a_filter_too_long_for_the_kernel_is_not_compiled() -> None:
    assert compiled(condition(" ".join(["dst 10.0.0.1"] * 10)).parse())
    assert compiled(condition(" ".join(["dst 10.0.0.1"] * 4000)).parse()) is None


@given(
    st.lists(
        st.sampled_from(["sport", "=", ":80", "(", ")", "!", "or", "and", "dst", "10/8", "[::1]", "state", "x", "-t", "-lx", "--all"]),
        max_size=12,
    )
)
@settings(max_examples=200, deadline=None)
def test_no_command_line_ends_in_a_traceback(words: list[str]) -> None:
    try:
        parsed = parse(words)
        if parsed.words:
            condition(" ".join(parsed.words)).parse().bytecode()
    except UsageError as error:
        assert str(error)


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    sheet = Sheet(netid=False, state=True, header=True)
    sheet.add(("tcp", "LISTEN", "0", "128", "0.0.0.0", ":22", "0.0.0.0", ":*", ""))
    assert "".join(sheet.texts()) == (
        "State  Recv-Q Send-Q Local Address:Port Peer Address:PortProcess\n"
        "LISTEN 0      128          0.0.0.0:22        0.0.0.0:*          \n"
    )


@pytest.mark.parametrize(
    ("ms", "text"),
    [(924, "924ms"), (1234, "1.234ms"), (59_999, "59sec"), (119_000, "1min59sec"), (7_200_000, "120min"), (9_960, "9.960ms")],
)
def test_durations_are_written_as_ss_writes_them(ms: int, text: str) -> None:
    assert duration(ms) == text


def test_arrows_tell_the_open_directions() -> None:
    assert [arrows(bits) for bits in range(4)] == ["<->", "-->", "<--", "---"]


def test_tcp_info_of_an_older_kernel_is_read_as_far_as_it_goes() -> None:
    data = bytes([1, 0, 0, 0, 0, 7, 0xA7, 1]) + (200_000).to_bytes(4, "little") + bytes(92)
    info = parse_tcp_info(data)
    assert info["rto"] == 200_000 and info["snd_wscale"] == 7 and info["rcv_wscale"] == 10 and info["app_limited"] == 1
    assert "pacing_rate" not in info and "total_retrans" in info
    assert len(parse_tcp_info(data + bytes(300))) == len(info) + 27
    assert parse_tcp_info(b"") == {} and parse_bbr(b"short") == {}


def test_groups_are_counted_and_ordered() -> None:
    found: list[dict[str, object]] = [{"state": "ESTAB", "uid": 1}, {"state": "LISTEN", "uid": None}, {"state": "ESTAB", "uid": 0}]
    assert list(grouped(found, "state")) == [{"count": 2, "state": "ESTAB"}, {"count": 1, "state": "LISTEN"}]
    assert [record["uid"] for record in ordered(found, "uid")] == [None, 0, 1]
    assert [record["uid"] for record in ordered(found, "-uid")] == [1, 0, None]
    with pytest.raises(UsageError, match="did you mean state"):
        ordered(found, "stat")


def test_the_summary_has_the_lines_of_ss() -> None:
    text = summary_text(
        {"sockets": {"used": 62}, "TCP": {"inuse": 18, "alloc": 30, "tw": 2, "orphan": 1}, "TCP6": {"inuse": 8}, "estab": {"now": 4}}
    )
    assert text.splitlines()[:2] == ["Total: 62", "TCP:   32 (estab 4, closed 8, orphaned 1, timewait 2)"]


def test_the_help_names_every_option() -> None:
    assert all(f"--{long}" in help_text() for _short, long, _value, _help in OPTIONS)
