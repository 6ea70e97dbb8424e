"""AF_INET6: bind(2) (Linux: net/ipv6/af_inet6.c). The order of the checks is what a program sees, and it is not IPv4's.

Twin: D-bind-1: Python callables stand where Linux runs a cgroup's eBPF programs before and after these checks."""

from __future__ import annotations

from twinsock.kernel.net.core.addrs import inet_addr_type
from twinsock.kernel.net.core.sock import IN6ADDR_ANY, SOCK_BINDADDR_LOCK, SOCK_BINDPORT_LOCK
from twinsock.kernel.net.ipv4.af_inet import (
    BPF_RET_BIND_NO_CAP_NET_BIND_SERVICE,
    bind_refused,
    inet_addr_valid_or_nonlocal,
    may_bind_port,
    run_bind_programs,
    run_post_bind_programs,
    wants_port,
)
from twinsock.kernel.net.ipv4.inet_hashtables import LOOPBACK4_IPV6, MAPPED_PREFIX
from twinsock.kernel.net.ipv4.inet_sock import INET_FLAGS_FREEBIND, INET_FLAGS_TRANSPARENT, InetSock
from twinsock.uapi.errno import EACCES, EADDRNOTAVAIL, EAFNOSUPPORT, EINVAL, ENODEV
from twinsock.uapi.socket import AF_INET6, SOCK_STREAM
from twinsock.uapi.tcp import TCP_CLOSE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net import Socket
    from twinsock.kernel.sched.task import Task

BPF_CGROUP_INET6_BIND: Final = 9
BPF_CGROUP_INET6_POST_BIND: Final = 13
_SIN6_LEN_RFC2133: Final = 24  # sockaddr_in6 before it had a scope id
_SOCKADDR_IN6_LEN: Final = 28
_SCOPE_INTERFACE: Final = 1
_SCOPE_LINK: Final = 2


def inet6_bind(task: Task, sock: Socket, addr: bytes) -> int:
    """Bind an AF_INET6 socket to a `struct sockaddr_in6`, bind(2)."""
    sk = sock.sk
    assert isinstance(sk, InetSock)
    err = inet6_bind_sk(task, sk, addr)
    return bind_refused(sk, "inet6_bind", err) if err else 0


def inet6_bind_sk(task: Task, sk: InetSock, addr: bytes) -> int:
    """Bind an AF_INET6 protocol socket."""
    if len(addr) < _SIN6_LEN_RFC2133:
        return bind_refused(sk, "inet6_bind_sk", -EINVAL)
    err, addr = run_bind_programs(sk, BPF_CGROUP_INET6_BIND, addr)
    if err >= 0:
        err = __inet6_bind(task, sk, addr, bool(err & BPF_RET_BIND_NO_CAP_NET_BIND_SERVICE))
    return bind_refused(sk, "inet6_bind_sk", err) if err else 0


def __inet6_bind(task: Task, sk: InetSock, addr: bytes, no_cap: bool) -> int:
    family = addr[0] | addr[1] << 8
    snum = addr[2] << 8 | addr[3]
    saddr = addr[8:24]
    is_multicast = saddr[0] == 0xFF
    if family != AF_INET6:
        return bind_refused(sk, "__inet6_bind", -EAFNOSUPPORT)
    if is_multicast and sk.sk_type == SOCK_STREAM:
        return bind_refused(sk, "__inet6_bind", -EINVAL)
    if not no_cap and not may_bind_port(task, sk.sk_net, snum):
        return bind_refused(sk, "__inet6_bind", -EACCES)
    if sk.sk_state != TCP_CLOSE or sk.sk_num != 0:
        return bind_refused(sk, "__inet6_bind", -EINVAL)
    scope_id = int.from_bytes(addr[24:28], "little") if len(addr) >= _SOCKADDR_IN6_LEN else 0
    err = _check_address(sk, saddr, scope_id)
    if err:
        return bind_refused(sk, "__inet6_bind", err)
    is_mapped = saddr[:12] == MAPPED_PREFIX
    saved_ipv6only = sk.sk_ipv6only
    _set_address(sk, saddr, is_mapped, is_multicast)
    if wants_port(sk, snum):
        err = sk.sk_prot.get_port(sk, snum) or run_post_bind_programs(sk, BPF_CGROUP_INET6_POST_BIND)
        if err:
            sk.sk_ipv6only = saved_ipv6only
            _reset_address(sk)
            return bind_refused(sk, "__inet6_bind", err)
    if saddr != IN6ADDR_ANY:
        sk.sk_userlocks |= SOCK_BINDADDR_LOCK
    if snum != 0:
        sk.sk_userlocks |= SOCK_BINDPORT_LOCK
    sk.inet_sport = sk.sk_num
    sk.sk_daddr = 0
    sk.sk_dport = 0
    return 0


