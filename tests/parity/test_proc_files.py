"""/proc as a program uses it: open(2), read(2) in pieces, lseek(2), write(2), getdents64(2), readlink(2), stat(2), on both kernels."""

import os
from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt

pytestmark = [pytest.mark.root]

LO = "127.0.0.1"
SINGLE = ("snmp", "snmp6", "netstat", "sockstat", "sockstat6")
TABLES = ("tcp", "udp", "unix", "dev", "igmp", "if_inet6", "route", "netlink", "packet", "raw", "icmp", "tcp6", "protocols")


def listeners(env: Any, count: int) -> list[Any]:
    found = []
    for port in range(5000, 5000 + count):
        sock = env.socket.socket()
        sock.bind((LO, port))
        sock.listen(1)
        found.append(sock)
    return found


def pieces_of(env: Any, path: str, count: int) -> list[bytes]:
    """Read a file to its end, piece by piece."""
    fd = env.os.open(path, os.O_RDONLY)
    found = []
    while part := env.os.read(fd, count):
        found.append(part)
    env.os.close(fd)
    return found


def fills_pages(env: Any, path: str) -> bool:
    """Tell whether each piece but the last is as many whole lines as stay below a page."""
    found = pieces_of(env, path, 1 << 20)
    lines = b"".join(found).splitlines(keepends=True)
    expected = [b""]
    for line in lines:
        if len(expected[-1]) + len(line) >= 4096:
            expected.append(b"")
        expected[-1] += line
    return found == expected and len(found) > 1


def pieces(env: Any) -> Any:
    kept = [*listeners(env, 60), *[env.socket.socket(1, 1) for _ in range(100)]]
    out: list[Any] = [fills_pages(env, "/proc/net/tcp"), fills_pages(env, "/proc/net/unix")]
    out += [[[len(part) for part in pieces_of(env, "/proc/net/tcp", count)] for count in (1 << 20, 4096, 150, 151, 1000)]]
    for name in (*TABLES, *SINGLE):
        whole = b"".join(pieces_of(env, f"/proc/net/{name}", 1 << 20))
        small = pieces_of(env, f"/proc/net/{name}", 7)
        out.append((name, b"".join(small) == whole, {len(part) for part in small[:-1]} <= {7}))
    out += [[len(pieces_of(env, f"/proc/net/{name}", 1 << 20)) for name in (*SINGLE, "dev", "route", "igmp")]]
    return out, len(kept)


def test_tables_come_in_whole_lines_of_at_most_a_page() -> None:
    assert_parity(pieces)


def seeks(env: Any) -> Any:
    kept = listeners(env, 60)
    out: list[Any] = []
    for name in ("tcp", "sockstat"):
        fd = env.os.open(f"/proc/net/{name}", os.O_RDONLY)
        text = b""
        while part := env.os.read(fd, 1 << 20):
            text += part
        for offset, whence in ((0, 2), (-1, 0), (10, 0), (5, 1), (-100, 1), (10_000_000, 0), (3, 0)):
            out.append(
                (attempt(env.os.lseek, fd, offset, whence), env.os.read(fd, 20) == text[max(offset, 0) :][:20] if whence == 0 else None)
            )
        for offset in (0, 1, 149, 150, 151, 4049, 4050, 4051, 100_000):
            found = env.os.pread(fd, 30, offset)
            out.append(found == text[offset : offset + 30])
        out.append(env.os.lseek(fd, 0, 1))
        out.append(attempt(env.os.pread, fd, 10, -1))
        env.os.close(fd)
    return out, len(kept)


def test_positions_in_a_table() -> None:
    assert_parity(seeks)


