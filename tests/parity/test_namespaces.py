"""Network namespaces: making, entering and leaving them, their files, what lives and dies with them, devices that move."""

import struct
import subprocess
from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt
from tests.parity.test_dev_ioctls import ifreq, ioctl, make_veth, sockaddr
from twinsock.kernel.fs.nsfs import NetNsFile
from twinsock.kernel.net.core.dev import dev_get_by_name
from twinsock.kernel.net.core.dev_change import dev_change_net_namespace

pytestmark = [pytest.mark.root]

NEWNET, NEWUSER, NEWUTS = 0x40000000, 0x10000000, 0x04000000
SIOCGSKNS = 0x894C


def cookie(env: Any, sock: Any) -> int:
    return int(struct.unpack("Q", sock.getsockopt(1, 71, 8))[0])


def move(env: Any, name: str, fd: int) -> Any:
    """Move a device into the namespace of a descriptor: 0 or the errno's name."""
    if env.kind == "twin":
        file = env.task.files.fd[fd]
        dev = dev_get_by_name(env.task.net, name)
        assert isinstance(file, NetNsFile) and dev is not None
        return dev_change_net_namespace(dev, file.net)
    done = subprocess.run(["ip", "link", "set", name, "netns", f"/proc/{env.os.getpid()}/fd/{fd}"], capture_output=True, text=True)
    errors = {"is immutable": -22, "with the same name exists": -17}
    return 0 if done.returncode == 0 else next((value for text, value in errors.items() if text in done.stderr), done.stderr)


def files_of_namespaces(env: Any) -> Any:
    first = env.sys.open_netns()
    here, unix = env.socket.socket(2, 2), env.socket.socket(1, 1)
    out: list[Any] = [env.sys.unshare(NEWNET)]
    there = env.socket.socket(2, 2)
    out += [cookie(env, here) == cookie(env, unix), cookie(env, here) == cookie(env, there)]
    stat = env.os.fstat(first)
    out += [stat.st_mode, stat.st_size, stat.st_nlink, env.fdlink(first) == f"net:[{stat.st_ino}]"]
    for sock in (here, there, unix):
        fd = env.fcntl.ioctl(sock, SIOCGSKNS)
        same = env.os.fstat(fd).st_ino == stat.st_ino
        numbers = [attempt(env.fcntl.ioctl, fd, number) for number in (0xB702, 0xB703, 0xB704)]
        out.append((same, env.fcntl.fcntl(fd, 1), env.fcntl.fcntl(fd, 3), numbers, env.fcntl.ioctl(fd, 0xB701) > 0))
    out += [attempt(env.os.read, first, 1), attempt(env.os.write, first, b"x"), attempt(env.os.lseek, first, 0, 0)]
    out += [attempt(env.os.pread, first, 1, 0), attempt(env.select.epoll().register, first, 1)]
    poller = env.select.poll()
    poller.register(first, 5)
    out.append(poller.poll(0))
    return out


def entering(env: Any, uid: int) -> Any:
    first = env.sys.open_netns()
    out: list[Any] = [env.sys.unshare(NEWNET), env.sys.unshare(0)]
    sock = env.socket.socket()
    pipe, _ = env.os.pipe()
    if uid:
        env.setuid(uid)
    for fd, kind in (
        (first, NEWNET),
        (first, 0),
        (first, NEWUSER),
        (first, NEWUTS),
        (first, 1),
        (sock.fileno(), NEWNET),
        (999, 0),
        (pipe, 0),
    ):
        out.append((kind, env.sys.setns(fd, kind)))
    out += [env.sys.unshare(NEWNET), attempt(env.fcntl.ioctl, sock, SIOCGSKNS) in ("EPERM",)]
    return out


