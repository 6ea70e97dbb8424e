"""Two reports of a program, held against each other: what counts as a difference, and what may differ."""

import struct

import pytest

from twinsock.parity.compare import Comparison, Difference
from twinsock.parity.report import Report
from twinsock.wire.l4 import pseudo_sum4
from twinsock.wire.tcp import TCPHDR_ACK, TCPHDR_SYN, Tcphdr, emit

SOCKSTAT = "sockets: used {used}\nTCP: inuse 1 orphan {orphan} tw 0 alloc {alloc} mem 3\n"
HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def lines(*calls: object, proc: dict[str, str] | None = None, packets: list[bytes] | None = None, code: int = 0, inode: int = 0) -> str:
    """Write what a side notes of a run with these calls."""
    found: list[object] = [("capture", inode)] if inode else []
    found += [("call", "MainThread", *call) for call in calls]  # type: ignore[misc]
    found += [("result", None), ("end", proc or {}), ("packets", packets or [], 0), ("exit", code)]
    return "".join(repr(line) + "\n" for line in found)


def first(host: str, twin: str, outputs: tuple[str, str] = ("", "")) -> Difference | None:
    """Compare two runs."""
    return Comparison(Report(host, outputs[0]), Report(twin, outputs[1])).run()


SOCKET = ("socket", "", (2, 1, 0), "ok", "s1")


def bound(port: int) -> tuple[object, ...]:
    return ("getsockname", "s1", (), "ok", ("127.0.0.1", port))


def test_an_ephemeral_port_may_differ_but_stays_the_same_one() -> None:
    assert first(lines(SOCKET, bound(40000), bound(40000)), lines(SOCKET, bound(50000), bound(50000))) is None
    found = first(lines(SOCKET, bound(40000), bound(40001)), lines(SOCKET, bound(50000), bound(50000)))
    assert found is not None
    assert (found.kind, found.call, found.before[-1]) == ("call", 2, "s1.getsockname() = ('127.0.0.1', 40000)")


def test_a_port_that_the_program_chose_must_be_equal() -> None:
    found = first(lines(bound(80)), lines(bound(81)))
    assert found is not None
    assert "80" in found.host
    assert "81" in found.twin


def test_another_errno_is_the_first_difference() -> None:
    found = first(lines(SOCKET, ("listen", "s1", (), "EADDRINUSE", None)), lines(SOCKET, ("listen", "s1", (), "ok", None)))
    assert found is not None
    assert (found.host, found.twin) == ("s1.listen() = EADDRINUSE", "s1.listen() = None")
    assert found.before == ["socket(2, 1, 0) = 's1'"]


def test_a_wait_in_vain_takes_no_part() -> None:
    wait = ("epoll.poll", "e1", (), "nothing", None)
    assert first(lines(SOCKET, wait, wait), lines(SOCKET)) is None


def test_counters_of_the_machine_and_the_socket_that_looks_on_do_not_count() -> None:
    mine = {"sockstat": SOCKSTAT.format(used=3, orphan=7, alloc=90)}
    theirs = {"sockstat": SOCKSTAT.format(used=2, orphan=0, alloc=1)}
    assert first(lines(SOCKET, proc=mine, inode=5), lines(SOCKET, proc=theirs)) is None
    found = first(lines(SOCKET, proc=mine), lines(SOCKET, proc=theirs))
    assert found is not None
    assert (found.where, found.host, found.twin) == ("/proc/net/sockstat at the end", "sockets used 3", "sockets used 2")


def row(slot: int, port: int, state: str, inode: int) -> str:
    return f"   {slot}: 0100007F:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1\n"


def test_rows_may_stand_in_another_order_and_slot() -> None:
    mine = {"tcp": HEAD + row(0, 80, "0A", 100) + row(1, 81, "0A", 101)}
    theirs = {"tcp": HEAD + row(7, 81, "0A", 5) + row(9, 80, "0A", 6)}
    assert first(lines(SOCKET, proc=mine), lines(SOCKET, proc=theirs)) is None
    theirs = {"tcp": HEAD + row(7, 81, "0A", 5)}
    found = first(lines(SOCKET, proc=mine), lines(SOCKET, proc=theirs))
    assert found is not None
    assert "0100007F 80" in found.host
    assert found.twin == "(no such row)"


def segment(sport: int, seq: int, flags: int, ack: int, window: int = 65495) -> bytes:
    th = Tcphdr(sport, 80, seq, ack, flags, window)
    raw = emit(th, b"", pseudo_sum4(0x7F000001, 0x7F000001, 6, 20))
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(raw), seq & 0xFFFF, 0, 64, 6, 0, b"\x7f\0\0\1", b"\x7f\0\0\1") + raw


def test_packets_are_held_relative_to_the_first_sequence_number() -> None:
    calls = (SOCKET, bound(40000))
    others = (SOCKET, bound(50000))
    mine = [segment(40000, 1000, TCPHDR_SYN, 0), segment(40000, 1001, TCPHDR_ACK, 77)]
    theirs = [segment(50000, 9000, TCPHDR_SYN, 0), segment(50000, 9001, TCPHDR_ACK, 8877)]
    assert first(lines(*calls, packets=mine), lines(*others, packets=theirs)) is None
    theirs[1] = segment(50000, 9001, TCPHDR_ACK, 8877, window=1)
    found = first(lines(*calls, packets=mine), lines(*others, packets=theirs))
    assert found is not None
    assert found.kind == "packets"
    assert found.twin.endswith("win 1")


@pytest.mark.parametrize(
    ("host", "twin", "outputs", "where"),
    [
        (lines(code=0), lines(code=1), ("", ""), "how the program ended"),
        (lines(), lines(), ("a\nb\n", "a\nc\n"), "line 2 of the output"),
        (lines(SOCKET), lines(SOCKET, SOCKET), ("", ""), "MainThread"),
    ],
)
def test_the_end_of_a_program_and_its_output_count(host: str, twin: str, outputs: tuple[str, str], where: str) -> None:
    found = first(host, twin, outputs)
    assert found is not None
    assert found.where == where


def test_a_report_that_was_cut_short_keeps_its_whole_lines() -> None:
    report = Report(lines(SOCKET).splitlines()[0] + "\n('call', 'Main", "")
    assert [call.name for call in report.calls] == ["socket"]
    assert report.exit_code is None
