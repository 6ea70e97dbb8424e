"""AF_INET: bind(2) (Linux: net/ipv4/af_inet.c). The order of the checks is what a program sees.

Twin: D-bind-1: Python callables stand where Linux runs a cgroup's eBPF programs before and after these checks."""

from __future__ import annotations

from twinsock.kernel.net.core.addrs import inet_addr_type
from twinsock.kernel.net.core.sock import SOCK_BINDADDR_LOCK, SOCK_BINDPORT_LOCK, Sock
from twinsock.kernel.net.ipv4.inet_sock import (
    INET_FLAGS_BIND_ADDRESS_NO_PORT,
    INET_FLAGS_FREEBIND,
    INET_FLAGS_TRANSPARENT,
    InetSock,
)
from twinsock.uapi.capability import CAP_NET_BIND_SERVICE
from twinsock.uapi.errno import EACCES, EADDRNOTAVAIL, EAFNOSUPPORT, EINVAL
from twinsock.uapi.rtnetlink import RTN_BROADCAST, RTN_LOCAL, RTN_MULTICAST
from twinsock.uapi.socket import AF_INET, AF_UNSPEC
from twinsock.uapi.tcp import TCP_CLOSE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net import Socket
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.sched.task import Task

_SOCKADDR_IN_LEN: Final = 16
BPF_CGROUP_INET4_BIND: Final = 8
BPF_CGROUP_INET4_POST_BIND: Final = 12
BPF_RET_BIND_NO_CAP_NET_BIND_SERVICE: Final = 2


def inet_bind(task: Task, sock: Socket, addr: bytes) -> int:
    """Bind an AF_INET socket to a `struct sockaddr_in`, bind(2)."""
    sk = sock.sk
    assert isinstance(sk, InetSock)
    err = inet_bind_sk(task, sk, addr)
    return bind_refused(sk, "inet_bind", err) if err else 0


def inet_bind_sk(task: Task, sk: InetSock, addr: bytes) -> int:
    """Bind an AF_INET protocol socket."""
    if len(addr) < _SOCKADDR_IN_LEN:
        return bind_refused(sk, "inet_bind_sk", -EINVAL)
    err, addr = run_bind_programs(sk, BPF_CGROUP_INET4_BIND, addr)
    if err >= 0:
        err = __inet_bind(task, sk, addr, bool(err & BPF_RET_BIND_NO_CAP_NET_BIND_SERVICE))
    return bind_refused(sk, "inet_bind_sk", err) if err else 0


def run_bind_programs(sk: InetSock, atype: int, addr: bytes) -> tuple[int, bytes]:
    """Let the cgroup's bind programs refuse or rewrite the address: (-errno or flags, address)."""
    programs = sk.sk_net.kernel.cgroup_bpf
    return (0, addr) if programs is None else programs.sock_addr(sk, atype, addr)


def run_post_bind_programs(sk: InetSock, atype: int) -> int:
    """Let the cgroup's post-bind programs refuse the port, which is then given back: 0 or -errno."""
    programs = sk.sk_net.kernel.cgroup_bpf
    err = 0 if programs is None else programs.sock(sk, atype)
    if err:
        sk.sk_prot.put_port(sk)
    return err


def __inet_bind(task: Task, sk: InetSock, addr: bytes, no_cap: bool) -> int:
    net = sk.sk_net
    family = addr[0] | addr[1] << 8
    snum = addr[2] << 8 | addr[3]
    saddr = int.from_bytes(addr[4:8], "big")
    if family != AF_INET and (family != AF_UNSPEC or saddr != 0):
        return bind_refused(sk, "__inet_bind", -EAFNOSUPPORT)
    l3mdev = net.addrs.l3mdev_master_ifindex(sk.sk_bound_dev_if) if sk.sk_bound_dev_if else 0
    type_ = inet_addr_type(net.addrs, saddr, l3mdev)
    if not inet_addr_valid_or_nonlocal(net, sk, saddr, type_):
        return bind_refused(sk, "__inet_bind", -EADDRNOTAVAIL)
    if not no_cap and not may_bind_port(task, net, snum):
        return bind_refused(sk, "__inet_bind", -EACCES)
    if sk.sk_state != TCP_CLOSE or sk.sk_num != 0:
        return bind_refused(sk, "__inet_bind", -EINVAL)
    sk.sk_rcv_saddr = saddr
    sk.inet_saddr = 0 if type_ in (RTN_MULTICAST, RTN_BROADCAST) else saddr
    if wants_port(sk, snum):
        err = sk.sk_prot.get_port(sk, snum) or run_post_bind_programs(sk, BPF_CGROUP_INET4_POST_BIND)
        if err:
            sk.sk_rcv_saddr = 0
            sk.inet_saddr = 0
            return bind_refused(sk, "__inet_bind", err)
    if saddr != 0:
        sk.sk_userlocks |= SOCK_BINDADDR_LOCK
    if snum != 0:
        sk.sk_userlocks |= SOCK_BINDPORT_LOCK
    sk.inet_sport = sk.sk_num
    sk.sk_daddr = 0
    sk.sk_dport = 0
    return 0


def bind_refused(sk: Sock, function: str, err: int) -> int:
    """Tell the observer, if there is one, that a function refuses; return the error."""
    observer = sk.sk_net.bind_observer
    if observer is not None:
        observer.refused(sk, function, err)
    return err


def inet_addr_valid_or_nonlocal(net: Net, sk: InetSock, addr: int, type_: int) -> bool:
    """Tell whether an IPv4 address of type RTN_* may be bound."""
    if addr == 0 or type_ in (RTN_LOCAL, RTN_MULTICAST, RTN_BROADCAST):
        return True
    if net.ipv4.sysctl_ip_nonlocal_bind:
        return True
    return sk.inet_test_bit(INET_FLAGS_FREEBIND) or sk.inet_test_bit(INET_FLAGS_TRANSPARENT)


def may_bind_port(task: Task, net: Net, port: int) -> bool:
    """Tell whether the task may bind a port, which below ip_unprivileged_port_start takes CAP_NET_BIND_SERVICE."""
    if port == 0 or port >= net.ipv4.sysctl_ip_prot_sock:
        return True
    return task.ns_capable(net.user_ns, CAP_NET_BIND_SERVICE)


def wants_port(sk: InetSock, snum: int) -> bool:
    """Tell whether bind(2) owns a port at once; with IP_BIND_ADDRESS_NO_PORT connect(2) or listen(2) will choose it."""
    return snum != 0 or not sk.inet_test_bit(INET_FLAGS_BIND_ADDRESS_NO_PORT)
