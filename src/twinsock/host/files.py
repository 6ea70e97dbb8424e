"""What stat(2) says about a path: the one question about files that the tools ask of the live kernel."""

from __future__ import annotations

import os


class FileStat:
    """The fields of `struct stat` that are used."""

    def __init__(self, inode: int, device: int, mode: int, size: int, uid: int, gid: int) -> None:
        self.inode = inode
        self.device = device
        self.mode = mode
        self.size = size
        self.uid = uid
        self.gid = gid


class HostFiles:
    """The file system as this process sees it."""

    def stat(self, path: str | bytes, follow: bool = True) -> FileStat:
        """Look at a path. Raises OSError."""
        found = os.stat(path, follow_symlinks=follow)
        return FileStat(found.st_ino, found.st_dev, found.st_mode, found.st_size, found.st_uid, found.st_gid)

    def is_read_only(self, path: str | bytes) -> bool:
        """Tell whether the file system of a path is mounted read-only. Raises OSError."""
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
