"""UDP on the twin alone: what cannot be provoked on the live kernel without devices of one's own."""

import errno

import pytest

from twinsock.kernel.boot import start_kernel
from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.kernel.net.core.sock_reuseport import ReuseportProg, reuseport_attach_prog
from twinsock.kernel.net.ipv4.route import Flowi4, ip_route_output_flow
from twinsock.kernel.net.ipv4.udp import UdpSock
from twinsock.kernel.net.socket import SocketFile, sys_bind, sys_connect, sys_recvfrom, sys_sendto, sys_setsockopt, sys_socket
from twinsock.kernel.sched.task import Task
from twinsock.uapi.in_ import IPPROTO_UDP
from twinsock.uapi.snmp import (
    UDP_MIB_INCSUMERRORS,
    UDP_MIB_INDATAGRAMS,
    UDP_MIB_INERRORS,
    UDP_MIB_MEMERRORS,
    UDP_MIB_NOPORTS,
    UDP_MIB_OUTDATAGRAMS,
)
from twinsock.uapi.socket import AF_INET, SO_REUSEPORT, SOCK_DGRAM, SOCK_NONBLOCK, SOL_SOCKET
from twinsock.wire.ip import Iphdr
from twinsock.wire.l4 import pseudo_sum4
from twinsock.wire.udp import Udphdr

LO = 0x7F000001


def sockaddr(port: int, addr: int = LO) -> bytes:
    return b"\2\0" + port.to_bytes(2, "big") + addr.to_bytes(4, "big") + bytes(8)


@pytest.fixture
def task() -> Task:
    return start_kernel(1).tasks[0]


def socket(task: Task, port: int = 0, *options: int) -> int:
    fd = sys_socket(task, AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0)
    for option in options:
        assert sys_setsockopt(task, fd, SOL_SOCKET, option, b"\1\0\0\0", 4) == 0
    if port:
        assert sys_bind(task, fd, sockaddr(port), 16) == 0
    return fd


def sock_of(task: Task, fd: int) -> UdpSock:
    assert task.files is not None
    file = task.files.lookup(fd)
    assert isinstance(file, SocketFile) and isinstance(file.sock.sk, UdpSock)
    return file.sock.sk


def arrive(task: Task, payload: bytes, port: int, spoil: int = 0) -> None:
    """Let a datagram come in as bytes, with `spoil` added to its last byte."""
    h = Udphdr(9999, port)
    body = bytearray(h.to_bytes(payload, pseudo_sum4(LO, LO, IPPROTO_UDP, 8 + len(payload))))
    body[-1] = (body[-1] + spoil) & 0xFF
    skb = SkBuff(Iphdr(LO, LO, IPPROTO_UDP).emit(len(body)) + bytes(body))
    skb.truesize = 832
    skb.protocol = 0x0800
    skb.dev = task.net.loopback_dev
    skb.dst = ip_route_output_flow(task.net, Flowi4(LO), None)[1]  # the loopback device keeps the sender's route
    skb.receive()


def test_a_bad_checksum_is_found_and_counted_when_the_datagram_is_read(task: Task) -> None:
    fd = socket(task, 5000)
    mib = task.net.udp_statistics
    arrive(task, b"spoilt", 5000, 1)
    arrive(task, b"good", 5000)
    assert mib[UDP_MIB_INCSUMERRORS] == 0
    assert sys_recvfrom(task, fd, 100, 0, None) == (4, b"good")
    assert (mib[UDP_MIB_INCSUMERRORS], mib[UDP_MIB_INERRORS], mib[UDP_MIB_INDATAGRAMS], sock_of(task, fd).sk_drops) == (1, 1, 1, 1)


def test_a_bad_checksum_without_a_socket_is_no_missing_port(task: Task) -> None:
    mib = task.net.udp_statistics
    arrive(task, b"spoilt", 5000, 1)
    assert (mib[UDP_MIB_INCSUMERRORS], mib[UDP_MIB_INERRORS], mib[UDP_MIB_NOPORTS]) == (1, 1, 0)
    arrive(task, b"good", 5000)
    assert mib[UDP_MIB_NOPORTS] == 1


def test_a_datagram_beyond_udp_mem_is_dropped_and_counted(task: Task) -> None:
    fd = socket(task, 5000)
    sk = sock_of(task, fd)
    sk.sk_prot.sysctl_mem = [0, 0, 0]
    task.kernel.sysctl_mem_pcpu_rsv = 1
    arrive(task, b"x", 5000)
    assert sys_recvfrom(task, fd, 10, 0, None)[0] == -errno.EAGAIN
    assert task.net.udp_statistics[UDP_MIB_MEMERRORS] == 1
    assert (sk.sk_rmem_alloc, sk.sk_forward_alloc, sk.sk_drops) == (0, 0, 1)


class ChooseByFirstByte(ReuseportProg):
    def run(self, skb: SkBuff, hdr_len: int) -> int:
        return skb.l4_bytes()[hdr_len] - ord("0")


def test_a_program_chooses_the_member_of_a_group_and_the_hash_beyond_the_last_slot(task: Task) -> None:
    members = [socket(task, 5000, SO_REUSEPORT) for _ in range(3)]
    assert reuseport_attach_prog(sock_of(task, members[0]), ChooseByFirstByte()) == 0
    sender = socket(task)
    for wanted in (2, 0, 1, 1):
        assert sys_sendto(task, sender, b"%d" % wanted, 0, sockaddr(5000), 16) == 1
        assert [sys_recvfrom(task, fd, 10, 0, None)[0] > 0 for fd in members] == [slot == wanted for slot in range(3)]
    assert sys_sendto(task, sender, b"9", 0, sockaddr(5000), 16) == 1
    assert sum(sys_recvfrom(task, fd, 10, 0, None)[0] > 0 for fd in members) == 1


def test_memory_of_a_closed_socket_returns_to_the_protocol(task: Task) -> None:
    from twinsock.kernel.fs.file import sys_close

    fd, sender = socket(task, 5000), socket(task)
    prot = sock_of(task, fd).sk_prot
    for _ in range(20):
        assert sys_sendto(task, sender, bytes(5000), 0, sockaddr(5000), 16) == 5000
    assert prot.counters.memory_allocated + sum(prot.counters.per_cpu_fw_alloc) > 0
    assert sys_close(task, fd) == 0
    assert prot.counters.memory_allocated + sum(prot.counters.per_cpu_fw_alloc) == 0
    assert task.net.udp_statistics[UDP_MIB_OUTDATAGRAMS] == 20


def test_a_refused_peer_is_told_once(task: Task) -> None:
    fd = socket(task)
    assert sys_connect(task, fd, sockaddr(9), 16) == 0
    answers = [sys_sendto(task, fd, b"x", 0, None, 0) for _ in range(4)]
    assert answers == [1, -errno.ECONNREFUSED, 1, -errno.ECONNREFUSED]
