"""packet_diag attributes and request bits, `<linux/packet_diag.h>`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

PACKET_DIAG_INFO: Final = 0
PACKET_DIAG_MCLIST: Final = 1
PACKET_SHOW_INFO: Final = 1
PACKET_DIAG_RX_RING: Final = 2
PACKET_SHOW_MCLIST: Final = 2
PACKET_DIAG_TX_RING: Final = 3
PACKET_DIAG_FANOUT: Final = 4
PACKET_SHOW_RING_CFG: Final = 4
PACKET_DIAG_UID: Final = 5
PACKET_DIAG_MEMINFO: Final = 6
PACKET_DIAG_FILTER: Final = 7
PACKET_SHOW_FANOUT: Final = 8
PACKET_SHOW_MEMINFO: Final = 16
PACKET_SHOW_FILTER: Final = 32

PDI_RUNNING: Final = 1
PDI_AUXDATA: Final = 2
PDI_ORIGDEV: Final = 4
PDI_VNETHDR: Final = 8
PDI_LOSS: Final = 16
