"""Connection-oriented INET sockets: their timers, listening and accepting (Linux: net/ipv4/inet_connection_sock.c)."""

from typing import TYPE_CHECKING, Final

from twinsock.kernel.net.core.request_sock import RequestSockQueue
from twinsock.kernel.net.ipv4.inet_sock import InetSock

if TYPE_CHECKING:
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.core.sock import Proto
    from twinsock.kernel.time.timer import Timer

# icsk_pending
ICSK_TIME_RETRANS: Final = 1
ICSK_TIME_PROBE0: Final = 3
ICSK_TIME_LOSS_PROBE: Final = 5
ICSK_TIME_REO_TIMEOUT: Final = 6

# ack_pending
ICSK_ACK_SCHED: Final = 1
ICSK_ACK_TIMER: Final = 2
ICSK_ACK_PUSHED: Final = 4
ICSK_ACK_PUSHED2: Final = 8
ICSK_ACK_NOW: Final = 16
ICSK_ACK_NOMEM: Final = 32


class InetConnectionSock(InetSock):
    """`struct inet_connection_sock`: timers and acknowledgement state. Times ending in no unit are ticks."""

    def __init__(self, net: "Net", family: int, prot: "Proto", type_: int, protocol: int) -> None:
        super().__init__(net, family, prot, type_, protocol)
        self.icsk_accept_queue = RequestSockQueue()
        self.icsk_retransmit_timer: Timer | None = None
        self.icsk_delack_timer: Timer | None = None
        self.icsk_keepalive_timer: Timer | None = None
        self.icsk_timeout = 0  # tick at which icsk_pending is due
        self.icsk_pending = 0  # ICSK_TIME_*
        self.icsk_rto = 0
        self.icsk_rto_min = 0
        self.icsk_rto_max = 0
        self.icsk_delack_max = 0
        self.icsk_backoff = 0
        self.icsk_retransmits = 0
        self.icsk_syn_retries = 0
        self.icsk_probes_out = 0
        self.icsk_probes_tstamp = 0
        self.icsk_user_timeout = 0  # ms
        self.icsk_pmtu_cookie = 0
        self.icsk_ext_hdr_len = 0
        self.icsk_ca_state = 0  # TCP_CA_*
        # delayed acknowledgements
        self.ack_pending = 0  # ICSK_ACK_*
        self.ack_quick = 0
        self.ack_pingpong = 0
        self.ack_retry = 0
        self.ack_ato = 0
        self.ack_timeout = 0
        self.ack_lrcvtime = 0
        self.ack_last_seg_size = 0
        self.ack_rcv_mss = 0
        # path MTU probing
        self.mtup_enabled = False
        self.mtup_search_high = 0
        self.mtup_search_low = 0
        self.mtup_probe_size = 0
        self.mtup_probe_timestamp = 0
