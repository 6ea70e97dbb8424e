"""Playing packetdrill scripts on the twin: what passes, and what is said of what does not."""

from pathlib import Path

import pytest

from twinsock.runtime.packetdrill.machine import Machine
from twinsock.runtime.packetdrill.packets import parse_live, parse_options
from twinsock.runtime.packetdrill.session import Prepared, Verdict, prepare
from twinsock.runtime.packetdrill.shell import Shell, ShellError
from twinsock.runtime.packetdrill.twin import TwinMachine
from twinsock.runtime.packetdrill.twin_tools import segments
from twinsock.ui.cli import dispatch

LISTENER = """0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
"""
CONNECTION = (
    LISTENER
    + """+0 < S 0:0(0) win 65000 <mss 1000>
+0 > S. 0:0(0) ack 1 <mss 1460>
+.01 < . 1:1(0) ack 1 win 65000
+0 accept(3, ..., ...) = 4
"""
)


def play(tmp_path: Path, text: str, variant: str = "ipv4", *options: tuple[str, str]) -> Verdict:
    path = tmp_path / "script.pkt"
    path.write_text(text)
    script = prepare(str(path), variant, list(options))
    return script.play(TwinMachine(script.config)) if isinstance(script, Prepared) else script


@pytest.mark.parametrize("variant", ["ipv4", "ipv4-mapped-ipv6", "ipv6"])
def test_a_connection_is_played_in_every_variant(tmp_path: Path, variant: str) -> None:
    assert play(tmp_path, CONNECTION + "+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1", variant).outcome == "pass"


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("+0 write(4, ..., 10) = 11", "result: expected 11, got 10"),
        ("+0 write(4, ..., 10) = -1 EPIPE", "expected -1 EPIPE, got 10"),
        ("+0 read(77, ..., 10) = -1 EPIPE", "expected -1 EPIPE, got -1 EBADF"),
        ("+0 write(4, ..., 10) = 10\n+0 > . 1:11(10) ack 1", "flags: expected ., got P."),
        ("+0 write(4, ..., 10) = 10\n+0 > P. 2:12(10) ack 1", "sequence number: expected 2, got 1"),
        ("+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 2", "acknowledgement number: expected 2, got 1"),
        ("+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1 win 7", "window: expected 7"),
        ("+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1 <nop,nop,nop,nop>", "options: expected <nop,nop,nop,nop>, got <>"),
        ("+0 write(4, ..., 10) = 10\n+0 > P. 1:10(9) ack 1", "payload: expected 9, got 10"),
        ("+0 write(4, ..., 10) = 10\n+.1 > P. 1:11(10) ack 1", "time: expected 0.1"),
        ("+0 write(4, ..., 10) = 10\n+0 > [ect0] P. 1:11(10) ack 1", "ECN bits"),
        ("+0 > . 1:1(0) ack 1", "no packet came"),
        ("+0...0.1 read(4, ..., 10) = 0", "still waits"),
        ("+0...0.1 read(4, ..., 10) = 10\n+.3 < P. 1:11(10) ack 1 win 1000", "was to return"),
        ("+0 %{ assert tcpi_state == 99 }%", "tcpi_state = 1"),
        ("+0 %{ undefined_name }%", "NameError"),
        ("+0 %{ if }%", "no Python"),
        ("+0 `false`", "the command fails"),
        ("+0 `reboot`", "not known"),
        ("+0 nonsense(4) = 0", "no system call"),
        ("+0 write(4) = 0", "too few arguments"),
        ("+0 poll([{fd=4, events=POLLOUT, revents=POLLIN}], 1, 0) = 1", "revents"),
        ("+0 getsockopt(4, SOL_TCP, TCP_MAXSEG, [7], [4]) = 0", "option: expected 7, got 1000"),
        ("+0 ioctl(4, SIOCINQ, [7]) = 0", "value: expected 7, got 0"),
    ],
)
def test_the_first_difference_is_told(tmp_path: Path, rest: str, words: str) -> None:
    verdict = play(tmp_path, CONNECTION + rest)
    assert verdict.outcome != "pass"
    assert words in verdict.message
    assert verdict.line >= 8


def test_a_call_that_never_returns_is_told_with_its_line(tmp_path: Path) -> None:
    verdict = play(tmp_path, LISTENER + "+0 accept(3, ..., ...) = 4")
    assert (verdict.outcome, verdict.line, verdict.message) == ("fail", 4, "this waits for ever")


def test_several_packets_make_one_of_the_script_unless_told_otherwise(tmp_path: Path) -> None:
    text = "`ethtool -K tun0 tso off gso off`\n" + CONNECTION + "+0 write(4, ..., 3000) = 3000\n+0 > P. 1:3001(3000) ack 1"
    assert play(tmp_path, text).outcome == "pass"
    assert "payload" in play(tmp_path, text.replace("> P.", "> ."), "ipv4", ("strict_segments", "")).message