def values(env: Any) -> Any:
    out: list[Any] = []
    fd = env.os.open("/proc/sys/net/ipv4/ip_local_port_range", os.O_RDWR)
    out += [env.os.read(fd, 2), env.os.lseek(fd, 0, 1), env.os.read(fd, 100)]
    out += [env.os.pread(fd, count, pos) for count, pos in ((100, 0), (7, 0), (6, 0), (1, 0), (0, 0), (100, 1))]
    out += [env.os.pwrite(fd, b"40000 50000", 1), env.os.pread(fd, 100, 0), env.os.lseek(fd, 0, 0)]
    out += [env.os.write(fd, b"33000 50001"), env.os.lseek(fd, 0, 1), env.os.write(fd, b"x")]
    out += [attempt(env.os.pwrite, fd, b"x", 0), env.os.pread(fd, 99, 0), env.os.pwrite(fd, b"", 0)]
    out += [attempt(env.os.lseek, fd, offset, whence) for offset, whence in ((0, 2), (-5, 0), (3, 0), (3, 1), (0, 3), (0, 4))]
    fd = env.os.open("/proc/sys/net/ipv4/ip_local_reserved_ports", os.O_RDWR)
    out += [env.os.write(fd, b"1000-2000,3000"), env.os.pread(fd, 4, 0), env.os.pread(fd, 100, 4), env.os.pread(fd, 100, 0)]
    out += [env.os.pwrite(fd, b"5", 3), env.os.pread(fd, 100, 0)]
    fd = env.os.open("/proc/sys/net/ipv4/tcp_congestion_control", os.O_RDWR)
    env.os.pwrite(fd, b"reno", 0)
    out += [env.os.read(fd, 2), env.os.read(fd, 100), env.os.read(fd, 100)]
    out += [env.os.pread(fd, 100, pos) for pos in (0, 3, 5, 6, 7)]
    out += [env.os.pwrite(fd, b"reno", 0), env.os.pread(fd, 100, 0), attempt(env.os.pwrite, fd, b"nonsense", 0)]
    out += [attempt(env.os.write, fd, b"cubic\n"), env.os.lseek(fd, 0, 1), env.os.pread(fd, 100, 0)]
    return out


def test_values_are_read_and_written_at_offset_zero() -> None:
    assert_parity(values)


def after_setns(env: Any) -> Any:
    """A descriptor opened in one namespace stays with it."""
    fd = env.os.open("/proc/sys/net/core/somaxconn", os.O_RDWR)
    net = env.os.open("/proc/self/net/sockstat", os.O_RDONLY)
    kept = [env.socket.socket() for _ in range(3)]
    assert env.sys.unshare(0x40000000) == 0
    env.os.write(fd, b"77")
    out = [env.os.pread(fd, 10, 0), env.os.read(env.os.open("/proc/sys/net/core/somaxconn", os.O_RDONLY), 10)]
    out.append(env.os.read(net, 15))
    out.append(env.os.read(env.os.open("/proc/net/sockstat", os.O_RDONLY), 15))
    return out, len(kept)


def test_open_files_keep_their_namespace() -> None:
    assert_parity(after_setns)


