"""The common base of transport headers, so that one field of a packet can hold any of them."""


class L4Header:
    """A parsed transport header; TCP, UDP and ICMP subclass it."""

    def __init__(self, source: int = 0, dest: int = 0) -> None:
        self.source = source  # port, host order
        self.dest = dest
        self.check = 0  # 0 with no fault: checksums are computed where bytes appear
        self.csum_bad = False  # arrived with a checksum that does not match
