"""The packets of a script: direction, IP header, then TCP, UDP or ICMP."""

import re

from twinsock.runtime.packetdrill.cursor import Cursor
from twinsock.runtime.packetdrill.icmp_names import icmp_code, icmp_type
from twinsock.runtime.packetdrill.script import INBOUND, OUTBOUND, IpInfo, PacketEvent, Quote, TcpOption
from twinsock.wire import tcp as wire_tcp

_FLAGS = re.compile(r"(?:[SFRP.UEWA1-7]+|-)(?=\s)")
_PORTS = re.compile(r"(\d+)\s*>\s*(\d+)(?=\s)")
_HEX = re.compile(r"(?:0[xX])?([0-9A-Za-z_]+)")
_FLAG_BITS = {
    "F": wire_tcp.TCPHDR_FIN,
    "S": wire_tcp.TCPHDR_SYN,
    "R": wire_tcp.TCPHDR_RST,
    "P": wire_tcp.TCPHDR_PSH,
    ".": wire_tcp.TCPHDR_ACK,
    "U": wire_tcp.TCPHDR_URG,
    "E": wire_tcp.TCPHDR_ECE,
    "W": wire_tcp.TCPHDR_CWR,
    "A": wire_tcp.TCPHDR_AE,
}
_ECN = ("ect0", "ect1", "ect01", "ce", "noecn")
_NUMBERS = {"mss": 1, "wscale": 1, "sackOK": 0, "nop": 0, "eol": 0}
MAX_LENGTH = 65535


def parse_packet(cursor: Cursor, event: PacketEvent, ip_version: int) -> None:
    """Read a packet from its < or > on. Raises ScriptError."""
    event.direction = INBOUND if cursor.accept("<") else OUTBOUND
    if event.direction == OUTBOUND:
        cursor.expect(">")
    word = cursor.peek_word()
    if word in ("ipv4", "ipv6", "gre", "mpls", "encap"):
        raise cursor.error(f"packets inside {word} are not supported")
    event.ip = _ip_info(cursor, event.direction)
    ports = cursor.match(_PORTS)
    if ports is not None:
        event.sport, event.dport = (int(part) & 0xFFFF for part in ports.split(">"))
    if cursor.accept_word("icmp"):
        _icmp(cursor, event, ip_version)
    elif cursor.accept_word("udp"):
        _udp(cursor, event)
    else:
        _tcp(cursor, event)


def _ip_info(cursor: Cursor, direction: int) -> IpInfo:
    info = IpInfo()
    end = ")" if cursor.accept("(") else "]" if cursor.accept("[") else ""
    while end:
        word = cursor.word("what is known of the IP header")
        if word in _ECN:
            if word == "ect01" and direction == INBOUND:
                raise cursor.error("ect01 says two things about a packet that goes in")
            info.ecn = word
        elif word == "tos":
            info.tos = cursor.integer("the type of service") & 0xFF
        elif word == "ttl":
            info.ttl = cursor.integer("the time to live") & 0xFF
        elif word == "flowlabel":
            info.flowlabel = cursor.integer("the flow label") & 0xFFFFF
        else:
            raise cursor.error(f"an IP header has no {word}")
        if cursor.accept(end):
            break
        cursor.expect(",")
    return info


def _length(cursor: Cursor) -> int:
    cursor.expect("(")
    length = cursor.integer("a length")
    cursor.expect(")")
    if not 0 <= length <= MAX_LENGTH:
        raise cursor.error(f"a packet has 0 to {MAX_LENGTH} bytes")
    return length


def _range(cursor: Cursor) -> tuple[int, int]:
    """Read first:end(length); give the first number and the length."""
    start = cursor.integer("a sequence number")
    cursor.expect(":")
    end = cursor.integer("a sequence number")
    length = _length(cursor)
    if (start + length) & 0xFFFFFFFF != end & 0xFFFFFFFF:
        raise cursor.error(f"{start} and {length} bytes do not end at {end}")
    return start & 0xFFFFFFFF, length


def _udp(cursor: Cursor, event: PacketEvent) -> None:
    event.protocol = "udp"
    ports = cursor.match(_PORTS)
    if ports is not None:
        event.sport, event.dport = (int(part) & 0xFFFF for part in ports.split(">"))
    event.length = _length(cursor)


