"""Open flags and fcntl(2) commands, `<fcntl.h>` (x86-64)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

AT_FDCWD: Final = -100
AT_STATX_SYNC_AS_STAT: Final = 0
AT_SYMLINK_NOFOLLOW: Final = 256
AT_EACCESS: Final = 512
AT_REMOVEDIR: Final = 512
AT_SYMLINK_FOLLOW: Final = 1024
AT_NO_AUTOMOUNT: Final = 2048
AT_EMPTY_PATH: Final = 4096
AT_STATX_FORCE_SYNC: Final = 8192
AT_STATX_DONT_SYNC: Final = 16384
AT_STATX_SYNC_TYPE: Final = 24576
AT_RECURSIVE: Final = 32768

FD_CLOEXEC: Final = 1

F_DUPFD: Final = 0
F_RDLCK: Final = 0
F_GETFD: Final = 1
F_SEAL_SEAL: Final = 1
F_WRLCK: Final = 1
F_SEAL_SHRINK: Final = 2
F_SETFD: Final = 2
F_UNLCK: Final = 2
F_GETFL: Final = 3
F_EXLCK: Final = 4
F_SEAL_GROW: Final = 4
F_SETFL: Final = 4
F_GETLK: Final = 5
F_GETLK64: Final = 5
F_SETLK: Final = 6
F_SETLK64: Final = 6
F_SETLKW: Final = 7
F_SETLKW64: Final = 7
F_SEAL_WRITE: Final = 8
F_SETOWN: Final = 8
F_SHLCK: Final = 8
F_GETOWN: Final = 9
F_SETSIG: Final = 10
F_GETSIG: Final = 11
F_SETOWN_EX: Final = 15
F_GETOWN_EX: Final = 16
F_SEAL_FUTURE_WRITE: Final = 16
F_OFD_GETLK: Final = 36
F_OFD_SETLK: Final = 37
F_OFD_SETLKW: Final = 38
F_SETLEASE: Final = 1024
F_GETLEASE: Final = 1025
F_NOTIFY: Final = 1026
F_DUPFD_CLOEXEC: Final = 1030
F_SETPIPE_SZ: Final = 1031
F_GETPIPE_SZ: Final = 1032
F_ADD_SEALS: Final = 1033
F_GET_SEALS: Final = 1034
F_GET_RW_HINT: Final = 1035
F_SET_RW_HINT: Final = 1036
F_GET_FILE_RW_HINT: Final = 1037
F_SET_FILE_RW_HINT: Final = 1038

LOCK_SH: Final = 1
LOCK_EX: Final = 2
LOCK_NB: Final = 4
LOCK_UN: Final = 8
LOCK_MAND: Final = 32
LOCK_READ: Final = 64
LOCK_WRITE: Final = 128
LOCK_RW: Final = 192

O_LARGEFILE: Final = 0x0
O_RDONLY: Final = 0x0
O_WRONLY: Final = 0x1
O_RDWR: Final = 0x2
O_ACCMODE: Final = 0x3
O_CREAT: Final = 0x40
O_EXCL: Final = 0x80
O_NOCTTY: Final = 0x100
O_TRUNC: Final = 0x200
O_APPEND: Final = 0x400
O_NDELAY: Final = 0x800
O_NONBLOCK: Final = 0x800
O_DSYNC: Final = 0x1000
O_ASYNC: Final = 0x2000
O_DIRECT: Final = 0x4000
O_DIRECTORY: Final = 0x10000
O_NOFOLLOW: Final = 0x20000
O_NOATIME: Final = 0x40000
O_CLOEXEC: Final = 0x80000
O_FSYNC: Final = 0x101000
O_RSYNC: Final = 0x101000
O_SYNC: Final = 0x101000
O_PATH: Final = 0x200000
O_TMPFILE: Final = 0x410000

SPLICE_F_MOVE: Final = 1
SPLICE_F_NONBLOCK: Final = 2
SPLICE_F_MORE: Final = 4
SPLICE_F_GIFT: Final = 8
