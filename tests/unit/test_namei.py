"""The file system in memory: walks, permissions, links, open files."""

import pytest

from twinsock.kernel.boot import start_kernel
from twinsock.kernel.fs import namei
from twinsock.kernel.fs.file import sys_close
from twinsock.kernel.fs.ramfs import sys_open
from twinsock.kernel.fs.read_write import sys_lseek, sys_pread64, sys_pwrite64, sys_read, sys_write
from twinsock.kernel.sched.task import Task
from twinsock.uapi.errno import EACCES, EBADF, EEXIST, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, ENXIO, EROFS
from twinsock.uapi.fcntl import O_APPEND, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_PATH, O_RDWR, O_TRUNC, O_WRONLY


@pytest.fixture
def task() -> Task:
    task = start_kernel().new_task("test")
    assert namei.sys_mkdir(task, b"/tmp/d", 0o777) == 0
    assert namei.sys_chdir(task, b"/tmp/d") == 0
    return task


def become(task: Task, uid: int) -> None:
    cred = task.cred
    cred.uid = cred.euid = cred.fsuid = cred.gid = cred.egid = cred.fsgid = uid
    cred.cap_effective = 0


def test_forty_links_are_followed_and_one_more_is_a_loop(task: Task) -> None:
    assert namei.sys_mknod(task, b"l0", 0o644) == 0
    for i in range(41):
        assert namei.sys_symlink(task, b"l%d" % i, b"l%d" % (i + 1)) == 0
    assert namei.sys_stat(task, b"l40")[0] == 0
    assert namei.sys_stat(task, b"l41")[0] == -ELOOP
    assert namei.sys_lstat(task, b"l41")[0] == 0


def test_names_of_256_bytes_and_paths_of_4096_are_too_long(task: Task) -> None:
    assert namei.sys_mkdir(task, b"n" * 255, 0o755) == 0
    assert namei.sys_mkdir(task, b"n" * 256, 0o755) == -ENAMETOOLONG
    assert namei.sys_stat(task, b"./" * 2047 + b".")[0] == 0
    assert namei.sys_stat(task, b"./" * 2048)[0] == -ENAMETOOLONG


def test_walk_needs_directories_and_permission_to_search_them(task: Task) -> None:
    assert namei.sys_mkdir(task, b"closed", 0o700) == 0
    assert namei.sys_mknod(task, b"closed/f", 0o644) == 0
    assert namei.sys_stat(task, b"closed/f/x")[0] == -ENOTDIR
    assert namei.sys_stat(task, b"none/x")[0] == -ENOENT
    assert namei.sys_stat(task, b"")[0] == -ENOENT
    become(task, 1000)
    assert namei.sys_stat(task, b"closed/f")[0] == -EACCES
    assert namei.sys_mkdir(task, b"mine", 0o755) == -EACCES


def test_read_only_tree_refuses_changes_but_not_existing_names(task: Task) -> None:
    assert namei.sys_mknod(task, b"f", 0o644) == 0
    namei.rootfs(task.kernel).read_only = True
    assert namei.sys_mknod(task, b"f", 0o644) == -EEXIST
    assert namei.sys_mknod(task, b"g", 0o644) == -EROFS
    assert namei.sys_unlink(task, b"f") == -EROFS
    assert sys_open(task, b"f", O_WRONLY, 0) == -EROFS
    assert sys_open(task, b"f", 0, 0) >= 0


def test_child_process_starts_in_its_parent_s_directory(task: Task) -> None:
    child = task.kernel.fork(task)
    assert child.cwd is task.cwd
    assert namei.sys_chdir(child, b"/") == 0
    assert child.cwd is not task.cwd


def test_open_file_reads_writes_appends_and_truncates(task: Task) -> None:
    fd = sys_open(task, b"f", O_RDWR | O_CREAT | O_EXCL, 0o666)
    assert (sys_write(task, fd, b"hello"), sys_read(task, fd, 9)) == (5, (0, b""))
    assert (sys_lseek(task, fd, -3, 2), sys_read(task, fd, 9)) == (2, (3, b"llo"))
    assert (sys_pwrite64(task, fd, b"!", 7), sys_pread64(task, fd, 9, 0)) == (1, (8, b"hello\0\0!"))
    more = sys_open(task, b"f", O_WRONLY | O_APPEND, 0)
    assert (sys_write(task, more, b"end"), sys_read(task, more, 1)[0]) == (3, -EBADF)
    assert sys_pread64(task, fd, 20, 5) == (6, b"\0\0!end")
    assert sys_open(task, b"f", O_RDWR | O_TRUNC, 0) > 0
    assert sys_pread64(task, fd, 20, 0) == (0, b"")
    assert namei.sys_unlink(task, b"f") == 0
    assert sys_write(task, fd, b"still there") == 11
    assert sys_close(task, fd) == 0


def test_open_refuses_sockets_links_and_wrong_kinds(task: Task) -> None:
    assert namei.sys_mknod(task, b"s", 0o140777) == 0
    assert namei.sys_symlink(task, b"s", b"link") == 0
    assert sys_open(task, b"s", O_RDWR, 0) == -ENXIO
    assert sys_open(task, b"link", O_NOFOLLOW, 0) == -ELOOP
    assert sys_open(task, b"s", O_DIRECTORY, 0) == -ENOTDIR
    assert sys_open(task, b".", O_RDWR, 0) == -EISDIR
    assert sys_open(task, b"s", O_CREAT | O_EXCL, 0) == -EEXIST
    handle = sys_open(task, b"s", O_PATH, 0)
    assert sys_read(task, handle, 1)[0] == -EBADF