def what_stays_behind(env: Any) -> Any:
    """Sockets keep the namespace they were made in; ports and sysctls are another's."""
    lo_up = struct.pack("h", 0x41)
    home = env.sys.open_netns()
    old = env.socket.socket()
    old.bind(("127.0.0.1", 5000))
    old.listen()
    env.sysctl("core/somaxconn", "99")
    out: list[Any] = [env.sys.unshare(NEWNET), env.sysctl("core/somaxconn"), env.proc("sockstat").splitlines()[0]]
    new = env.socket.socket()
    out += [attempt(new.connect, ("127.0.0.1", 5000)), attempt(new.bind, ("127.0.0.1", 5000))]
    for kind in (1, 2):
        with env.socket.socket(2, kind) as anybody:
            out.append(attempt(anybody.bind, ("9.9.9.9", 5001)))
    out += [ioctl(env, new, "SIOCGIFFLAGS", ifreq(b"lo")), ioctl(env, new, "SIOCSIFFLAGS", ifreq(b"lo", lo_up))]
    other = env.socket.socket()
    out += [attempt(other.bind, ("127.0.0.1", 5000)), attempt(other.listen), env.proc("sockstat").splitlines()[:2][0]]
    out += [env.sys.setns(home, 0), env.sysctl("core/somaxconn"), env.proc("sockstat").splitlines()[0]]
    client = env.socket.create_connection(("127.0.0.1", 5000))
    child, _ = old.accept()
    client.send(b"old")
    out.append(child.recv(10))
    return out


def moving_devices(env: Any) -> Any:
    make_veth(env)
    up = struct.pack("h", 1)
    sock = env.socket.socket(2, 2)
    ioctl(env, sock, "SIOCSIFADDR", ifreq(b"v0", sockaddr("10.0.0.1")))
    ioctl(env, sock, "SIOCSIFFLAGS", ifreq(b"v0", up))
    home = env.sys.open_netns()
    env.sys.unshare(NEWNET)
    away = env.sys.open_netns()
    there = env.socket.socket(2, 2)
    env.sys.setns(home, 0)
    out: list[Any] = [move(env, "lo", away), move(env, "v0", away), move(env, "v1", home)]

    def look(probe: Any) -> list[Any]:
        asked = ("SIOCGIFINDEX", "SIOCGIFFLAGS", "SIOCGIFADDR", "SIOCGIFHWADDR")
        return [ioctl(env, probe, name, ifreq(device)) for device in (b"v0", b"v1") for name in asked]

    out += [look(sock), look(there)]
    out.append(ioctl(env, sock, "SIOCSIFNAME", ifreq(b"v1", b"v0")))
    out.append(move(env, "v0", away))
    for probe, device, host in ((sock, b"v0", "10.0.0.1"), (there, b"v0", "10.0.0.2")):
        out.append(ioctl(env, probe, "SIOCSIFADDR", ifreq(device, sockaddr(host))))
        out.append(ioctl(env, probe, "SIOCSIFFLAGS", ifreq(device, up))[:16])
    there.bind(("10.0.0.2", 9000))
    sock.sendto(b"across", ("10.0.0.2", 9000))
    out.append(there.recvfrom(10)[0])
    return out


def last_reference(env: Any) -> Any:
    """A namespace ends with its last socket or descriptor, and a cable into it with it."""
    home = env.sys.open_netns()
    probe = env.socket.socket(2, 2)
    make_veth(env)
    env.sys.unshare(NEWNET)
    away = env.sys.open_netns()
    holder = env.socket.socket(2, 2)
    env.sys.setns(home, 0)
    out: list[Any] = [move(env, "v1", away)]

    def has_cable() -> bool:
        for _ in range(20 if env.kind == "host" else 1):  # Linux takes namespaces down some time later
            env.yield_now()
            if ioctl(env, probe, "SIOCGIFINDEX", ifreq(b"v0")) == "ENODEV":
                return False
        return True

    env.os.close(away)
    out.append(ioctl(env, probe, "SIOCGIFINDEX", ifreq(b"v0")) != "ENODEV")
    holder.close()
    out.append(has_cable())
    return out


PROGRAMS = (files_of_namespaces, what_stays_behind, moving_devices, last_reference)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_twin_and_host_agree_on_namespaces(program: Any) -> None:
    assert_parity(program)


@pytest.mark.parametrize("uid", [0, 1000])
def test_entering_and_making_namespaces_checks_alike(uid: int) -> None:
    assert_parity(entering, uid)
