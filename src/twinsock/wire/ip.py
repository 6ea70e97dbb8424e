"""IPv4 header, RFC 791."""


class Iphdr:
    """A parsed IPv4 header; addresses are ints in host order."""

    def __init__(self, saddr: int, daddr: int, protocol: int) -> None:
        self.saddr = saddr
        self.daddr = daddr
        self.protocol = protocol
        self.tos = 0
        self.ttl = 64
        self.id = 0
        self.frag_off = 0  # flags and offset as on the wire
        self.options = b""
