"""socket(2) for AF_INET and AF_INET6: which protocol a type and number stand for (Linux: inetsw[] and inet_create() of
net/ipv4/af_inet.c, inet6_create() of net/ipv6/af_inet6.c; sheet 01, 1.2).

A protocol registers one `InetProtosw` per family with `inet_register_protosw`."""

from __future__ import annotations

from twinsock.kernel.bpf.cgroup import BPF_CGROUP_INET_SOCK_CREATE, cgroup_bpf_run_filter_sk
from twinsock.kernel.net.core.net import SS_UNCONNECTED, NetProtoFamily, ProtoOps, Socket
from twinsock.kernel.net.core.sock import SK_CAN_REUSE, sk_alloc, sk_common_release, sock_init_data
from twinsock.kernel.net.ipv4.inet_sock import (
    INET_FLAGS_HDRINCL,
    INET_FLAGS_IS_ICSK,
    INET_FLAGS_MC6_ALL,
    INET_FLAGS_MC6_LOOP,
    INET_FLAGS_MC_ALL,
    INET_FLAGS_MC_LOOP,
    InetSock,
    Ipv6Pinfo,
)
from twinsock.uapi.capability import CAP_NET_RAW
from twinsock.uapi.errno import EINVAL, EPERM, EPROTONOSUPPORT, ESOCKTNOSUPPORT
from twinsock.uapi.in_ import IP_PMTUDISC_DONT, IP_PMTUDISC_WANT, IPPROTO_IP, IPPROTO_MAX, IPPROTO_RAW
from twinsock.uapi.socket import AF_INET, AF_INET6, SOCK_MAX, SOCK_RAW

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.sched.task import Task

INET_PROTOSW_REUSE: Final = 1  # ports are always reusable: SO_REUSEADDR is on from the start
INET_PROTOSW_PERMANENT: Final = 2  # stands before those that are not
INET_PROTOSW_ICSK: Final = 4  # connection oriented


class InetProtosw:
    """`struct inet_protosw`: one type and protocol of a family. Protocol 0 is the wildcard."""

    def __init__(self, type_: int, protocol: int, ops: ProtoOps, flags: int) -> None:
        self.type = type_
        self.protocol = protocol
        self.ops = ops
        self.flags = flags

    def new_sock(self, net: Net, family: int, protocol: int) -> InetSock:
        """Make the protocol socket."""
        raise NotImplementedError


class InetFamily(NetProtoFamily):
    """AF_INET or AF_INET6 in the table of families."""

    def __init__(self, family: int) -> None:
        self.family = family
        self.inetsw: list[list[InetProtosw]] = [[] for _ in range(SOCK_MAX)]

    def create(self, task: Task, net: Net, sock: Socket, protocol: int, kern: int) -> int:
        """Make an Internet socket."""
        return inet_create(self, task, net, sock, protocol, kern)


def inet_family(kernel: Kernel, family: int) -> InetFamily:
    """Return the entry of AF_INET or AF_INET6, registering it at the first call."""
    found = kernel.net_families[family]
    if isinstance(found, InetFamily):
        return found
    made = InetFamily(family)
    kernel.net_families[family] = made
    return made


def inet_register_protosw(kernel: Kernel, family: int, answer: InetProtosw) -> None:
    """Let socket(2) find a protocol: permanent ones first, in order of registration, the others behind, newest first."""
    entries = inet_family(kernel, family).inetsw[answer.type]
    at = 0
    while at < len(entries) and entries[at].flags & INET_PROTOSW_PERMANENT:
        at += 1
    entries.insert(at, answer)


def inet_create(family: InetFamily, task: Task, net: Net, sock: Socket, protocol: int, kern: int) -> int:
    """Make the protocol socket for `sock.type`: 0 or -errno."""
    if protocol < 0 or protocol >= IPPROTO_MAX:
        return -EINVAL
    sock.state = SS_UNCONNECTED
    err, answer = _find(family.inetsw[sock.type], protocol)
    if answer is None:
        return err
    protocol = protocol or answer.protocol
    if sock.type == SOCK_RAW and not kern and not task.ns_capable(net.user_ns, CAP_NET_RAW):
        return -EPERM
    sock.ops = answer.ops
    sk = answer.new_sock(net, family.family, protocol)
    if answer.flags & INET_PROTOSW_REUSE:
        sk.sk_reuse = SK_CAN_REUSE
    sk.inet_assign_bit(INET_FLAGS_IS_ICSK, bool(answer.flags & INET_PROTOSW_ICSK))
    if sock.type == SOCK_RAW:
        sk.sk_num = protocol
        sk.inet_assign_bit(INET_FLAGS_HDRINCL, protocol == IPPROTO_RAW)
    sk.pmtudisc = IP_PMTUDISC_DONT if net.ipv4.sysctl_ip_no_pmtu_disc else IP_PMTUDISC_WANT
    sk_alloc(sk, kern)
    sock_init_data(sock, sk)
    sk.inet_assign_bit(INET_FLAGS_MC_LOOP, True)
    sk.inet_assign_bit(INET_FLAGS_MC_ALL, family.family == AF_INET)
    if family.family == AF_INET6:
        _init_ipv6(sk, net)
    return _start(task, sock, sk, kern)


def _find(entries: list[InetProtosw], protocol: int) -> tuple[int, InetProtosw | None]:
    """Choose an entry: an exact match, the first one for protocol 0, or a wildcard."""
    if not entries:
        return -ESOCKTNOSUPPORT, None
    for answer in entries:
        if protocol == answer.protocol:
            if protocol != IPPROTO_IP:
                return 0, answer
        elif protocol == IPPROTO_IP or answer.protocol == IPPROTO_IP:
            return 0, answer
    return -EPROTONOSUPPORT, None


def _init_ipv6(sk: InetSock, net: Net) -> None:
    """Give an AF_INET6 socket its IPv6 half."""
    sk.pinet6 = Ipv6Pinfo()
    sk.inet_assign_bit(INET_FLAGS_MC6_LOOP, True)
    sk.inet_assign_bit(INET_FLAGS_MC6_ALL, True)
    sk.sk_ipv6only = net.ipv6.sysctl_bindv6only


def _start(task: Task, sock: Socket, sk: InetSock, kern: int) -> int:
    """Enter a socket that has a number already into its table, and let the protocol and the cgroup's programs have a say."""
    err = 0
    if sk.sk_num:
        sk.inet_sport = sk.sk_num
        err = sk.sk_prot.hash(sk)
    if not err:
        err = sk.sk_prot.init_sock(sk)
    if not err and not kern:
        err = sk.sk_prot.may_create(task, sk) or cgroup_bpf_run_filter_sk(sk, BPF_CGROUP_INET_SOCK_CREATE)
    if err:
        sk_common_release(sk)
        sock.sk = None
    return err