def test_the_same_script_gives_the_same_verdict_each_time(tmp_path: Path) -> None:
    text = CONNECTION + "+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1\n+9 > P. 1:11(10) ack 1"
    first, second = play(tmp_path, text), play(tmp_path, text)
    assert (first.message, first.time_s) == (second.message, second.time_s)


def test_options_of_the_command_line_win(tmp_path: Path) -> None:
    text = "--remote_ip=10.1.2.3\n--local_ip=10.1.2.4\n" + CONNECTION
    assert play(tmp_path, text).outcome == "pass"
    assert play(tmp_path, text, "ipv4", ("remote_ip", "nonsense")).outcome == "error"


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    verdict = prepare(str(tmp_path / "none.pkt"), "ipv4", [])
    assert isinstance(verdict, Verdict) and (verdict.outcome, verdict.message) == ("error", "No such file or directory")


def shell(tmp_path: Path) -> tuple[Shell, Machine]:
    script = tmp_path / "script.pkt"
    script.write_text("0 close(3) = 0")
    prepared = prepare(str(script), "ipv4", [])
    assert isinstance(prepared, Prepared)
    machine = TwinMachine(prepared.config)
    return Shell(machine, str(tmp_path)), machine


def test_the_shell_sets_and_restores_sysctls(tmp_path: Path) -> None:
    runner, machine = shell(tmp_path)
    assert runner.run('# comment\nsysctl -q net.ipv4.tcp_rmem="4096 $((2*1000)) 3000000" # more') == 0
    assert machine.sysctl_read("net/ipv4/tcp_rmem") == "4096\t2000\t3000000\n"
    assert runner.run("../x/set_sysctls.py \\\n /proc/sys/net/ipv4/tcp_sack=0") == 0
    assert machine.sysctl_read("net/ipv4/tcp_sack") == "0\n"
    assert runner.run("/tmp/sysctl_restore_${PPID}.sh") == 0
    assert machine.sysctl_read("net/ipv4/tcp_sack") == "1\n"
    assert runner.run("sysctl -q net.ipv4.tcp_nonsense=1 &> /dev/null || true") == 0
    assert runner.run("sysctl -q net.ipv4.tcp_nonsense=1") == 1


def test_the_shell_reads_files_of_commands_pipes_and_greps(tmp_path: Path) -> None:
    runner, machine = shell(tmp_path)
    (tmp_path / "more.sh").write_text("#!/bin/bash\necho 0 > /proc/sys/net/ipv4/tcp_dsack\n")
    assert runner.run("./more.sh") == 0
    assert machine.sysctl_read("net/ipv4/tcp_dsack") == "0\n"
    assert runner.run("nstat | grep TcpExtNothing > /dev/null") == 1
    assert runner.run("cat /proc/net/tcp | grep local_address && false ; true") == 0
    assert runner.run("dd bs=1 count=5 if=/dev/zero of=/tmp/x status=none ; rm -f /tmp/x") == 0


@pytest.mark.parametrize("command", ["reboot", "./missing.sh", "echo x > /etc/passwd", "grep", "dd if=/dev/sda of=/tmp/x", "echo 'x"])
def test_the_shell_refuses_what_it_does_not_know(tmp_path: Path, command: str) -> None:
    with pytest.raises(ShellError):
        shell(tmp_path)[0].run(command)


def test_live_options_keep_their_order_and_padding() -> None:
    data = bytes.fromhex("0204058a0101080a00000001000000020303070005")
    assert [option.kind for option in parse_options(data)] == ["mss", "nop", "nop", "TS", "wscale", "eol", "broken"]


def test_a_super_packet_is_cut_as_the_wire_carries_it() -> None:
    head = bytes.fromhex("450000000001400040060000c0a80001c0000201") + bytes.fromhex("1f90000100000001000000005019000000000000")
    pieces = [parse_live(0, piece) for piece in segments(head + bytes(2500), 1000)]
    assert [(piece.seq, len(piece.payload), piece.flags, piece.ip_ok) for piece in pieces] == [
        (1, 1000, 0x10, True),
        (1001, 1000, 0x10, True),
        (2001, 500, 0x19, True),
    ]


def test_the_command_counts_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.pkt").write_text(CONNECTION)
    (tmp_path / "bad.pkt").write_text(CONNECTION + "+0 write(4, ..., 10) = 9")
    report = tmp_path / "report.xml"
    assert dispatch(["packetdrill", "--junit", str(report), str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "1 of 2 pass" in out and "bad.pkt:8" in out and "expected 9, got 10" in out
    assert 'tests="2" failures="1" errors="0"' in report.read_text()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "which script"),
        (["missing.pkt"], "there is no missing.pkt"),
        (["--variant", "ipv5", "x"], "--variant"),
        (["--mtu", "x", "."], "takes a number"),
        (["--define", "1", "."], "NAME=VALUE"),
        (["--nonsense"], "unknown option"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["packetdrill", *argv]) == 2
    assert words in capsys.readouterr().err
