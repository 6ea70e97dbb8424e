"""Hooks where Linux runs BPF programs attached to a cgroup (Linux: kernel/bpf/cgroup.c).

`Kernel.cgroup_bpf` is None, or a subclass of `CgroupBpf` whose methods refuse (a negative errno, -EPERM in Linux unless the program
sets another) or rewrite. An address travels as sockaddr bytes: what a method returns is used instead. One set of programs
for the whole host stands for the root cgroup.

Twin: D-bpf-1: no eBPF is interpreted; INET_EGRESS and SYSCTL programs are not asked."""

from __future__ import annotations

from twinsock.kernel.lib.extending import mypyc_attr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.skbuff import SkBuff
    from twinsock.kernel.net.core.sock import Sock

# enum cgroup_bpf_attach_type, as far as sockets go (numbers of enum bpf_attach_type)
BPF_CGROUP_INET_INGRESS: Final = 0
BPF_CGROUP_INET_EGRESS: Final = 1
BPF_CGROUP_INET_SOCK_CREATE: Final = 2
BPF_CGROUP_INET4_BIND: Final = 8
BPF_CGROUP_INET6_BIND: Final = 9
BPF_CGROUP_INET4_CONNECT: Final = 10
BPF_CGROUP_INET6_CONNECT: Final = 11
BPF_CGROUP_INET4_POST_BIND: Final = 12
BPF_CGROUP_INET6_POST_BIND: Final = 13
BPF_CGROUP_UDP4_SENDMSG: Final = 14
BPF_CGROUP_UDP6_SENDMSG: Final = 15
BPF_CGROUP_SYSCTL: Final = 18
BPF_CGROUP_UDP4_RECVMSG: Final = 19
BPF_CGROUP_UDP6_RECVMSG: Final = 20
BPF_CGROUP_GETSOCKOPT: Final = 21
BPF_CGROUP_SETSOCKOPT: Final = 22
BPF_CGROUP_INET4_GETPEERNAME: Final = 29
BPF_CGROUP_INET6_GETPEERNAME: Final = 30
BPF_CGROUP_INET4_GETSOCKNAME: Final = 31
BPF_CGROUP_INET6_GETSOCKNAME: Final = 32
BPF_CGROUP_INET_SOCK_RELEASE: Final = 34
BPF_CGROUP_UNIX_CONNECT: Final = 49
BPF_CGROUP_UNIX_SENDMSG: Final = 50
BPF_CGROUP_UNIX_RECVMSG: Final = 51
BPF_CGROUP_UNIX_GETPEERNAME: Final = 52
BPF_CGROUP_UNIX_GETSOCKNAME: Final = 53

BPF_RET_BIND_NO_CAP_NET_BIND_SERVICE: Final = 1 << 1  # a bind program may waive the privileged-port check


@mypyc_attr(allow_interpreted_subclasses=True)
class CgroupBpf:
    """The programs; the defaults permit everything and change nothing."""

    def sock(self, sk: Sock, atype: int) -> int:
        """INET_SOCK_CREATE, INET_SOCK_RELEASE, INET4/6_POST_BIND: 0 or -errno."""
        return 0

    def sock_addr(self, sk: Sock, atype: int, uaddr: bytes) -> tuple[int, bytes]:
        """BIND, CONNECT, SENDMSG, RECVMSG, GETPEERNAME, GETSOCKNAME: (-errno or flags such as
        BPF_RET_BIND_NO_CAP_NET_BIND_SERVICE, address to use)."""
        return 0, uaddr

    def skb(self, sk: Sock, skb: SkBuff, atype: int) -> int:
        """INET_INGRESS, INET_EGRESS: 0 or -errno."""
        return 0

    def setsockopt(self, sk: Sock, level: int, optname: int, optval: bytes) -> tuple[int, bytes]:
        """SETSOCKOPT: (0 go on with the value returned, 1 done without the kernel, or -errno; value)."""
        return 0, optval

    def getsockopt(self, sk: Sock, level: int, optname: int, retval: int, optval: bytes) -> tuple[int, bytes]:
        """GETSOCKOPT, after the kernel's own answer `retval`: (0 or -errno, value)."""
        return retval, optval


def cgroup_bpf_run_filter_sk(sk: Sock, atype: int) -> int:
    """Run the programs for a socket: 0 or -errno."""
    ops = sk.sk_net.kernel.cgroup_bpf
    return 0 if ops is None else ops.sock(sk, atype)


def cgroup_bpf_run_filter_sock_addr(sk: Sock, atype: int, uaddr: bytes) -> tuple[int, bytes]:
    """Run the programs for an address: (-errno or flags, address to use)."""
    ops = sk.sk_net.kernel.cgroup_bpf
    if ops is None:
        return 0, uaddr
    return ops.sock_addr(sk, atype, uaddr)


def cgroup_bpf_run_filter_skb(sk: Sock, skb: SkBuff, atype: int) -> int:
    """Run the programs for a packet: 0 or -errno."""
    ops = sk.sk_net.kernel.cgroup_bpf
    return 0 if ops is None else ops.skb(sk, skb, atype)
