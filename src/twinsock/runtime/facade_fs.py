"""The part of the module os that takes paths, as programs on the twin see it: the kernel's tree in memory."""

from typing import TYPE_CHECKING

from twinsock.kernel.fs import namei
from twinsock.kernel.fs.namei import Inode
from twinsock.kernel.fs.ramfs import sys_open
from twinsock.uapi.errno import ENOENT
from twinsock.uapi.fcntl import O_CLOEXEC

if TYPE_CHECKING:
    from twinsock.runtime.facade import TwinEnv

PathLike = str | bytes


class PathStat:
    """What os.stat() returns."""

    def __init__(self, inode: Inode) -> None:
        stat = inode.getattr()
        self.st_mode = stat.mode
        self.st_ino = stat.ino
        self.st_dev = stat.dev
        self.st_nlink = stat.nlink
        self.st_uid = stat.uid
        self.st_gid = stat.gid
        self.st_size = stat.size


def _raw(path: PathLike) -> bytes:
    return path.encode() if isinstance(path, str) else path


class PathCalls:
    """Calls on paths; a failure raises OSError."""

    def __init__(self, env: "TwinEnv") -> None:
        self._env = env

    def _path_call(self, ret: int) -> int:
        return self._env.check(ret)

    def open(self, path: PathLike, flags: int, mode: int = 0o777) -> int:
        """open(2), closed by execve(2) as Python does it."""
        return self._path_call(sys_open(self._env.task, _raw(path), flags | O_CLOEXEC, mode))

    def unlink(self, path: PathLike) -> None:
        """unlink(2)."""
        self._path_call(namei.sys_unlink(self._env.task, _raw(path)))

    def remove(self, path: PathLike) -> None:
        """unlink(2)."""
        self.unlink(path)

    def rename(self, src: PathLike, dst: PathLike) -> None:
        """rename(2)."""
        self._path_call(namei.sys_rename(self._env.task, _raw(src), _raw(dst)))

    def link(self, src: PathLike, dst: PathLike) -> None:
        """link(2)."""
        self._path_call(namei.sys_link(self._env.task, _raw(src), _raw(dst)))

    def symlink(self, src: PathLike, dst: PathLike) -> None:
        """symlink(2)."""
        self._path_call(namei.sys_symlink(self._env.task, _raw(src), _raw(dst)))

    def mkdir(self, path: PathLike, mode: int = 0o777) -> None:
        """mkdir(2)."""
        self._path_call(namei.sys_mkdir(self._env.task, _raw(path), mode))

    def rmdir(self, path: PathLike) -> None:
        """rmdir(2)."""
        self._path_call(namei.sys_rmdir(self._env.task, _raw(path)))

    def chmod(self, path: PathLike, mode: int) -> None:
        """chmod(2)."""
        self._path_call(namei.sys_chmod(self._env.task, _raw(path), mode))

    def chown(self, path: PathLike, uid: int, gid: int) -> None:
        """chown(2)."""
        self._path_call(namei.sys_chown(self._env.task, _raw(path), uid, gid))

    def chdir(self, path: PathLike) -> None:
        """chdir(2)."""
        self._path_call(namei.sys_chdir(self._env.task, _raw(path)))

    def umask(self, mask: int) -> int:
        """umask(2)."""
        return namei.sys_umask(self._env.task, mask)

    def access(self, path: PathLike, mode: int) -> bool:
        """Tell whether access(2) permits it."""
        return namei.sys_access(self._env.task, _raw(path), mode) == 0

    def listdir(self, path: PathLike = ".") -> list[str]:
        """List the names in a directory."""
        err, names = namei.sys_getdents(self._env.task, _raw(path))
        self._path_call(err)
        return [name.decode() for name in names]

    def readlink(self, path: PathLike) -> str:
        """Say where a link points to."""
        err, target = namei.sys_readlink(self._env.task, _raw(path))
        self._path_call(err)
        return target.decode()

    def stat(self, path: PathLike) -> PathStat:
        """stat(2)."""
        return self._stat(*namei.sys_stat(self._env.task, _raw(path)))

    def lstat(self, path: PathLike) -> PathStat:
        """lstat(2)."""
        return self._stat(*namei.sys_lstat(self._env.task, _raw(path)))

    def _stat(self, err: int, inode: Inode | None) -> PathStat:
        self._path_call(err)
        if inode is None:
            raise OSError(ENOENT, "no such file or directory")
        return PathStat(inode)
