"""Packets as bytes: those of a script made live, and live ones taken apart."""

from struct import Struct

from twinsock.runtime.packetdrill.script import TcpOption
from twinsock.wire.ip import Iphdr
from twinsock.wire.ip import parse as parse_ip
from twinsock.wire.l4 import csum_fold, ones_sum, pseudo_sum4, pseudo_sum6
from twinsock.wire.tcp import TCPOPT_EXP, TCPOPT_FASTOPEN, TCPOPT_FASTOPEN_MAGIC, TCPOPT_MD5SIG

IPPROTO_ICMP = 1
IPPROTO_TCP = 6
IPPROTO_UDP = 17
IPPROTO_ICMPV6 = 58
_TCP = Struct("!HHIIHHHH")
_U16 = Struct("!H")
_TS = Struct("!II")
_SIMPLE = {0: "eol", 1: "nop"}


class LivePacket:
    """A packet that was seen on the device."""

    def __init__(self, time_ns: int, data: bytes) -> None:
        self.time_ns = time_ns
        self.data = data
        self.version = data[0] >> 4 if data else 0
        self.src = self.dst = b""
        self.proto = 0
        self.tos = self.ttl = 0
        self.flowlabel = 0
        self.ip_ok = True
        self.sport = self.dport = 0
        self.seq = self.ack = 0
        self.flags = 0
        self.reserved = 0
        self.win = self.urg = 0
        self.options: list[TcpOption] = []
        self.options_len = 0
        self.payload = b""
        self.icmp_type = self.icmp_code = self.icmp_un = 0


def parse_live(time_ns: int, data: bytes) -> LivePacket:
    """Take a packet apart, as far as it is one."""
    packet = LivePacket(time_ns, data)
    body = b""
    if packet.version == 4:
        parsed = parse_ip(data)
        if parsed.iph is None:
            packet.ip_ok = False
            return packet
        packet.ip_ok = parsed.status == 0 and parsed.tot_len == len(data)
        packet.src = parsed.iph.saddr.to_bytes(4, "big")
        packet.dst = parsed.iph.daddr.to_bytes(4, "big")
        packet.proto, packet.tos, packet.ttl = parsed.iph.protocol, parsed.iph.tos, parsed.iph.ttl
        body = data[parsed.header_len : parsed.tot_len]
    elif packet.version == 6 and len(data) >= 40:
        word = int.from_bytes(data[:4], "big")
        packet.tos, packet.flowlabel = word >> 20 & 255, word & 0xFFFFF
        packet.ip_ok = int.from_bytes(data[4:6], "big") == len(data) - 40
        packet.proto, packet.ttl = data[6], data[7]
        packet.src, packet.dst = data[8:24], data[24:40]
        body = data[40:]
    _parse_transport(packet, body)
    return packet


def _parse_transport(packet: LivePacket, body: bytes) -> None:
    if packet.proto == IPPROTO_TCP and len(body) >= 20:
        packet.sport, packet.dport, packet.seq, packet.ack, word, packet.win, _check, packet.urg = _TCP.unpack_from(body)
        header = (word >> 12) * 4
        packet.flags, packet.reserved = word & 0x1FF, word >> 9 & 7
        packet.options = parse_options(body[20:header])
        packet.options_len = header - 20
        packet.payload = body[header:]
    elif packet.proto == IPPROTO_UDP and len(body) >= 8:
        packet.sport, packet.dport = _TS.unpack_from(body)[0] >> 16, _TS.unpack_from(body)[0] & 0xFFFF
        packet.payload = body[8:]
    elif packet.proto in (IPPROTO_ICMP, IPPROTO_ICMPV6) and len(body) >= 8:
        packet.icmp_type, packet.icmp_code = body[0], body[1]
        packet.icmp_un = int.from_bytes(body[4:8], "big")
        packet.payload = body[8:]


def parse_options(data: bytes) -> list[TcpOption]:
    """Take TCP options apart, in their order, padding included."""
    found: list[TcpOption] = []
    i = 0
    while i < len(data):
        kind = data[i]
        if kind in _SIMPLE:
            found.append(TcpOption(_SIMPLE[kind]))
            i += 1
            continue
        size = data[i + 1] if i + 1 < len(data) else 0
        if size < 2 or i + size > len(data):
            found.append(TcpOption("broken", None, data[i:]))
            break
        found.append(_parse_option(kind, data[i + 2 : i + size]))
        i += size
    return found


def _parse_option(kind: int, body: bytes) -> TcpOption:
    if kind == 2 and len(body) == 2:
        return TcpOption("mss", [_U16.unpack(body)[0]])
    if kind == 3 and len(body) == 1:
        return TcpOption("wscale", [body[0]])
    if kind == 4 and not body:
        return TcpOption("sackOK")
    if kind == 5 and len(body) % 8 == 0:
        return TcpOption("sack", [number for pair in _TS.iter_unpack(body) for number in pair])
    if kind == 8 and len(body) == 8:
        return TcpOption("TS", list(_TS.unpack(body)))
    if kind == TCPOPT_MD5SIG:
        return TcpOption("md5", None, body)
    if kind == TCPOPT_FASTOPEN:
        return TcpOption("FO", None, body)
    if kind == TCPOPT_EXP and body[:2] == _U16.pack(TCPOPT_FASTOPEN_MAGIC):
        return TcpOption("FOEXP", None, body[2:])
    return TcpOption(f"kind {kind}", None, body)


