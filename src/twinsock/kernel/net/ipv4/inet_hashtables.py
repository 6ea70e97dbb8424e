"""Bind and connection tables (Linux: net/ipv4/inet_hashtables.c)."""


class InetBindBucket:
    """`struct inet_bind_bucket`: everything that owns one port."""

    def __init__(self, port: int) -> None:
        self.port = port


class Inet2BindBucket:
    """`struct inet_bind2_bucket`: the owners of one port on one local address."""

    def __init__(self, port: int) -> None:
        self.port = port


class InetHashinfo:
    """`struct inet_hashinfo`: the tables of one namespace."""
