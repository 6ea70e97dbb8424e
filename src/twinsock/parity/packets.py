"""Packets as comparable lines: ports by name, sequence numbers from the first one seen, without identifications, checksums and times."""

from __future__ import annotations

from twinsock.wire import ip, ip6, tcp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_FLAGS = (
    ("S", tcp.TCPHDR_SYN),
    ("F", tcp.TCPHDR_FIN),
    ("R", tcp.TCPHDR_RST),
    ("P", tcp.TCPHDR_PSH),
    (".", tcp.TCPHDR_ACK),
    ("U", tcp.TCPHDR_URG),
    ("E", tcp.TCPHDR_ECE),
    ("W", tcp.TCPHDR_CWR),
)
_TCP, _UDP = 6, 17
_M32 = 0xFFFFFFFF


class Lines:
    """Makes one line of each packet of a run."""

    def __init__(self, port: Callable[[int], Any]) -> None:
        self.port = port
        self.first: dict[Any, int] = {}  # the first sequence number of each direction of a connection

    def line(self, packet: bytes) -> tuple[str, str]:
        """Return (the flow that a packet belongs to, the packet)."""
        if packet[0] >> 4 == 4:
            header = (packet[0] & 15) * 4
            source, dest = ip.format_addr(int.from_bytes(packet[12:16], "big")), ip.format_addr(int.from_bytes(packet[16:20], "big"))
            protocol = packet[9]
            packet = packet[: int.from_bytes(packet[2:4], "big") or len(packet)]
        else:
            header, protocol = 40, packet[6]
            source, dest = ip6.format_addr(packet[8:24]), ip6.format_addr(packet[24:40])
        if protocol not in (_TCP, _UDP):
            return f"{source} {dest}", f"{source} > {dest} protocol {protocol}, {len(packet) - header} bytes"
        sport = self.port(int.from_bytes(packet[header : header + 2], "big"))
        dport = self.port(int.from_bytes(packet[header + 2 : header + 4], "big"))
        ends = f"{source}:{sport} > {dest}:{dport}"
        flow = " ".join(sorted((f"{source}:{sport}", f"{dest}:{dport}")))
        if protocol == _UDP:
            return "udp " + flow, f"{ends} udp {len(packet) - header - 8} bytes"
        return "tcp " + flow, f"{ends} {self._tcp(packet, header, (source, sport, dest, dport))}"

    def _tcp(self, packet: bytes, header: int, key: tuple[Any, ...]) -> str:
        th = tcp.parse(packet, header)
        if th is None:
            return "tcp, cut short"
        back = (*key[2:], *key[:2])
        if th.flags & tcp.TCPHDR_SYN:
            self.first[key] = th.seq
        size = len(packet) - header - th.header_len()
        seq = (th.seq - self.first.setdefault(key, th.seq)) & _M32
        text = "".join(letter for letter, bit in _FLAGS if th.flags & bit) + f" {seq}:{(seq + size) & _M32}({size})"
        if th.flags & tcp.TCPHDR_ACK:
            text += f" ack {(th.ack_seq - self.first.get(back, th.ack_seq)) & _M32}"
        text += f" win {th.window}"
        if th.flags & tcp.TCPHDR_URG:
            text += f" urg {th.urg_ptr}"
        if th.mss:
            text += f" mss {th.mss}"
        text += " sackOK" if th.sack_ok else ""
        text += " ts" if th.ts else ""
        text += f" wscale {th.wscale}" if th.wscale >= 0 else ""
        if th.sacks:
            base = self.first.get(back, 0)
            text += " sack " + " ".join(f"{(a - base) & _M32}:{(b - base) & _M32}" for a, b in th.sacks)
        return text
