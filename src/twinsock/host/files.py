"""What the tools ask of the live kernel about paths: stat(2), who owns a namespace, what is attached to a cgroup."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

_NS_GET_USERNS = 0xB701
_PROTOCOL_NAME = "system.sockprotoname"
_QUICK_LOOK = 5_000  # descriptors


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

    def owner_of_namespace(self, path: str) -> int:
        """Give the inode of the user namespace that owns the namespace at a path of /proc/PID/ns. Raises OSError."""
        from fcntl import ioctl

        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            owner = ioctl(fd, _NS_GET_USERNS)
        finally:
            os.close(fd)
        try:
            return os.fstat(owner).st_ino
        finally:
            os.close(owner)

    def cgroup_programs(self, cgroup: str) -> list[str]:
        """Name the BPF hooks of a cgroup that have a say in bind(2) and connect(2). Raises OSError."""
        from twinsock.host.cgroup_bpf import programs_of

        return programs_of(cgroup)

    def held_networks(self, protocols: Collection[str]) -> tuple[set[int], set[int]]:
        """Find what may keep a network namespace in which no process is: inodes of sockets of these protocols, and of namespaces.

        Only what descriptors refer to, and nothing where so many are open that the look would take long. Linux names a
        socket's protocol in an extended attribute, so that the many of other kinds need no second look.
        """
        sockets: set[int] = set()
        spaces: set[int] = set()
        folders = ["/proc/" + name + "/fd" for name in os.listdir("/proc") if name.isdecimal()]
        if not 0 < sum(map(_size, folders)) <= _QUICK_LOOK:
            return sockets, spaces
        for folder in folders:
            try:
                numbers = os.listdir(folder)
            except OSError:
                continue
            for number in numbers:
                path = folder + "/" + number
                try:
                    link = os.readlink(path)
                    if link.startswith("net:["):
                        spaces.add(int(link[5:-1]))
                    elif link.startswith("socket:[") and os.getxattr(path, _PROTOCOL_NAME).rstrip(b"\0").decode() in protocols:
                        sockets.add(int(link[8:-1]))
                except OSError:
                    continue
        return sockets, spaces

    def only_one_network(self) -> bool:
        """Tell whether every process is in this one's network namespace and none is mounted: a cheap look before a search."""
        try:
            mine = os.readlink("/proc/self/ns/net")
            with open("/proc/self/mountinfo", "rb") as mounts:
                if b" - nsfs " in mounts.read():
                    return False
            for name in os.listdir("/proc"):
                if name.isdecimal() and os.readlink("/proc/" + name + "/ns/net") != mine:
                    return False
        except OSError:
            return False
        return True


def _size(folder: str) -> int:
    """Give st_size: of /proc/PID/fd the number of descriptors, Linux 6.2; 0 if it is gone."""
    try:
        return os.stat(folder).st_size
    except OSError:
        return 0
