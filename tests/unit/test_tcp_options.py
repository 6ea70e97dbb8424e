"""Options of TCP that the twin refuses or answers in its own way, and limits that several sockets share."""

import struct

from tests.unit.tcpworld import World
from twinsock.kernel.net.socket import sys_getsockopt, sys_setsockopt
from twinsock.uapi.errno import EINVAL, ENOPROTOOPT, EPERM
from twinsock.uapi.socket import SOL_TCP
from twinsock.uapi.tcp import TCP_INFO, TCP_MD5SIG, TCP_REPAIR, TCP_TX_DELAY, TCP_ZEROCOPY_RECEIVE


def info_words(w: World, fd: int) -> tuple[int, ...]:
    """Return the 24 words of TCP_INFO."""
    err, value = sys_getsockopt(w.task, fd, SOL_TCP, TCP_INFO, bytes(104), 104)
    assert err == 0
    return struct.unpack_from("=24I", value, 8)


def test_repair_is_refused_even_to_root() -> None:
    w = World()
    assert w.setsockopt(w.socket(), SOL_TCP, TCP_REPAIR, 1) == -EPERM


def test_signature_keys_are_refused_as_by_a_kernel_built_without_them() -> None:
    w = World()
    key = struct.pack("=H126xBBHi80s", 2, 0, 0, 3, 0, b"abc")
    assert sys_setsockopt(w.task, w.socket(), SOL_TCP, TCP_MD5SIG, key, len(key)) == -ENOPROTOOPT


def test_reading_by_mapping_pages_tells_how_many_bytes_to_read_instead() -> None:
    w = World()
    _lfd, cfd, sfd = w.pair()
    assert w.send(cfd, b"hello") == 5
    w.run(50)
    request = struct.pack("=QI", 4096, 4096) + bytes(52)
    err, answer = sys_getsockopt(w.task, sfd, SOL_TCP, TCP_ZEROCOPY_RECEIVE, request, 64)
    assert (err, struct.unpack_from("=QIIi", answer)) == (0, (4096, 0, 5, 5))
    assert sys_getsockopt(w.task, sfd, SOL_TCP, TCP_ZEROCOPY_RECEIVE, struct.pack("=QI", 1, 4096), 12)[0] == -EINVAL


def test_a_transmit_delay_lengthens_the_round_trip_and_the_timeout() -> None:
    w = World()
    _lfd, cfd, _sfd = w.pair()
    before = info_words(w, cfd)
    assert w.setsockopt(cfd, SOL_TCP, TCP_TX_DELAY, 100_000) == 0
    delayed = info_words(w, cfd)
    assert delayed[15] == before[15] + 100_000
    assert delayed[0] > before[0]
    assert w.setsockopt(cfd, SOL_TCP, TCP_TX_DELAY, 0) == 0
    assert info_words(w, cfd)[15] == before[15]
    assert w.setsockopt(cfd, SOL_TCP, TCP_TX_DELAY, 1 << 28) == -EINVAL


def test_tcp_counts_sockets_orphans_and_memory_of_both_families_together() -> None:
    kernel = World().kernel
    counters = {prot.name: prot.counters for prot in kernel.protos}
    assert counters["TCP"] is counters["TCPv6"]
