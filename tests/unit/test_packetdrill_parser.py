"""Reading packetdrill scripts."""

import pytest

from twinsock.runtime.packetdrill.config import Config
from twinsock.runtime.packetdrill.cursor import ScriptError, unescape
from twinsock.runtime.packetdrill.parser import parse_options, parse_script
from twinsock.runtime.packetdrill.script import (
    ABSOLUTE,
    ANY_TIME,
    INBOUND,
    RELATIVE,
    CodeEvent,
    Num,
    PacketEvent,
    Script,
    ShellEvent,
    Str,
    Struct,
    SyscallEvent,
)
from twinsock.uapi.socket import MSG_DONTWAIT, MSG_MORE


def parse(text: str, ip_version: int = 4, **definitions: str) -> Script:
    return parse_script(text, definitions, ip_version)


def packet(text: str, ip_version: int = 4, **definitions: str) -> PacketEvent:
    event = parse("0 " + text, ip_version, **definitions).events[0]
    assert isinstance(event, PacketEvent)
    return event


def call(text: str, **definitions: str) -> SyscallEvent:
    event = parse("0 " + text, **definitions).events[0]
    assert isinstance(event, SyscallEvent)
    return event


def test_options_commands_comments_and_events_are_told_apart() -> None:
    script = parse(
        """// a comment
        --mss=1000 --strict_segments
        `true`  /* more
        comment */
        0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
        +.1 `false`
        +0 %{ assert tcpi_state == 1 }%
        `echo end`"""
    )
    assert script.options == [("mss", "1000"), ("strict_segments", "")]
    assert script.init is not None and script.init.command == "true"
    assert script.cleanup is not None and script.cleanup.command == "echo end"
    assert [type(event) for event in script.events] == [SyscallEvent, ShellEvent, CodeEvent]
    assert [event.line for event in script.events] == [5, 6, 7]


def test_options_are_read_without_the_rest_of_a_script() -> None:
    assert parse_options("--ip_version=ipv6\n--define=A=1 nonsense !") == [("ip_version", "ipv6"), ("define", "A=1")]


@pytest.mark.parametrize(
    ("text", "kind", "start", "end", "returns"),
    [
        ("0", ABSOLUTE, 0, -1, -1),
        ("1.5", ABSOLUTE, 1_500_000_000, -1, -1),
        ("+.01", RELATIVE, 10_000_000, -1, -1),
        ("+0...0.25", RELATIVE, 0, -1, 250_000_000),
        ("1...2.5", ABSOLUTE, 1_000_000_000, -1, 2_500_000_000),
    ],
)
def test_calls_have_times_of_every_form(text: str, kind: int, start: int, end: int, returns: int) -> None:
    time = parse(f"0 close(3) = 0\n{text} close(3) = 0").events[1].time
    assert (time.kind, time.start_ns, time.end_ns, time.return_ns) == (kind, start, end, returns)


def test_times_of_packets_may_be_ranges_or_anything() -> None:
    script = parse("0 < S 0:0(0) win 1\n+.1~+.2 > . 1:1(0) ack 1\n* > . 1:1(0) ack 1")
    assert (script.events[1].time.start_ns, script.events[1].time.end_ns) == (100_000_000, 200_000_000)
    assert script.events[2].time.kind == ANY_TIME


def test_a_tcp_packet_has_flags_numbers_and_options() -> None:
    event = packet("< SEW 5:5(0) win 100 urg 3 <mss 1000,sackOK,TS val 7 ecr 0,nop,wscale 8,sack 1:2 3:4,FO abcd>")
    assert event.direction == INBOUND
    assert event.flags == 0x02 | 0x40 | 0x80
    assert (event.seq, event.length, event.win, event.urg, event.has_ack) == (5, 0, 100, 3, False)
    assert event.options is not None
    assert [(option.kind, option.numbers, option.data) for option in event.options] == [
        ("mss", [1000], b""),
        ("sackOK", [], b""),
        ("TS", [7, 0], b""),
        ("nop", [], b""),
        ("wscale", [8], b""),
        ("sack", [1, 2, 3, 4], b""),
        ("FO", [], b"\xab\xcd"),
    ]


def test_a_packet_without_options_must_have_none_and_dots_mean_any() -> None:
    assert packet("> . 1:1(0) ack 1").options == []
    assert packet("> . 1:1(0) ack 1 <...>").options is None


def test_flags_may_be_absent_or_the_accurate_ecn_counter() -> None:
    assert packet("< - 1:2(1) win 1").flags == 0
    assert packet("> .5 1:1(0) ack 1").flags == 0x10 | 0x100 | 0x40