def refusals(env: Any) -> Any:
    o = env.os
    pid = f"/proc/{o.readlink('/proc/self')}"
    calls: list[tuple[Any, ...]] = [
        *[(o.mkdir, path) for path in ("/proc/x", "/proc/net/x", "/proc/net/tcp", "/proc/sys/net/x", "/proc/self/x")],
        *[(o.open, path, os.O_CREAT | os.O_WRONLY) for path in ("/proc/net/x", "/proc/sys/net/x", "/proc/self/x", "/proc/x")],
        (o.open, "/proc/net/tcp", os.O_CREAT | os.O_EXCL | os.O_WRONLY),
        *[
            (o.unlink, path)
            for path in ("/proc/net/tcp", "/proc/sys/net/core/somaxconn", "/proc/self/comm", "/proc/net", "/proc/self/fd/0")
        ],
        *[(o.unlink, path) for path in ("/proc/nothing", "/proc/sys", "/proc/self/net/")],
        *[(o.rmdir, path) for path in ("/proc/self/net", pid, "/proc/sys/net/core", "/proc/net/tcp", "/proc/none")],
        (o.rename, "/proc/net/tcp", "/proc/net/udp"),
        (o.rename, "/proc/net/tcp", "/tmp/tcp-of-proc"),
        (o.rename, "/proc/net/tcp", "/proc/net/xx"),
        (o.rename, "/proc/net/none", "/tmp/tcp-of-proc"),
        (o.link, "/proc/net/tcp", "/tmp/tcp-of-proc"),
        (o.link, "/tmp", "/proc/net/xx"),
        (o.symlink, "a", "/proc/net/xx"),
        (o.symlink, "a", "/proc/net/tcp"),
        *[(o.chmod, path, 0o644) for path in ("/proc/sys/net/core/somaxconn", "/proc/self/comm")],
        (o.chown, "/proc/sys/net/core/somaxconn", 0, 0),
        (o.chown, "/proc/self/comm", 0, 0),
        *[(o.open, "/proc/net/tcp", flags) for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_DIRECTORY)],
        *[(o.open, path, os.O_WRONLY) for path in ("/proc/net/", "/proc/self", "/proc/self/ns/net")],
        *[(o.open, path, os.O_RDONLY) for path in ("/proc/net/tcp/", "/proc/net/tcp/x", "/proc/self/fd/999", "/proc/self/fd/x", "/proc/0")],
        *[
            (o.open, path, os.O_RDONLY)
            for path in ("/proc/self/fd/00", "/proc/01", "/proc/self/none", "/proc/net/none", "/proc/sys/net/none")
        ],
        (o.open, "/proc/self", os.O_RDONLY | os.O_NOFOLLOW),
        *[(o.readlink, path) for path in ("/proc/net", "/proc/net/tcp", "/proc/self/fd/999", "/proc/self/status", "/proc/self/root")],
        (o.listdir, "/proc/net/tcp"),
        (o.listdir, "/proc/none"),
    ]
    out = [(func.__name__, [str(arg).replace(pid, "PID") for arg in args], attempt(func, *args)) for func, *args in calls]
    for path in ("/proc/self/limits", "/proc/self/status"):
        fd = o.open(path, os.O_WRONLY)
        out.append(("write", path, attempt(o.write, fd, b"x")))
    fd = o.open("/proc/net/tcp", os.O_RDONLY)
    out += [("ftruncate", "", attempt(o.ftruncate, fd, 0)), ("fsync", "", attempt(o.fsync, fd)), ("write", "", attempt(o.write, fd, b""))]
    fd = o.open("/proc/net", os.O_RDONLY)
    out += [("read", "", attempt(o.read, fd, 10)), ("pread", "", attempt(o.pread, fd, 10, 0))]
    o.close(o.open("/proc/sys/net/core/somaxconn", os.O_WRONLY | os.O_TRUNC))
    return [row if row[0] != "open" or not isinstance(row[2], int) else (*row[:2], "opened") for row in out]


def test_what_cannot_be_done_to_proc() -> None:
    assert_parity(refusals)


def refused_to_nobody(env: Any) -> Any:
    o = env.os
    own = o.open("/proc/self/ns/net", os.O_RDONLY)
    env.setuid(65534)
    out: list[Any] = []
    for name in ("fd", "fdinfo", "ns", "net", "task", "cwd"):
        found = attempt(o.listdir, f"/proc/1/{name}")
        out.append((name, found if isinstance(found, str) else "listed", attempt(o.readlink, f"/proc/1/{name}") == "EACCES"))
    for name in ("fd/0", "fdinfo/0", "ns/net", "status", "stat", "limits", "comm", "cmdline", "cgroup", "net/tcp", "cwd"):
        found = attempt(o.open, f"/proc/1/{name}", os.O_RDONLY)
        out.append((name, found if isinstance(found, str) else "opened"))
    for path in ("/proc/net/x", "/proc/sys/net/x", "/proc/x"):
        out.append((path, attempt(o.mkdir, path)))
    out += [attempt(o.unlink, "/proc/net/tcp"), attempt(o.open, "/proc/1/comm", os.O_WRONLY)]
    out += [attempt(o.open, "/proc/sys/net/core/somaxconn", os.O_WRONLY), attempt(o.open, "/proc/net/tcp", os.O_WRONLY)]
    return out, own


def test_what_nobody_may_see_of_another_process() -> None:
    assert_parity(refused_to_nobody)


