"""Half-open connections and the queues of a listener (Linux: net/core/request_sock.c, include/net/request_sock.h)."""

from __future__ import annotations

from collections import deque

from twinsock.kernel.net.core.sock import SockCommon

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.core.sock import Sock
    from twinsock.kernel.time.timer import Timer


class RequestSock(SockCommon):
    """`struct request_sock` with `struct inet_request_sock`: a connection whose SYN has been answered."""

    def __init__(self, net: Net, family: int, listener: Sock | None) -> None:
        super().__init__(net, family)
        self.rsk_listener = listener
        self.sk: Sock | None = None  # the child, once it exists
        self.rsk_timer: Timer | None = None
        self.num_timeout = 0  # expiries of the SYN-ACK timer
        self.num_retrans = 0  # SYN-ACKs sent again
        self.timeout = 0  # ticks of the first timeout
        self.mss = 0
        self.syncookie = False
        self.rcv_wnd = 0
        self.window_clamp = 0
        self.ts_recent = 0
        self.saved_syn: bytes | None = None
        # inet_request_sock
        self.snd_wscale = 0
        self.rcv_wscale = 0
        self.tstamp_ok = False
        self.sack_ok = False
        self.wscale_ok = False
        self.ecn_ok = False
        self.acked = False
        self.no_srccheck = False
        self.ir_iif = 0
        self.ir_mark = 0
        self.ir_opt: bytes | None = None
        self.ir_v6 = False  # the connection runs over IPv6

    def inet_reqsk_num(self) -> int:
        """Return the local port."""
        return self.sk_num


class FastopenQueue:
    """`struct fastopen_queue`: the Fast Open children of a listener that are not confirmed yet."""

    def __init__(self) -> None:
        self.max_qlen = 0
        self.qlen = 0
        self.rskq_rst: deque[RequestSock] = deque()  # reset by the peer; each holds a place until its `timeout` tick
        self.ctx: object | None = None  # the listener's own cookie keys


class RequestSockQueue:
    """`struct request_sock_queue`: SYN queue counters and the accept queue."""

    def __init__(self) -> None:
        self.qlen = 0  # requests of this listener
        self.young = 0  # of them never retransmitted
        self.rskq_defer_accept = 0  # SYN-ACK timeouts to wait for data
        self.synflood_warned = False
        self.rskq_accept: deque[RequestSock] = deque()
        self.fastopenq = FastopenQueue()