def test_ip_header_ports_udp_and_icmp() -> None:
    assert packet("> [ect0] . 1:1(0) ack 1").ip.ecn == "ect0"
    info = packet("> (tos 0x10, flowlabel 0x1234) . 1:1(0) ack 1").ip
    assert (info.tos, info.flowlabel) == (0x10, 0x1234)
    ports = packet("< 1000 > 80 S 0:0(0) win 1")
    assert (ports.sport, ports.dport) == (1000, 80)
    udp = packet("< udp (99)")
    assert (udp.protocol, udp.length) == ("udp", 99)
    icmp = packet("< icmp unreachable frag_needed mtu 1200 [5:10(5)]")
    assert (icmp.icmp_type, icmp.icmp_code, icmp.icmp_mtu) == (3, 4, 1200)
    assert icmp.quote is not None and (icmp.quote.protocol, icmp.quote.start) == ("tcp", 5)
    assert packet("< icmp packet_too_big mtu 1300", 6).icmp_type == 2


def test_words_are_looked_up_in_the_definitions() -> None:
    options = packet("< S 0:0(0) win 1 <FO COOKIE>", COOKIE="0102").options
    assert options is not None and options[0].data == b"\1\2"
    assert packet("< icmp unreachable CODE", CODE="host_unreachable").icmp_code == 1
    assert isinstance(call("listen(3, N) = 0", N="5").args[1], Num)


def test_calls_have_arguments_of_every_form() -> None:
    event = call('setsockopt(3, SOL_TCP, TCP_CONGESTION, "re" "no", 4) = -1 ENOENT (No such (file)) (note)')
    assert (event.name, event.result, event.errno) == ("setsockopt", -1, "ENOENT")
    text = event.args[3]
    assert isinstance(text, Str) and text.value == b"reno"
    flags = call("send(3, ..., 10, MSG_DONTWAIT|MSG_MORE) = 10").args[3]
    assert isinstance(flags, Num) and flags.value == MSG_DONTWAIT | MSG_MORE
    message = call("sendmsg(3, {msg_name(...)=..., msg_iov(1)=[{..., 5}], msg_flags=0}, 0) = 5").args[1]
    assert isinstance(message, Struct) and [field.name for field in message.fields] == ["msg_name", "msg_iov", "msg_flags"]
    assert call("close(3) = ...").result is None


def test_escapes_in_strings_become_bytes() -> None:
    assert unescape(r"a\n\x41\x0\"\\") == b'a\nA\0"\\'


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("1 close(3) = 0", 1, "time 0"),
        ("0 close(3) = 0\n.2 close(3) = 0\n.1 close(3) = 0", 3, "backwards"),
        ("0 < . 1:1(0) ack 1", 1, "window"),
        ("0 < . 1:3(1) win 1", 1, "do not end at"),
        ("0 < Q 1:1(0) win 1", 1, "TCP flags"),
        ("0 < . 1:1(0) win 1 <mss>", 1, "number of mss"),
        ("0 < . 1:1(0) win 1 <what>", 1, "no TCP option"),
        ("0 < . 1:70000(69999) win 1", 1, "65535"),
        ("0 < S 0:0(0) win 1 <FO xyz>", 1, "hexadecimal"),
        ("0 send(3, ..., 1, MSG_WHAT) = 1", 1, "MSG_WHAT"),
        ("0 close(3", 1, "','"),
        ("0 close(3) = 0\n0 `true", 2, "no end"),
        ("0 %{ x", 1, "no end"),
        ("0...1 < . 1:1(0) win 1", 1, "time of return"),
        ("0 close(3) = 0\n* close(3) = 0", 2, "any time"),
        ("0 < icmp nonsense", 1, "nonsense"),
        ("0 < icmp unreachable nonsense", 1, "nonsense"),
        ("0 < gre : . 1:1(0) win 1", 1, "gre"),
        ("hello", 1, "time"),
        ("0 +", 1, "system call"),
    ],
)
def test_mistakes_are_told_with_their_line(text: str, line: int, words: str) -> None:
    with pytest.raises(ScriptError) as caught:
        parse(text)
    assert caught.value.line == line
    assert words in caught.value.message


def test_every_variant_has_its_addresses_and_definitions() -> None:
    assert [len(Config(variant).addresses()[0]) for variant in ("ipv4", "ipv4-mapped-ipv6", "ipv6")] == [4, 4, 16]
    assert Config("ipv6").mtu == 1520
    config = Config("ipv4")
    config.apply([("ip_version", "ipv6"), ("define", "X=1"), ("tolerance_usecs", "10000")])
    assert (config.variant, config.definitions["X"], config.tolerance_usecs) == ("ipv6", "1", 10000)
    assert config.definitions["CMSG_LEVEL_IP"] == "SOL_IPV6"


@pytest.mark.parametrize("option", [("mss", "x"), ("ip_version", "ipv5"), ("define", "1"), ("what", "1"), ("tolerance_percent", "a")])
def test_options_that_make_no_sense_are_refused(option: tuple[str, str]) -> None:
    with pytest.raises(ScriptError):
        Config().apply([option])
