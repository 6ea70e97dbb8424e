"""Groups of sockets that share an address by SO_REUSEPORT (Linux: net/core/sock_reuseport.c, sheet 03, 3.10)."""


class SockReuseport:
    """`struct sock_reuseport`: the members of one group, in slot order."""

    def __init__(self) -> None:
        self.num_socks = 0
        self.num_closed_socks = 0
