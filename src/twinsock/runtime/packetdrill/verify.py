"""Does a packet that went out look as the script says? The first difference, in the order of a packet's bytes."""

from twinsock.runtime.packetdrill.config import Config
from twinsock.runtime.packetdrill.live import Connection
from twinsock.runtime.packetdrill.packets import IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP, LivePacket, describe_options
from twinsock.runtime.packetdrill.script import PacketEvent, TcpOption
from twinsock.wire.tcp import TCPHDR_ACK, TCPHDR_AE, TCPHDR_CWR, TCPHDR_ECE, TCPHDR_FIN, TCPHDR_PSH

_PROTOCOLS = {"tcp": (IPPROTO_TCP,), "udp": (IPPROTO_UDP,), "icmp": (IPPROTO_ICMP, IPPROTO_ICMPV6)}
_ECN = {"ect0": (2,), "ect1": (1,), "ect01": (1, 2), "ce": (3,), "noecn": (0,)}
_FLAG_LETTERS = ((0x02, "S"), (0x01, "F"), (0x04, "R"), (0x08, "P"), (0x10, "."), (0x20, "U"), (0x40, "E"), (0x80, "W"), (0x100, "A"))
_ACE_MASK = TCPHDR_AE | TCPHDR_CWR | TCPHDR_ECE
# Flags in which pieces of one scripted packet may differ.
_PIECE_FLAGS = TCPHDR_FIN | TCPHDR_PSH | TCPHDR_CWR


def difference(event: PacketEvent, packet: LivePacket, conn: Connection, config: Config) -> str:
    """Return the first difference between script and packet, "" when there is none."""
    return _ip_difference(event, packet, conn, config) or (
        _tcp_difference(event, packet, conn, config) if event.protocol == "tcp" else _other_difference(event, packet)
    )


def _differ(what: str, expected: object, got: object) -> str:
    return "" if expected == got else f"{what}: expected {expected}, got {got}"


def _ip_difference(event: PacketEvent, packet: LivePacket, conn: Connection, config: Config) -> str:
    info = event.ip
    if packet.version != config.ip_version():
        return _differ("IP version", config.ip_version(), packet.version)
    if packet.proto not in _PROTOCOLS[event.protocol]:
        return _differ("protocol", event.protocol, packet.proto)
    if not packet.ip_ok:
        return "the IP header's checksum or length is wrong"
    if info.ecn and packet.tos & 3 not in _ECN[info.ecn]:
        return f"ECN bits of the IP header: expected {info.ecn}, got {packet.tos & 3}"
    if info.tos >= 0 and packet.tos != info.tos:
        return f"type of service: expected {info.tos:#x}, got {packet.tos:#x}"
    if info.ttl >= 0 and packet.ttl != info.ttl:
        return _differ("time to live", info.ttl, packet.ttl)
    if info.flowlabel >= 0 and packet.version == 6:
        if conn.flowlabel is None:
            conn.flowlabel = (info.flowlabel, packet.flowlabel)
        if (info.flowlabel == conn.flowlabel[0]) != (packet.flowlabel == conn.flowlabel[1]):
            return f"flow label: script's {info.flowlabel:#x} stood for {conn.flowlabel[1]:#x}, got {packet.flowlabel:#x}"
    return ""


def _other_difference(event: PacketEvent, packet: LivePacket) -> str:
    if event.protocol == "udp":
        return _differ("payload", event.length, len(packet.payload))
    return _differ("ICMP type", event.icmp_type, packet.icmp_type) or _differ("ICMP code", event.icmp_code, packet.icmp_code)


def _tcp_difference(event: PacketEvent, packet: LivePacket, conn: Connection, config: Config) -> str:
    length = len(packet.payload)
    for what, expected, got in (
        ("flags", flags_text(event.flags), flags_text(packet.flags)),
        ("reserved bits", 0, packet.reserved),
        ("sequence number", event.seq, conn.script_seq(packet)),
        ("acknowledgement number", event.ack if event.flags & TCPHDR_ACK else 0, conn.script_ack(packet)),
    ):
        if expected != got:
            return _differ(what, expected, got)
    if event.win >= 0 and event.win != packet.win:
        return _differ("window", event.win, packet.win)
    if event.urg != packet.urg:
        return _differ("urgent pointer", event.urg, packet.urg)
    return _options_difference(event, packet, conn, config) or _differ("payload", event.length, length)


def _options_difference(event: PacketEvent, packet: LivePacket, conn: Connection, config: Config) -> str:
    if event.options is None:
        return ""
    live = conn.script_options(packet)
    if [_comparable(option) for option in live] != [_comparable(option) for option in event.options]:
        return f"options: expected <{describe_options(event.options)}>, got <{describe_options(live)}>"
    if config.tcp_ts_tick_usecs and conn.first_timestamp is not None:
        return _timestamp_difference(event.options, live, conn.first_timestamp, config)
    return ""


def _comparable(option: TcpOption) -> tuple[str, tuple[int, ...], bytes]:
    return (option.kind, () if option.kind == "TS" else tuple(option.numbers), option.data)


def _timestamp_difference(said: list[TcpOption], live: list[TcpOption], first: tuple[int, int], config: Config) -> str:
    for one, other in zip(said, live, strict=True):
        if one.kind != "TS":
            continue
        expected = one.numbers[0] - first[0]
        got = (other.numbers[0] - first[1]) & 0xFFFFFFFF
        if abs(expected - got) * config.tcp_ts_tick_usecs > config.tolerance_usecs:
            return f"timestamp: expected {one.numbers[0]}, got {got + first[0]}"
    return ""


def flags_text(flags: int) -> str:
    """Write TCP flags as a script does."""
    return "".join([letter for bit, letter in _FLAG_LETTERS if flags & bit]) or "-"


def describe(packet: LivePacket, conn: Connection) -> str:
    """Write a packet that went out as a script would."""
    if packet.proto == IPPROTO_UDP:
        return f"udp ({len(packet.payload)})"
    if packet.proto in (IPPROTO_ICMP, IPPROTO_ICMPV6):
        return f"icmp type_{packet.icmp_type} code_{packet.icmp_code}"
    seq = conn.script_seq(packet)
    size = len(packet.payload)
    text = f"{flags_text(packet.flags)} {seq}:{(seq + size) & 0xFFFFFFFF}({size})"
    if packet.flags & TCPHDR_ACK:
        text += f" ack {conn.script_ack(packet)}"
    text += f" win {packet.win}"
    if packet.urg:
        text += f" urg {packet.urg}"
    options = describe_options(conn.script_options(packet))
    return text + (f" <{options}>" if options else "")


def can_follow(first: LivePacket, last_size: int, packet: LivePacket) -> bool:
    """Tell whether a packet may be the next piece of the one scripted packet that `first` begins."""
    piece = len(first.payload)
    same_flags = (first.flags ^ packet.flags) & ~_PIECE_FLAGS == 0 and not first.flags & TCPHDR_FIN
    contiguous = packet.seq == (first.seq + last_size) & 0xFFFFFFFF
    return same_flags and contiguous and len(packet.payload) > 0 and piece > 0


def joined(pieces: list[LivePacket]) -> LivePacket:
    """Make one packet of several pieces."""
    first, last = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return first
    whole = LivePacket(first.time_ns, first.data)
    whole.__dict__.update(first.__dict__)
    last_only = TCPHDR_FIN | TCPHDR_PSH
    whole.flags = first.flags & ~last_only | last.flags & last_only
    whole.win, whole.ack = last.win, last.ack
    whole.payload = b"".join([piece.payload for piece in pieces])
    return whole
