"""`struct inet_timewait_sock`: what is left of a closed connection (Linux: net/ipv4/inet_timewait_sock.c, tcp_twsk_unique() of tcp_ipv4.c).

Here are the fields that owners of ports are asked for, and the question whether a new connection may take the place."""

from __future__ import annotations

from twinsock.kernel.net.core.sock import SockCommon
from twinsock.kernel.time.timer import NSEC_PER_MSEC
from twinsock.uapi.socket import AF_INET6
from twinsock.uapi.tcp import TCP_TIME_WAIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net

LOOPBACK_IFINDEX: Final = 1
_MAPPED_PREFIX: Final = bytes(10) + b"\xff\xff"
_LOOPBACK6: Final = bytes(15) + b"\x01"


class InetTimewaitSock(SockCommon):
    """A mini-socket: the addresses, flags and port of the connection it stands for."""

    def __init__(self, net: Net, family: int) -> None:
        super().__init__(net, family)
        self.sk_state = TCP_TIME_WAIT
        self.tw_substate = TCP_TIME_WAIT  # or TCP_FIN_WAIT2
        self.tw_connect_bind = False  # its port was chosen by connect(2)
        self.tw_transparent = False
        self.tw_ts_recent_stamp = 0  # not 0: the peer sent timestamps
        self.tw_entry_ns = 0  # when it began

    def twsk_unique(self, sk: SockCommon, automatic: bool) -> bool:
        """Tell whether `sk` may take this 4-tuple over; `automatic`: its port is being chosen by connect(2).

        A port that the program named is taken at once; an automatic one asks tcp_tw_reuse."""
        if self.tw_ts_recent_stamp == 0:
            return False
        if not automatic:
            return True
        ipv4 = self.sk_net.ipv4
        reuse = ipv4.sysctl_tcp_tw_reuse
        if reuse == 0 or (reuse == 2 and not self._is_loopback()):
            return False
        if self.tw_substate != TCP_TIME_WAIT:
            return False
        age_ns = self.sk_net.kernel.clock.now_ns - self.tw_entry_ns
        return age_ns > ipv4.sysctl_tcp_tw_reuse_delay * NSEC_PER_MSEC

    def deschedule(self) -> None:
        """Stop the timer of a mini-socket whose place was taken."""

    def _is_loopback(self) -> bool:
        if self.sk_bound_dev_if == LOOPBACK_IFINDEX:
            return True
        if self.sk_family == AF_INET6 and not self.sk_v6_daddr.startswith(_MAPPED_PREFIX):
            return _LOOPBACK6 in (self.sk_v6_daddr, self.sk_v6_rcv_saddr)
        return self.sk_daddr >> 24 == 127 or self.sk_rcv_saddr >> 24 == 127
