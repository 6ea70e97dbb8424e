"""UNIX-domain constants, `<linux/un.h>`, unix(7)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SIOCUNIXFILE: Final = 35296

UNIX_PATH_MAX: Final = 108
