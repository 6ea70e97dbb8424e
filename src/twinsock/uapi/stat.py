"""File modes, `<linux/stat.h>`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

S_IXOTH: Final = 1
S_IWOTH: Final = 2
S_IROTH: Final = 4
S_IRWXO: Final = 7
S_IXGRP: Final = 8
S_IWGRP: Final = 16
S_IRGRP: Final = 32
S_IRWXG: Final = 56
S_IXUSR: Final = 64
S_IWUSR: Final = 128
S_IRUSR: Final = 256
S_IRWXU: Final = 448
S_IFIFO: Final = 4096
S_IFCHR: Final = 8192
S_IFDIR: Final = 16384
S_IFBLK: Final = 24576
S_IFREG: Final = 32768
S_IFLNK: Final = 40960
S_IFSOCK: Final = 49152
S_IFMT: Final = 61440
