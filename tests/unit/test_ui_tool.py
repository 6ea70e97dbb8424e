"""Option tables, durations and tables of the tools."""

import pytest

from twinsock.inspect.counters import parse_snmp, parse_sockstat
from twinsock.ui import count, leaks, listeners, ns, ports
from twinsock.ui.args import UsageError
from twinsock.ui.columns import Columns
from twinsock.ui.term import Paper
from twinsock.ui.tool import help_with_options, parse_options, seconds_of

TOOLS = (count, leaks, listeners, ns, ports)


@pytest.mark.parametrize("tool", TOOLS)
def test_the_help_of_a_tool_names_each_option_once_and_stays_narrow(tool: object) -> None:
    text = help_with_options(tool.HELP, tool.OPTIONS)  # type: ignore[attr-defined]
    names = [long for _short, long, _value, _help in tool.OPTIONS]  # type: ignore[attr-defined]
    assert len(names) == len(set(names))
    for name in names:
        assert f"--{name}" in text
    assert "OPTIONS" not in text
    assert "exit codes:" in text
    assert max(len(line) for line in text.splitlines()) <= 130


def test_short_options_are_long_ones() -> None:
    args = parse_options(["-t", "8080", "--watch", "1", "--netns=blue"], listeners.OPTIONS)
    assert (args.flags, args.words, args.values) == (["--tcp"], ["8080"], {"--watch": "1", "--netns": "blue"})


def test_after_two_dashes_everything_is_a_word() -> None:
    assert parse_options(["--", "-t"], listeners.OPTIONS).words == ["-t"]


@pytest.mark.parametrize(("text", "seconds"), [("30", 30), ("0.5", 0.5), ("30s", 30), ("2m", 120), ("1h", 3600), ("200ms", 0.2)])
def test_durations_take_units_of_time(text: str, seconds: float) -> None:
    assert seconds_of(text, "--for") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "0", "-1", "1d", "1e3", "999h", "٣"])
def test_durations_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        seconds_of(text, "--for")


def test_a_table_is_cut_where_the_terminal_ends_and_numbers_stay_whole() -> None:
    table = Columns("", ">count", "name")
    table.row("ok", 12345, "x" * 100, below=["      below"])
    paper = Paper(False, 40)
    table.draw(paper)
    assert [len(line) for line in paper.lines] == [17, 40, 11]
    assert "12345" in paper.lines[1]
    assert paper.lines[1].endswith("~")
    wide = Paper(False, 0)
    table.draw(wide)
    assert "x" * 100 in wide.lines[1]


def test_a_process_name_cannot_paint_the_terminal() -> None:
    table = Columns("name")
    table.row("\x1b[31mred\n")
    paper = Paper(False, 0)
    table.draw(paper)
    assert "\x1b" not in "".join(paper.lines)


def test_counters_are_read_by_name_in_whatever_order() -> None:
    text = b"TcpExt: A B\nTcpExt: 1 -2\nIpExt: C\nIpExt: 3\nnonsense\nX: 1 2\n"
    assert parse_snmp(text) == {"TcpExt": {"A": 1, "B": -2}, "IpExt": {"C": 3}}
    assert parse_sockstat(b"sockets: used 7\nTCP: inuse 5 orphan 0\nbroken\n") == {"sockets": {"used": 7}, "TCP": {"inuse": 5, "orphan": 0}}
