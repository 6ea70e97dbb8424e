"""One connection of a script and its live counterpart: ports, sequence numbers, timestamps, flow labels, both ways."""

from twinsock.runtime.packetdrill.config import Config
from twinsock.runtime.packetdrill.cursor import ScriptError
from twinsock.runtime.packetdrill.packets import (
    IPPROTO_TCP,
    IPPROTO_UDP,
    LivePacket,
    Route,
    TcpFields,
    build_icmp,
    build_tcp,
    build_udp,
    emit_options,
    tcp_header,
    wrap_ip,
)
from twinsock.runtime.packetdrill.script import PacketEvent, TcpOption
from twinsock.wire.tcp import TCPHDR_ACK, TCPHDR_SYN

NEW = 0
LISTENING = 1
CHILD = 2
_MASK = 0xFFFFFFFF
_ECN_BITS = {"ect0": 2, "ect1": 1, "ce": 3, "noecn": 0, "": 0, "ect01": 2}
_QUOTE_MIN = 8


class Connection:
    """A socket under test, or the connection that a listener's packets make."""

    def __init__(self, type_: int = 1) -> None:
        self.type = type_
        self.state = NEW
        self.live_fd = -1  # -1: the script has not accepted it yet
        self.local_port = 0  # live ports, 0: not known yet
        self.remote_port = 0
        self.script_ports: tuple[int, int] | None = None  # (remote, local) when the script gives ports
        self.local_isn = 0
        self.local_isn_script = 0
        self.local_isn_known = False
        self.remote_isn = 0  # a script's SYN goes in as it stands, so both sides are equal
        self.remote_isn_known = False
        self.timestamps: dict[int, int] = {}  # script's value -> live value, of packets that went out
        self.first_timestamp: tuple[int, int] | None = None
        self.flowlabel: tuple[int, int] | None = None  # (script's, live)
        self.bind_port = 0

    # From the script to the wire

    def fields(self, event: PacketEvent, config: Config) -> TcpFields:
        """Give the live header of a packet that goes in. Raises ScriptError."""
        syn = event.flags & TCPHDR_SYN
        if syn and not self.remote_isn_known:
            self.remote_isn = event.seq
            self.remote_isn_known = True
        seq = event.seq if syn else event.seq + self.remote_isn
        ack = 0
        if event.has_ack or event.flags & TCPHDR_ACK:
            ack = event.ack + self.local_isn - (self.local_isn_script if syn else 0)
        fields = TcpFields(self.remote_port, self.local_port, seq, ack, event.flags)
        fields.win, fields.urg = event.win, event.urg
        fields.options = emit_options([self._live_option(option, event, config) for option in event.options or []])
        if len(fields.options) % 4 or len(fields.options) > 40:
            raise ScriptError(
                event.line, f"TCP options take {len(fields.options)} bytes: up to 40, a multiple of 4, padded with nop or eol"
            )
        return fields

    def _live_option(self, option: TcpOption, event: PacketEvent, config: Config) -> TcpOption:
        if option.kind == "sack":
            return TcpOption("sack", [(number + self.local_isn) & _MASK for number in option.numbers])
        if option.kind != "TS":
            return option
        value, echo = option.numbers
        if echo in self.timestamps:
            echo = self.timestamps[echo]
        elif config.tcp_ts_ecr_scaled and self.first_timestamp is not None:
            echo = echo - self.first_timestamp[0] + self.first_timestamp[1]
        elif event.flags & TCPHDR_ACK:
            raise ScriptError(event.line, f"no packet that went out had the timestamp {echo}")
        return TcpOption("TS", [value, echo])

    def build(self, event: PacketEvent, config: Config) -> bytes:
        """Make the bytes of a packet that goes in. Raises ScriptError."""
        local, remote = config.addresses()
        info = event.ip
        tos = info.tos if info.tos >= 0 else _ECN_BITS[info.ecn]
        route = Route(remote, local, tos, 255 if info.ttl < 0 else info.ttl, max(info.flowlabel, 0))
        if event.protocol == "udp":
            return build_udp(route, self.remote_port, self.local_port, event.length)
        if event.protocol == "icmp":
            return self._build_icmp(event, route)
        return build_tcp(route, self.fields(event, config), event.length)

    def _build_icmp(self, event: PacketEvent, route: Route) -> bytes:
        quoted = b""
        quote = event.quote
        type_, code = event.icmp_type, event.icmp_code
        is_error = type_ not in (0, 8, 128, 129) if event.icmp_family == 4 else type_ < 128
        if quote is not None or is_error:
            back = Route(route.dst, route.src, 0, 64)
            proto = IPPROTO_UDP if (quote is not None and quote.protocol == "udp") or (quote is None and self.type == 2) else IPPROTO_TCP
            length = quote.length if quote is not None else 0
            if proto == IPPROTO_UDP:
                body = (self.local_port << 48 | self.remote_port << 32 | (8 + length) << 16).to_bytes(8, "big")
            else:
                seq = (quote.start if quote is not None else 0) + self.local_isn
                body = tcp_header(TcpFields(self.local_port, self.remote_port, seq, 0, 0))
            size = len(body) + length
            whole = wrap_ip(back, proto, body + bytes(length))
            quoted = whole[: len(whole) - size + _QUOTE_MIN]
        word = max(event.icmp_mtu, 0)
        if event.icmp_id >= 0:
            word = event.icmp_id << 16
        return build_icmp(route, type_, code, word, quoted)

    # From the wire to the script

    def learn(self, event: PacketEvent, packet: LivePacket) -> None:
        """Take from a packet that went out what the script could not know."""
        if self.local_port == 0:
            self.local_port, self.remote_port = packet.sport, packet.dport
        if packet.flags & TCPHDR_SYN and not self.local_isn_known:
            self.local_isn = packet.seq
            self.local_isn_script = event.seq
            self.local_isn_known = True

    def learn_timestamp(self, event: PacketEvent, packet: LivePacket) -> None:
        """Remember which live timestamp stands for the script's."""
        live = [option for option in packet.options if option.kind == "TS"]
        said = [option for option in event.options or [] if option.kind == "TS"]
        if live and said:
            self.timestamps[said[0].numbers[0]] = live[0].numbers[0]
            if self.first_timestamp is None:
                self.first_timestamp = (said[0].numbers[0], live[0].numbers[0])

    def script_seq(self, packet: LivePacket) -> int:
        """Give the sequence number of a packet that went out as a script writes it."""
        return (packet.seq - self.local_isn + (self.local_isn_script if packet.flags & TCPHDR_SYN else 0)) & _MASK

    def script_ack(self, packet: LivePacket) -> int:
        """Give the acknowledgement number of a packet that went out as a script writes it."""
        if not packet.flags & TCPHDR_ACK:
            return 0
        return (packet.ack - (0 if packet.flags & TCPHDR_SYN else self.remote_isn)) & _MASK

    def script_options(self, packet: LivePacket) -> list[TcpOption]:
        """Give the options of a packet that went out as a script writes them."""
        shift = 0 if packet.flags & TCPHDR_SYN else self.remote_isn
        return [
            TcpOption("sack", [(number - shift) & _MASK for number in option.numbers]) if option.kind == "sack" else option
            for option in packet.options
        ]

    def owns(self, packet: LivePacket) -> bool:
        """Tell whether a packet that went out has this connection's ports."""
        return self.local_port != 0 and packet.sport == self.local_port and packet.dport == self.remote_port