def emit_options(options: list[TcpOption]) -> bytes:
    """Give the bytes of options in their order."""
    return b"".join([_emit_option(option) for option in options])


def _emit_option(option: TcpOption) -> bytes:
    kind, numbers = option.kind, option.numbers
    if kind == "eol":
        return b"\0"
    if kind == "nop":
        return b"\1"
    if kind == "mss":
        return b"\2\4" + _U16.pack(numbers[0] & 0xFFFF)
    if kind == "wscale":
        return bytes((3, 3, numbers[0] & 255))
    if kind == "sackOK":
        return b"\4\2"
    if kind == "sack":
        return bytes((5, 2 + 4 * len(numbers))) + b"".join([number.to_bytes(4, "big") for number in numbers])
    if kind == "TS":
        return b"\x08\x0a" + _TS.pack(numbers[0] & 0xFFFFFFFF, numbers[1] & 0xFFFFFFFF)
    if kind == "md5":
        return bytes((TCPOPT_MD5SIG, 2 + len(option.data))) + option.data
    if kind == "FO":
        return bytes((TCPOPT_FASTOPEN, 2 + len(option.data))) + option.data
    return bytes((TCPOPT_EXP, 4 + len(option.data))) + _U16.pack(TCPOPT_FASTOPEN_MAGIC) + option.data


def describe_options(options: list[TcpOption]) -> str:
    """Write options as a script does."""
    words = []
    for option in options:
        if option.kind == "sack":
            pairs = zip(option.numbers[::2], option.numbers[1::2], strict=False)
            words.append("sack " + " ".join(f"{start}:{end}" for start, end in pairs))
        elif option.kind == "TS":
            words.append(f"TS val {option.numbers[0]} ecr {option.numbers[1]}")
        else:
            words.append(" ".join([option.kind, *map(str, option.numbers), option.data.hex()]).strip())
    return ",".join(words)


class Route:
    """What stands in the IP header of packets that go in."""

    def __init__(self, src: bytes, dst: bytes, tos: int = 0, ttl: int = 255, flowlabel: int = 0) -> None:
        self.src = src
        self.dst = dst
        self.tos = tos
        self.ttl = ttl
        self.flowlabel = flowlabel


def wrap_ip(route: Route, proto: int, body: bytes) -> bytes:
    """Put an IP header before a payload."""
    if len(route.src) == 4:
        header = Iphdr(int.from_bytes(route.src, "big"), int.from_bytes(route.dst, "big"), proto)
        header.tos, header.ttl = route.tos, route.ttl
        return header.emit(len(body)) + body
    word = 6 << 28 | route.tos << 20 | route.flowlabel
    return word.to_bytes(4, "big") + _U16.pack(len(body)) + bytes((proto, route.ttl)) + route.src + route.dst + body


def _pseudo_sum(route: Route, proto: int, size: int) -> int:
    if len(route.src) == 4:
        return pseudo_sum4(int.from_bytes(route.src, "big"), int.from_bytes(route.dst, "big"), proto, size)
    return pseudo_sum6(route.src, route.dst, proto, size)


def with_checksum(route: Route, proto: int, body: bytes, offset: int) -> bytes:
    """Fill in the checksum at `offset`, over pseudo header and body."""
    total = 0 if proto == IPPROTO_ICMP else _pseudo_sum(route, proto, len(body))
    check = csum_fold(total + ones_sum(body))
    if proto == IPPROTO_UDP and check == 0:
        check = 0xFFFF
    return body[:offset] + _U16.pack(check) + body[offset + 2 :]


class TcpFields:
    """The numbers of a live TCP header."""

    def __init__(self, sport: int, dport: int, seq: int, ack: int, flags: int) -> None:
        self.sport = sport
        self.dport = dport
        self.seq = seq & 0xFFFFFFFF
        self.ack = ack & 0xFFFFFFFF
        self.flags = flags
        self.win = 0
        self.urg = 0
        self.options = b""


def tcp_header(fields: TcpFields) -> bytes:
    """Give a header without its checksum."""
    word = (20 + len(fields.options)) // 4 << 12 | fields.flags
    return _TCP.pack(fields.sport, fields.dport, fields.seq, fields.ack, word, fields.win & 0xFFFF, 0, fields.urg) + fields.options


def build_tcp(route: Route, fields: TcpFields, length: int) -> bytes:
    """Make a packet with `length` zero bytes."""
    return wrap_ip(route, IPPROTO_TCP, with_checksum(route, IPPROTO_TCP, tcp_header(fields) + bytes(length), 16))


def build_udp(route: Route, sport: int, dport: int, length: int) -> bytes:
    """Make a datagram with `length` zero bytes."""
    head = _TS.pack(sport << 16 | dport, (8 + length) << 16)
    return wrap_ip(route, IPPROTO_UDP, with_checksum(route, IPPROTO_UDP, head + bytes(length), 6))


def build_icmp(route: Route, type_: int, code: int, word: int, quoted: bytes) -> bytes:
    """Make an ICMP message; `word` is the second word of its header."""
    proto = IPPROTO_ICMP if len(route.src) == 4 else IPPROTO_ICMPV6
    body = bytes((type_, code, 0, 0)) + word.to_bytes(4, "big") + quoted
    return wrap_ip(route, proto, with_checksum(route, proto, body, 2))
