"""What differs for AF_INET6 sockets from AF_INET ones: bind, names, leaving groups (Linux: inet6_release(), inet6_bind(),
inet6_getname() of net/ipv6/af_inet6.c; inet6_dgram_ops, inet6_sockraw_ops)."""

from __future__ import annotations

from twinsock.kernel.bpf.cgroup import (
    BPF_CGROUP_INET6_CONNECT,
    BPF_CGROUP_INET6_GETPEERNAME,
    BPF_CGROUP_INET6_GETSOCKNAME,
    cgroup_bpf_run_filter_sock_addr,
)
from twinsock.kernel.net.core.net import Socket
from twinsock.kernel.net.core.sock import IN6ADDR_ANY
from twinsock.kernel.net.ipv4.igmp_sock import ip_mc_drop_socket
from twinsock.kernel.net.ipv4.inet_ops import InetDgramOps, InetSockrawOps, inet_sk
from twinsock.kernel.net.ipv4.inet_sock import InetSock
from twinsock.kernel.net.ipv6.af_inet6 import inet6_bind
from twinsock.kernel.net.ipv6.mcast_sock import ipv6_sock_ac_close, ipv6_sock_mc_close
from twinsock.uapi.errno import ENOTCONN
from twinsock.uapi.socket import AF_INET6
from twinsock.uapi.tcp import TCP_CLOSE, TCP_SYN_SENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.sched.task import Task


def sockaddr_in6(addr: bytes, port: int, flowinfo: int = 0, scope_id: int = 0) -> bytes:
    """Give the 28 bytes of a struct sockaddr_in6; `flowinfo` in host order."""
    head = AF_INET6.to_bytes(2, "little") + port.to_bytes(2, "big") + flowinfo.to_bytes(4, "big")
    return head + addr + scope_id.to_bytes(4, "little")


def needs_scope_id(addr: bytes) -> bool:
    """Tell whether an address means something on one link only: link-local, or multicast of that scope or less."""
    if addr[0] == 0xFF:
        return addr[1] & 0xF in (1, 2)
    return addr[0] == 0xFE and addr[1] & 0xC0 == 0x80


def ipv6_iface_scope_id(addr: bytes, iface: int) -> int:
    """Return the scope id that goes with an address from a device."""
    return iface if needs_scope_id(addr) else 0


def inet6_getname(sock: Socket, peer: int) -> tuple[int, bytes]:
    """getsockname(2) (peer 0), getpeername(2) (peer 1), accept(2) (peer 2)."""
    sk = inet_sk(sock)
    np = sk.pinet6
    assert np is not None
    if peer:
        if not sk.sk_dport or (peer == 1 and sk.sk_state in (TCP_CLOSE, TCP_SYN_SENT)):
            return -ENOTCONN, b""
        addr, port, atype = sk.sk_v6_daddr, sk.sk_dport, BPF_CGROUP_INET6_GETPEERNAME
    else:
        addr = np.saddr if sk.sk_v6_rcv_saddr == IN6ADDR_ANY else sk.sk_v6_rcv_saddr
        port, atype = sk.inet_sport, BPF_CGROUP_INET6_GETSOCKNAME
    flowinfo = np.flow_label if peer and np.sndflow else 0
    name = sockaddr_in6(addr, port, flowinfo, ipv6_iface_scope_id(addr, sk.sk_bound_dev_if))
    _, name = cgroup_bpf_run_filter_sock_addr(sk, atype, name)
    return 0, name


def inet6_leave_groups(sk: InetSock) -> None:
    """Leave the groups of both families."""
    ip_mc_drop_socket(sk)
    ipv6_sock_mc_close(sk)
    ipv6_sock_ac_close(sk)


class Inet6DgramOps(InetDgramOps):
    """`inet6_dgram_ops`."""

    family = AF_INET6
    bpf_connect = BPF_CGROUP_INET6_CONNECT

    def bind(self, task: Task, sock: Socket, addr: bytes) -> int:
        """inet6_bind()."""
        return inet6_bind(task, sock, addr)

    def getname(self, sock: Socket, peer: int) -> tuple[int, bytes]:
        """inet6_getname()."""
        return inet6_getname(sock, peer)

    def leave_groups(self, sk: InetSock) -> None:
        """inet6_release()."""
        inet6_leave_groups(sk)


class Inet6SockrawOps(InetSockrawOps):
    """`inet6_sockraw_ops`."""

    family = AF_INET6
    bpf_connect = BPF_CGROUP_INET6_CONNECT

    def getname(self, sock: Socket, peer: int) -> tuple[int, bytes]:
        """inet6_getname()."""
        return inet6_getname(sock, peer)

    def leave_groups(self, sk: InetSock) -> None:
        """inet6_release()."""
        inet6_leave_groups(sk)