def descriptors(env: Any) -> Any:
    o = env.os
    tcp = env.socket.socket()
    left, right = o.pipe()
    kept = o.open("/proc/net/tcp", os.O_RDONLY)
    folder = o.open("/proc/net", os.O_RDONLY)
    value = o.open("/proc/sys/net/core/somaxconn", os.O_RDWR)
    space = o.open("/proc/self/ns/net", os.O_RDONLY)
    fds = {"tcp": tcp.fileno(), "left": left, "right": right, "kept": kept, "folder": folder, "value": value, "space": space}
    pid = o.readlink("/proc/self")
    out: dict[str, Any] = {}
    for name, fd in fds.items():
        link = o.readlink(f"/proc/self/fd/{fd}")
        text = link.replace(pid, "PID").split(":[")[0]
        again = attempt(o.open, f"/proc/self/fd/{fd}", os.O_RDONLY)
        ino = o.fstat(fd).st_ino
        stat = o.lstat(f"/proc/self/fd/{fd}")
        out[name] = (text, again if isinstance(again, str) else "opened", stat.st_size, oct(stat.st_mode))
        out[name] += (o.stat(f"/proc/self/fd/{fd}").st_ino == ino, link.endswith(f":[{ino}]"))
        info = env.os.read(o.open(f"/proc/self/fdinfo/{fd}", os.O_RDONLY), 1000).decode()
        out[name] += (info.splitlines()[0], info.splitlines()[1], info.splitlines()[3] == f"ino:\t{ino}")
    again = o.open(f"/proc/self/fd/{right}", os.O_WRONLY)
    o.close(right)
    o.write(again, b"through the link")
    folder = o.open("/proc/self/fd", os.O_RDONLY)
    names = [name for _off, _kind, name in env.sys.getdents64(folder, 4096)[1]]
    out["pipe"] = (o.read(left, 100), o.stat("/proc/self/fd").st_size == len(names) - 2)
    out["list"] = [name for name in names if len(name) == 1]
    folder = o.open("/proc/self/fdinfo", os.O_RDONLY)
    out["infos"] = [name for _off, _kind, name in env.sys.getdents64(folder, 4096)[1] if len(name) == 1]
    out["ns"] = o.readlink("/proc/self/ns/net") == f"net:[{o.stat('/proc/self/ns/net').st_ino}]" == o.readlink(f"/proc/self/fd/{space}")
    return out


def test_links_and_texts_of_descriptors() -> None:
    assert_parity(descriptors)


def directories(env: Any) -> Any:
    o = env.os
    out: dict[str, Any] = {}
    for path in ("/proc/self/fd", "/proc/self/task", "/proc/net"):
        fd = o.open(path, os.O_RDONLY)
        first = env.sys.getdents64(fd, 64)
        out[path] = [(first[0], [(off, kind, name) for off, kind, name in first[1]]), o.lseek(fd, 0, 1)]
        out[path] += [attempt(o.lseek, fd, 0, 0), env.sys.getdents64(fd, 10)[0], attempt(o.lseek, fd, 0, 2), attempt(o.lseek, fd, -1, 0)]
        while env.sys.getdents64(fd, 4096)[0] > 0:
            pass
        out[path] += [env.sys.getdents64(fd, 4096), env.sys.getdents64(fd, 1)]
        o.close(fd)
    fd = o.open("/proc/self/fd", os.O_RDONLY)
    out["offsets"] = [(off, kind, name) for off, kind, name in env.sys.getdents64(fd, 4096)[1] if len(name) < 2][:-1]
    out["errors"] = [env.sys.getdents64(number, 100)[0] for number in (99, 0, o.open("/proc/self/comm", os.O_RDONLY))]
    for path in ("/proc", "/proc/sys", "/proc/sys/net", "/proc/net", "/proc/self", "/proc/self/fd", "/proc/self/fdinfo", "/proc/self/ns"):
        link, stat = o.lstat(path), o.stat(path)
        out[path + " stat"] = (oct(link.st_mode), link.st_size * (path != "/proc/self/fd"), oct(stat.st_mode), stat.st_uid)
    for path in ("/proc/net/tcp", "/proc/sys/net/core/somaxconn", "/proc/self/comm", "/proc/self/status", "/proc/self/cwd"):
        stat = o.lstat(path)
        out[path + " stat"] = (oct(stat.st_mode), stat.st_nlink, stat.st_size, stat.st_uid)
    return out