def _tcp(cursor: Cursor, event: PacketEvent) -> None:
    flags = cursor.match(_FLAGS)
    if flags is None:
        raise cursor.error("expected TCP flags, udp or icmp")
    for flag in flags.replace("-", ""):
        if flag.isdigit():
            event.ace = int(flag)
        else:
            event.flags |= _FLAG_BITS[flag]
    if event.ace >= 0:
        if event.flags & (wire_tcp.TCPHDR_ECE | wire_tcp.TCPHDR_CWR | wire_tcp.TCPHDR_AE):
            raise cursor.error("a digit stands for the flags E, W and A")
        event.flags |= (
            (wire_tcp.TCPHDR_AE if event.ace & 4 else 0)
            | (wire_tcp.TCPHDR_CWR if event.ace & 2 else 0)
            | (wire_tcp.TCPHDR_ECE if event.ace & 1 else 0)
        )
    event.seq, event.length = _range(cursor)
    if cursor.accept_word("ack"):
        event.ack = cursor.integer("an acknowledgement number") & 0xFFFFFFFF
        event.has_ack = True
    if cursor.accept_word("win"):
        event.win = cursor.integer("a window") & 0xFFFF
    if cursor.accept_word("urg"):
        event.urg = cursor.integer("an urgent pointer") & 0xFFFF
    if event.direction == INBOUND and event.win < 0:
        raise cursor.error("a packet that goes in needs a window: win N")
    event.options = []
    if cursor.accept("<"):
        event.options = _tcp_options(cursor, event.direction)


def _tcp_options(cursor: Cursor, direction: int) -> list[TcpOption] | None:
    if cursor.accept("..."):
        cursor.expect(">")
        if direction == INBOUND:
            raise cursor.error("a packet that goes in needs its options")
        return None
    options: list[TcpOption] = []
    while not cursor.accept(">"):
        options.append(_tcp_option(cursor))
        if not cursor.looking_at(">"):
            cursor.expect(",")
    return options


def _tcp_option(cursor: Cursor) -> TcpOption:
    kind = cursor.word("a TCP option")
    if kind in _NUMBERS:
        numbers = [cursor.integer(f"the number of {kind}") for _ in range(_NUMBERS[kind])]
        return TcpOption(kind, numbers)
    if kind == "TS":
        numbers = []
        for name in ("val", "ecr"):
            if not cursor.accept_word(name):
                raise cursor.error(f"expected {name}")
            numbers.append(cursor.integer(f"the number of {name}"))
        return TcpOption(kind, numbers)
    if kind == "sack":
        numbers = []
        while cursor.looking_at_integer():
            numbers.append(cursor.integer("the beginning of a block"))
            cursor.expect(":")
            numbers.append(cursor.integer("the end of a block"))
        return TcpOption(kind, numbers)
    if kind in ("FO", "FOEXP", "md5"):
        return TcpOption(kind, None, _hex(cursor))
    raise cursor.error(f"no TCP option is called {kind}")


def _hex(cursor: Cursor) -> bytes:
    if cursor.looking_at(",") or cursor.looking_at(">"):
        return b""
    found = cursor.match(_HEX) or ""
    text = cursor.definitions.get(found, found).strip('"')
    text = text.removeprefix("0x")
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise cursor.error(f"{text} is neither hexadecimal nor defined") from None


def _icmp(cursor: Cursor, event: PacketEvent, ip_version: int) -> None:
    event.protocol = "icmp"
    event.icmp_family = ip_version
    name = cursor.defined_word("an ICMP type")
    number = icmp_type(ip_version, name)
    if number is None:
        raise cursor.error(f"ICMP for IPv{ip_version} has no type {name}")
    event.icmp_type = number
    word = cursor.peek_word()
    if word and word not in ("mtu", "id", "udp", "raw"):
        name = cursor.defined_word("an ICMP code")
        code = int(name) if name.isdigit() else icmp_code(ip_version, number, name)
        if code is None:
            raise cursor.error(f"ICMP type {number} for IPv{ip_version} has no code {name}")
        event.icmp_code = code
    while True:
        if cursor.accept_word("mtu"):
            event.icmp_mtu = cursor.integer("an MTU") & 0xFFFFFFFF
        elif cursor.accept_word("id"):
            event.icmp_id = cursor.integer("an identifier") & 0xFFFF
        else:
            break
    if cursor.accept("["):
        if cursor.accept_word("udp"):
            event.quote = Quote("udp", 0, _length(cursor))
        elif cursor.accept_word("raw"):
            event.quote = Quote("raw", 0, _length(cursor))
        else:
            event.quote = Quote("tcp", *_range(cursor))
        cursor.expect("]")
