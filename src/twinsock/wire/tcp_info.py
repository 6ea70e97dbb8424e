"""`struct tcp_info` as getsockopt(2) and inet_diag give it, `<linux/tcp.h>` of Linux 6.18: 280 bytes."""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

TCP_INFO_SIZE: Final = 280
_LAYOUT: Final = Struct("=8B24I4Q6I4Q2I2Q2I4I2HI7I2H")
_U64: Final = 0xFFFFFFFFFFFFFFFF
_M32: Final = 0xFFFFFFFF


class TcpInfo:
    """`struct tcp_info`; the fields keep their names without `tcpi_`. Times are microseconds where Linux's are."""

    def __init__(self) -> None:
        self.head = [0] * 8  # state ca_state retransmits probes backoff options wscales flags
        self.words = [0] * 24  # rto .. total_retrans
        self.rates = [0] * 4  # pacing_rate max_pacing_rate bytes_acked bytes_received
        self.segs = [0] * 6  # segs_out segs_in notsent_bytes min_rtt data_segs_in data_segs_out
        self.times = [0] * 4  # delivery_rate busy_time rwnd_limited sndbuf_limited
        self.delivered = [0] * 2  # delivered delivered_ce
        self.sent = [0] * 2  # bytes_sent bytes_retrans
        self.dups = [0] * 2  # dsack_dups reord_seen
        self.windows = [0] * 4  # rcv_ooopack snd_wnd rcv_wnd rehash
        self.rtos = [0] * 3  # total_rto total_rto_recoveries total_rto_time

    def pack(self) -> bytes:
        """Give the 280 bytes; AccECN's fields are 0."""
        words = [w & _M32 for w in self.words]
        rates = [r & _U64 for r in self.rates]
        head = _LAYOUT.pack(
            *[h & 0xFF for h in self.head],
            *words,
            *rates,
            *[s & _M32 for s in self.segs],
            *self.times,
            *[d & _M32 for d in self.delivered],
            *self.sent,
            *[d & _M32 for d in self.dups],
            *[x & _M32 for x in self.windows],
            self.rtos[0] & 0xFFFF,
            self.rtos[1] & 0xFFFF,
            self.rtos[2] & _M32,
            *([0] * 7),
            *([0] * 2),
        )
        return head
