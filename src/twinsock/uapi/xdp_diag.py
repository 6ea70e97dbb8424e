"""xdp_diag attributes and request bits, `<linux/xdp_diag.h>`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

XDP_SHOW_INFO: Final = 1
XDP_SHOW_RING_CFG: Final = 2
XDP_SHOW_UMEM: Final = 4
XDP_SHOW_MEMINFO: Final = 8
XDP_SHOW_STATS: Final = 16

XDP_DIAG_INFO: Final = 1
XDP_DIAG_UID: Final = 2
XDP_DIAG_RX_RING: Final = 3
XDP_DIAG_TX_RING: Final = 4
XDP_DIAG_UMEM: Final = 5
XDP_DIAG_UMEM_FILL_RING: Final = 6
XDP_DIAG_UMEM_COMPLETION_RING: Final = 7
XDP_DIAG_MEMINFO: Final = 8
XDP_DIAG_STATS: Final = 9