def _check_address(sk: InetSock, saddr: bytes, scope_id: int) -> int:
    """Tell whether the address may be bound: 0 or -errno. The scope id of a link-local address stays as the socket's device."""
    net = sk.sk_net
    if saddr == IN6ADDR_ANY:
        return 0
    if saddr[:12] == MAPPED_PREFIX:
        if sk.sk_ipv6only:
            return -EINVAL
        addr4 = int.from_bytes(saddr[12:], "big")
        l3mdev = net.addrs.l3mdev_master_ifindex(sk.sk_bound_dev_if) if sk.sk_bound_dev_if else 0
        type_ = inet_addr_type(net.addrs, addr4, l3mdev)
        return 0 if inet_addr_valid_or_nonlocal(net, sk, addr4, type_) else -EADDRNOTAVAIL
    if _needs_scope_id(saddr):
        if scope_id:
            sk.sk_bound_dev_if = scope_id
        if sk.sk_bound_dev_if == 0:
            return -EINVAL
    if sk.sk_bound_dev_if and not net.addrs.dev_exists(sk.sk_bound_dev_if):
        return -ENODEV
    if saddr[0] == 0xFF or _can_nonlocal_bind(sk) or net.addrs.ipv6_chk_addr(saddr, sk.sk_bound_dev_if):
        return 0
    return -EADDRNOTAVAIL


def _needs_scope_id(addr: bytes) -> bool:
    """Tell whether an address means something on one link only."""
    if addr[0] == 0xFF:
        return addr[1] & 0xF in (_SCOPE_INTERFACE, _SCOPE_LINK)
    return addr[0] == 0xFE and addr[1] & 0xC0 == 0x80


def _can_nonlocal_bind(sk: InetSock) -> bool:
    if sk.sk_net.ipv6.sysctl_ip_nonlocal_bind:
        return True
    return sk.inet_test_bit(INET_FLAGS_FREEBIND) or sk.inet_test_bit(INET_FLAGS_TRANSPARENT)


def _set_address(sk: InetSock, saddr: bytes, is_mapped: bool, is_multicast: bool) -> None:
    """Store the address in both families' fields; anything but a wildcard or a mapped address makes the socket V6ONLY."""
    if is_mapped:
        addr4 = int.from_bytes(saddr[12:], "big")
    else:
        addr4 = 0 if saddr == IN6ADDR_ANY else LOOPBACK4_IPV6
    sk.sk_rcv_saddr = addr4
    sk.inet_saddr = addr4
    sk.sk_v6_rcv_saddr = saddr
    if sk.pinet6 is not None and not is_multicast:
        sk.pinet6.saddr = saddr
    if addr4 == LOOPBACK4_IPV6 and not is_mapped:
        sk.sk_ipv6only = 1


def _reset_address(sk: InetSock) -> None:
    sk.sk_rcv_saddr = 0
    sk.inet_saddr = 0
    sk.sk_v6_rcv_saddr = IN6ADDR_ANY
    if sk.pinet6 is not None:
        sk.pinet6.saddr = IN6ADDR_ANY
