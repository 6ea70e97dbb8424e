"""What connection sockets share beside their ports: timers, acknowledgement state, listening and accepting
(Linux: include/net/inet_connection_sock.h, net/ipv4/inet_connection_sock.c)."""

from __future__ import annotations

from twinsock.kernel.net.core.request_sock import RequestSock, RequestSockQueue
from twinsock.kernel.net.ipv4.inet_connection_sock import InetConnectionSock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.dst import Dst
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.core.skbuff import SkBuff
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


class InetConnectionSockAfOps:
    """`struct inet_connection_sock_af_ops`: what differs between IPv4, IPv6 and v4-mapped connections."""

    net_header_len = 20
    family = 2

    def queue_xmit(self, sk: InetCsk, skb: SkBuff) -> int:
        """Hand a segment to the IP layer: 0, a NET_XMIT code above 0, or -errno."""
        raise NotImplementedError

    def rebuild_header(self, sk: InetCsk) -> int:
        """Make sure that the socket has a route: 0 or -errno."""
        raise NotImplementedError

    def conn_request(self, sk: InetCsk, skb: SkBuff) -> int:
        """Answer a SYN that a listener received."""
        raise NotImplementedError

    def syn_recv_sock(self, sk: InetCsk, skb: SkBuff, req: RequestSock) -> InetCsk | None:
        """Make the child of a request whose handshake ends with `skb`."""
        raise NotImplementedError

    def send_synack(self, sk: InetCsk, req: RequestSock, foc: bytes | None, foc_exp: bool, syn: SkBuff | None) -> int:
        """Answer a request's SYN, with a Fast Open cookie option if `foc` is given."""
        raise NotImplementedError

    def cookie_check(self, sk: InetCsk, skb: SkBuff) -> InetCsk | None:
        """See whether an ACK at a listener carries a cookie: the child, the listener itself when not, None to drop."""
        raise NotImplementedError

    def route_for(self, sk: InetCsk, req: RequestSock) -> Dst | None:
        """Return the route to a request's peer."""
        raise NotImplementedError

    def send_reset(self, sk: InetCsk | None, skb: SkBuff) -> None:
        """Answer `skb` with a RST."""
        raise NotImplementedError

    def reqsk_send_ack(self, sk: InetCsk, skb: SkBuff, req: RequestSock) -> None:
        """Acknowledge on behalf of a request."""
        raise NotImplementedError

    def mtu_reduced(self, sk: InetCsk) -> None:
        """Learn the smaller path MTU that an ICMP message reported."""
        raise NotImplementedError


class InetCsk(InetConnectionSock):
    """`struct inet_connection_sock`: timers and acknowledgement state. Times ending in no unit are ticks."""

    # defaults: what a connection never changes takes no room in it
    icsk_retransmit_timer: Timer | None = None
    icsk_delack_timer: Timer | None = None
    icsk_keepalive_timer: Timer | None = None
    icsk_timeout = 0  # tick at which icsk_pending is due
    icsk_pending = 0  # ICSK_TIME_*
    icsk_rto = 0
    icsk_rto_min = 0
    icsk_rto_max = 0
    icsk_delack_max = 0
    icsk_backoff = 0
    icsk_retransmits = 0
    icsk_syn_retries = 0
    icsk_probes_out = 0
    icsk_probes_tstamp = 0
    icsk_user_timeout = 0  # ms
    icsk_pmtu_cookie = 0
    icsk_ext_hdr_len = 0
    icsk_ca_state = 0  # TCP_CA_*
    ack_pending = 0  # ICSK_ACK_*
    ack_quick = 0
    ack_pingpong = 0
    ack_retry = 0
    ack_ato = 0
    ack_timeout = 0
    ack_lrcvtime = 0
    ack_last_seg_size = 0
    ack_rcv_mss = 0
    mtup_enabled = False
    mtup_search_high = 0
    mtup_search_low = 0
    mtup_probe_size = 0  # of the probe that is under way, 0: none
    mtup_probe_seq_start = 0
    mtup_probe_seq_end = 0
    mtup_probe_timestamp = 0

    def __init__(self, net: Net, family: int, prot: Proto, type_: int, protocol: int) -> None:
        super().__init__(net, family, prot, type_, protocol)
        self.icsk_af_ops: InetConnectionSockAfOps = _NO_AF_OPS
        self.icsk_accept_queue = RequestSockQueue()
        # delayed acknowledgements
        # path MTU probing


_NO_AF_OPS: Final = InetConnectionSockAfOps()


def inet_csk_reset_xmit_timer(sk: InetCsk, what: int, when: int, max_when: int) -> None:
    """Arm the timer that retransmissions, probes and loss detection share, `when` ticks from now."""
    timer = sk.icsk_retransmit_timer
    if timer is None:
        return
    clock = sk.sk_net.kernel.clock
    sk.icsk_pending = what
    sk.icsk_timeout = clock.jiffies() + (when if when < max_when else max_when)
    clock.mod_timer(timer, sk.icsk_timeout)


def inet_csk_clear_xmit_timer(sk: InetCsk) -> None:
    """Nothing is to be retransmitted; the timer itself runs into the void, and holds its reference until then."""
    sk.icsk_pending = 0


def inet_csk_clear_delack_timer(sk: InetCsk) -> None:
    """Forget the delayed acknowledgement."""
    sk.ack_pending = 0
    sk.ack_retry = 0
    if sk.icsk_delack_timer is not None:
        sk.sk_net.kernel.clock.del_timer(sk.icsk_delack_timer)


def inet_csk_reset_keepalive_timer(sk: InetCsk, ticks: int) -> None:
    """Arm the keepalive (and FIN_WAIT2, and SYN-ACK of a Fast Open child) timer."""
    timer = sk.icsk_keepalive_timer
    if timer is not None:
        clock = sk.sk_net.kernel.clock
        clock.mod_timer(timer, clock.jiffies() + ticks)


def inet_csk_delete_keepalive_timer(sk: InetCsk) -> None:
    """Disarm the keepalive timer."""
    if sk.icsk_keepalive_timer is not None:
        sk.sk_net.kernel.clock.del_timer(sk.icsk_keepalive_timer)


def inet_csk_ack_scheduled(sk: InetCsk) -> bool:
    """Tell whether an acknowledgement is owed."""
    return bool(sk.ack_pending & ICSK_ACK_SCHED)


def inet_csk_schedule_ack(sk: InetCsk) -> None:
    """Owe an acknowledgement."""
    sk.ack_pending |= ICSK_ACK_SCHED


def inet_csk_enter_pingpong_mode(sk: InetCsk) -> None:
    """Treat the connection as interactive: acknowledgements ride on answers."""
    sk.ack_pingpong = sk.sk_net.ipv4.sysctl_tcp_pingpong_thresh


def inet_csk_exit_pingpong_mode(sk: InetCsk) -> None:
    """Treat the connection as one-way."""
    sk.ack_pingpong = 0


def inet_csk_in_pingpong_mode(sk: InetCsk) -> bool:
    """Tell whether acknowledgements may wait for answers."""
    return sk.ack_pingpong >= sk.sk_net.ipv4.sysctl_tcp_pingpong_thresh


def inet_csk_inc_pingpong_cnt(sk: InetCsk) -> None:
    """Count one more sign of interactivity."""
    if sk.ack_pingpong < 255:
        sk.ack_pingpong += 1
