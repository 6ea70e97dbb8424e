"""sock_diag(7) message types and groups, `<linux/sock_diag.h>`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SKNLGRP_NONE: Final = 0
SKNLGRP_INET_TCP_DESTROY: Final = 1
SKNLGRP_INET_UDP_DESTROY: Final = 2
SKNLGRP_INET6_TCP_DESTROY: Final = 3
SKNLGRP_INET6_UDP_DESTROY: Final = 4
SKNLGRP_MAX: Final = 4

SK_MEMINFO_RMEM_ALLOC: Final = 0
SK_MEMINFO_RCVBUF: Final = 1
SK_MEMINFO_WMEM_ALLOC: Final = 2
SK_MEMINFO_SNDBUF: Final = 3
SK_MEMINFO_FWD_ALLOC: Final = 4
SK_MEMINFO_WMEM_QUEUED: Final = 5
SK_MEMINFO_OPTMEM: Final = 6
SK_MEMINFO_BACKLOG: Final = 7
SK_MEMINFO_DROPS: Final = 8
SK_MEMINFO_VARS: Final = 9

SOCK_DIAG_BY_FAMILY: Final = 20
SOCK_DESTROY: Final = 21
