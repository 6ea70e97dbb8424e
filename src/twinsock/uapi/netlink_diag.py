"""netlink_diag attributes and request bits, `<linux/netlink_diag.h>`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

NDIAG_FLAG_CB_RUNNING: Final = 1
NDIAG_SHOW_MEMINFO: Final = 1
NDIAG_FLAG_PKTINFO: Final = 2
NDIAG_SHOW_GROUPS: Final = 2
NDIAG_FLAG_BROADCAST_ERROR: Final = 4
NDIAG_SHOW_RING_CFG: Final = 4
NDIAG_FLAG_NO_ENOBUFS: Final = 8
NDIAG_SHOW_FLAGS: Final = 8
NDIAG_FLAG_LISTEN_ALL_NSID: Final = 16
NDIAG_FLAG_CAP_ACK: Final = 32
NDIAG_PROTO_ALL: Final = 255

NETLINK_DIAG_MEMINFO: Final = 0
NETLINK_DIAG_GROUPS: Final = 1
NETLINK_DIAG_RX_RING: Final = 2
NETLINK_DIAG_TX_RING: Final = 3
NETLINK_DIAG_FLAGS: Final = 4
NETLINK_DIAG_MAX: Final = 4
