"""timerfd and pidfd on both kernels, through libc on the host."""

import ctypes
import struct
from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt
from twinsock.kernel.fs.timerfd import sys_timerfd_create, sys_timerfd_gettime, sys_timerfd_settime

pytestmark = [pytest.mark.root]

MS = 1_000_000


class Timers:
    """The three calls on either kernel, times in ns."""

    def __init__(self, env: Any) -> None:
        self.env = env
        self.libc = ctypes.CDLL(None, use_errno=True)

    def _host(self, name: str, *args: Any) -> int:
        ret = getattr(self.libc, name)(*args)
        return -ctypes.get_errno() if ret < 0 else ret

    def create(self, clock: int, flags: int) -> int:
        if self.env.kind == "host":
            return self._host("timerfd_create", clock, flags)
        return sys_timerfd_create(self.env.task, clock, flags)

    def settime(self, fd: int, flags: int, value: int, interval: int) -> int:
        if self.env.kind == "host":
            spec = struct.pack("=qqqq", *divmod(interval, 10**9), *divmod(value, 10**9))
            return self._host("timerfd_settime", fd, flags, spec, None)
        return sys_timerfd_settime(self.env.task, fd, flags, value, interval)[0]

    def gettime(self, fd: int) -> Any:
        if self.env.kind == "host":
            buffer = ctypes.create_string_buffer(32)
            ret = self._host("timerfd_gettime", fd, buffer)
            every, every_ns, left, left_ns = struct.unpack("=qqqq", buffer.raw)
            return ret, (left * 10**9 + left_ns) > 0, every * 10**9 + every_ns
        ret, left_ns, every_ns = sys_timerfd_gettime(self.env.task, fd)
        return ret, left_ns > 0, every_ns


def timerfd_life(env: Any) -> Any:
    t = Timers(env)
    os = env.os
    out: list[Any] = [min(t.create(clock, 0), 0) for clock in (-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)]
    out += [min(t.create(1, flags), 0) for flags in (1, 0x800, 0x80000, 0x80800, 2)]
    fd = t.create(1, 0x800)
    out += [attempt(os.read, fd, 8), attempt(os.read, fd, 7), attempt(os.write, fd, b"12345678"), t.gettime(fd)]
    out += [t.settime(fd, 0, 3600 * 10**9, 5 * MS), t.gettime(fd), attempt(os.read, fd, 8), t.settime(fd, 8, 1, 0), t.settime(fd, 2, 0, 0)]
    out += [t.settime(99, 0, 1, 0), t.settime(0, 0, 1, 0), t.settime(99, 8, 1, 0), t.gettime(99)[0], t.gettime(0)[0]]
    poll = env.select.poll()
    poll.register(fd, 0x3FFF)
    out.append(poll.poll(0))
    out += [t.settime(fd, 0, 5 * MS, 0), len(poll.poll(1000)), attempt(os.read, fd, 8), poll.poll(0), t.gettime(fd)]
    out += [t.settime(fd, 1, 1, 0), len(poll.poll(1000)), attempt(os.read, fd, 100), env.fdlink(fd)]
    env.setuid(65534)
    out += [min(t.create(clock, 0), 0) for clock in (8, 9)]
    return out


def a_timer_wakes_its_reader(env: Any) -> Any:
    t = Timers(env)
    fd = t.create(1, 0)
    t.settime(fd, 0, 10 * MS, 0)
    start = env.time.monotonic()
    return [env.os.read(fd, 8), env.time.monotonic() - start > 0.008]


@pytest.mark.parametrize("program", [timerfd_life, a_timer_wakes_its_reader], ids=lambda program: program.__name__)
def test_twin_and_host_agree_on_timers(program: Any) -> None:
    assert_parity(program)
