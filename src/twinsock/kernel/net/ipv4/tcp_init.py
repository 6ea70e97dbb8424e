"""TCP's `struct proto` and its registration (Linux: tcp_prot of net/ipv4/tcp_ipv4.c, tcp_init() of tcp.c)."""

from __future__ import annotations

from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.kernel.net.core.sock import Sock, proto_register
from twinsock.kernel.net.ipv4.af_inet_stream import InetStreamOps
from twinsock.kernel.net.ipv4.inet_connection_sock import InetCskProto
from twinsock.kernel.net.ipv4.inet_create import (
    INET_PROTOSW_ICSK,
    INET_PROTOSW_PERMANENT,
    InetProtosw,
    inet_register_protosw,
)
from twinsock.kernel.net.ipv4.inet_hashtables import inet_put_port
from twinsock.kernel.net.ipv4.inet_sock import InetSock
from twinsock.kernel.net.ipv4.tcp_close import tcp_close, tcp_disconnect, tcp_shutdown
from twinsock.kernel.net.ipv4.tcp_cong_init import tcp_assign_congestion_control
from twinsock.kernel.net.ipv4.tcp_fastopen import TcpFastopen
from twinsock.kernel.net.ipv4.tcp_info import tcp_get_timestamping_opt_stats
from twinsock.kernel.net.ipv4.tcp_ipv4 import AF_OPS4, TcpProtocol4, tcp_do_rcv, tcp_init_sock_fields, tcp_v4_connect
from twinsock.kernel.net.ipv4.tcp_sock import TcpSkb, TcpSock
from twinsock.kernel.net.ipv4.tcp_state import (
    reqsk_fastopen_remove,
    tcp_clear_xmit_timers,
    tcp_free_fastopen_req,
    tcp_free_xmit_timers,
    tcp_write_queue_purge,
)
from twinsock.kernel.net.ipv4.tcp_timer import tcp_release_cb, tcp_set_keepalive
from twinsock.uapi.in_ import IPPROTO_TCP
from twinsock.uapi.snmp import LINUX_MIB_TCPMEMORYPRESSURES
from twinsock.uapi.socket import AF_INET, SOCK_STREAM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.sched.task import Task


def as_tcp(sk: Sock) -> TcpSock:
    """Return `sk` as what it is."""
    assert isinstance(sk, TcpSock)
    return sk


class TcpProto(InetCskProto):
    """`tcp_prot`."""

    def __init__(self, name: str = "TCP", obj_size: int = 2304) -> None:
        super().__init__(name, obj_size)
        self.max_header = 320
        self.memory_pressures_mib = LINUX_MIB_TCPMEMORYPRESSURES

    def sysctl_wmem_min(self, net: Net) -> int:
        """Return tcp_wmem[0]."""
        return net.ipv4.sysctl_tcp_wmem[0]

    def sysctl_rmem_min(self, net: Net) -> int:
        """Return tcp_rmem[0]."""
        return net.ipv4.sysctl_tcp_rmem[0]

    def timestamping_opt_stats(self, sk: Sock, ttl: int) -> bytes:
        """tcp_get_timestamping_opt_stats()."""
        return tcp_get_timestamping_opt_stats(as_tcp(sk), ttl)

    def init_sock(self, sk: Sock) -> int:
        """tcp_v4_init_sock()."""
        tsk = as_tcp(sk)
        tcp_init_sock_fields(tsk)
        tcp_assign_congestion_control(tsk)
        tsk.icsk_af_ops = AF_OPS4
        return 0

    def close(self, task: Task | None, sk: Sock, timeout_ns: int) -> None:
        """close(2)."""
        tcp_close(task, as_tcp(sk), timeout_ns)

    def connect(self, task: Task, sk: Sock, addr: bytes) -> int:
        """connect(2)."""
        return tcp_v4_connect(task, as_tcp(sk), addr)

    def disconnect(self, sk: Sock, flags: int) -> int:
        """Undo connect(2)."""
        return tcp_disconnect(as_tcp(sk))

    def destroy(self, sk: Sock) -> None:
        """tcp_v4_destroy_sock(): free the resources of a dying socket."""
        tsk = as_tcp(sk)
        tcp_clear_xmit_timers(tsk)
        tcp_free_xmit_timers(tsk)
        if tsk.ca is not None:
            tsk.ca.release(tsk)
        tcp_write_queue_purge(tsk)
        tsk.fastopen_ops.active_disable_ofo_check(tsk)
        tsk.out_of_order_queue = []
        if tsk.icsk_bind_hash is not None:
            inet_put_port(tsk)
        if tsk.fastopen_rsk is not None:
            reqsk_fastopen_remove(tsk, False)
        tcp_free_fastopen_req(tsk)
        tsk.saved_syn = None
        self.counters.sockets_allocated -= 1

    def shutdown(self, sk: Sock, how: int) -> None:
        """shutdown(2)."""
        tcp_shutdown(as_tcp(sk), how)

    def keepalive(self, sk: Sock, on: bool) -> None:
        """SO_KEEPALIVE."""
        tcp_set_keepalive(as_tcp(sk), on)

    def backlog_rcv(self, sk: Sock, skb: SkBuff) -> int:
        """tcp_v4_do_rcv(): process a segment, perhaps one that waited."""
        assert isinstance(skb, TcpSkb)
        tcp_do_rcv(as_tcp(sk), skb)
        return 0

    def release_cb(self, sk: Sock) -> None:
        """tcp_release_cb()."""
        tcp_release_cb(as_tcp(sk))


class TcpProtosw(InetProtosw):
    """(SOCK_STREAM, IPPROTO_TCP)."""

    def __init__(self, prot: TcpProto, ops: InetStreamOps) -> None:
        super().__init__(SOCK_STREAM, IPPROTO_TCP, ops, INET_PROTOSW_PERMANENT | INET_PROTOSW_ICSK)
        self.prot = prot

    def new_sock(self, net: Net, family: int, protocol: int) -> InetSock:
        """sk_prot_alloc()."""
        self.prot.counters.sockets_allocated += 1
        return TcpSock(net, family, self.prot, SOCK_STREAM, IPPROTO_TCP)


def tcp_init(kernel: Kernel) -> TcpProto:
    """Register TCP over IPv4."""
    prot = TcpProto()
    prot.sysctl_mem = kernel.sysctl_tcp_mem
    proto_register(kernel, prot)
    inet_register_protosw(kernel, AF_INET, TcpProtosw(prot, InetStreamOps()))
    kernel.inet_protos[IPPROTO_TCP] = TcpProtocol4()
    kernel.fastopen_ops = TcpFastopen()
    return prot
