"""unix_diag attributes and request bits, `<linux/unix_diag.h>`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

UDIAG_SHOW_NAME: Final = 1
UDIAG_SHOW_VFS: Final = 2
UDIAG_SHOW_PEER: Final = 4
UDIAG_SHOW_ICONS: Final = 8
UDIAG_SHOW_RQLEN: Final = 16
UDIAG_SHOW_MEMINFO: Final = 32
UDIAG_SHOW_UID: Final = 64

UNIX_DIAG_NAME: Final = 0
UNIX_DIAG_VFS: Final = 1
UNIX_DIAG_PEER: Final = 2
UNIX_DIAG_ICONS: Final = 3
UNIX_DIAG_RQLEN: Final = 4
UNIX_DIAG_MEMINFO: Final = 5
UNIX_DIAG_SHUTDOWN: Final = 6
UNIX_DIAG_UID: Final = 7