def test_directories_and_what_stat_says() -> None:
    assert_parity(directories)


def names_of_the_task(env: Any) -> Any:
    o = env.os
    fd = o.open("/proc/self/comm", os.O_RDWR)
    out: list[Any] = [o.write(fd, b"abcdefghijklmnopqrst\n"), o.lseek(fd, 0, 1), o.pread(fd, 100, 0), o.pread(fd, 3, 2)]
    out.append(attempt(o.write, o.open("/proc/1/comm", os.O_WRONLY), b"x"))
    status = o.read(o.open("/proc/self/status", os.O_RDONLY), 10000).decode()
    wanted = ("Name", "Umask", "TracerPid", "Uid", "Gid", "Groups", "Threads", "CapAmb", "CapInh", "Seccomp", "Kthread")
    lines = dict(line.split(":\t", 1) for line in status.splitlines())
    out += [(name, lines[name]) for name in wanted]
    out += [lines["Tgid"] == lines["Pid"] == o.readlink("/proc/self"), o.readlink("/proc/thread-self").replace(lines["Pid"], "PID")]
    stat = o.read(o.open("/proc/self/stat", os.O_RDONLY), 10000).decode()
    out += [stat.startswith(f"{lines['Pid']} (abcdefghijklmno) R {lines['PPid']} "), len(stat.split()), stat[-1]]
    limits = o.read(o.open("/proc/self/limits", os.O_RDONLY), 10000).decode().splitlines()
    out += [limits[0], limits[8].split()[:4], len(limits), [len(line) for line in limits]]
    out += [len(o.listdir("/proc/self/task"))]
    return out


def test_what_a_task_tells_of_itself() -> None:
    assert_parity(names_of_the_task)


def gone(env: Any) -> Any:
    """Files of a process that has ended meanwhile."""
    o = env.os
    left, right = o.pipe()
    child = env.fork(lambda: o.read(left, 1))
    pid = child.pid if env.kind == "host" else child.task.pid
    fds = [o.open(f"/proc/{pid}/{name}", os.O_RDONLY) for name in ("status", "fd", "net/sockstat", "comm", "limits")]
    o.write(right, b"x")
    child.join()
    out = [attempt(o.read, fd, 10) for fd in fds]
    return [*out, env.sys.getdents64(fds[1], 1000)[0], attempt(o.stat, f"/proc/{pid}")]


def test_files_of_a_process_that_is_gone() -> None:
    assert_parity(gone)


def wanderer(env: Any) -> Any:
    o = env.os
    o.chdir("/proc/self/net")
    pid = o.readlink("/proc/self")
    out = [o.readlink("/proc/self/cwd").replace(pid, "PID"), len(o.read(o.open("tcp", os.O_RDONLY), 10))]
    out += [o.read(o.open("../../sys/net/core/somaxconn", os.O_RDONLY), 10), o.read(o.open("../net/sockstat", os.O_RDONLY), 7)]
    o.chdir("../../../proc/sys/net/ipv4")
    out += [o.readlink("/proc/self/cwd"), o.read(o.open("tcp_fin_timeout", os.O_RDONLY), 10)]
    o.chdir("/tmp")
    return [*out, o.readlink("/proc/self/cwd")]


def test_walking_through_proc_by_relative_paths() -> None:
    assert_parity(wanderer)


def polled(env: Any) -> Any:
    o = env.os
    ep = env.select.epoll()
    out = []
    for path in ("/proc/net/tcp", "/proc/sys/net/core/somaxconn", "/proc/self/status", "/proc/net"):
        fd = o.open(path, os.O_RDONLY)
        out.append((path, attempt(ep.register, fd, 1)))
    return out


def test_which_files_of_proc_epoll_takes() -> None:
    assert_parity(polled)
