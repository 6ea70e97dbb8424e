"""IPv6 header, RFC 8200."""


class Ipv6hdr:
    """A parsed IPv6 header; addresses are 16 bytes."""

    def __init__(self, saddr: bytes, daddr: bytes, nexthdr: int) -> None:
        self.saddr = saddr
        self.daddr = daddr
        self.nexthdr = nexthdr
        self.tclass = 0
        self.flow_label = 0
        self.hop_limit = 64
