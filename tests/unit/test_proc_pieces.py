"""/proc read in pieces while its tables change, and what a task's directory leaves out."""

import os
from typing import Any

import pytest

from tests.unit.test_twin_port import run
from twinsock.runtime.port import TwinPort


def test_the_pieces_of_a_table_are_those_of_the_moment_when_its_reading_began() -> None:
    def program(env: Any, port: TwinPort) -> None:
        listeners = []
        for number in range(40):
            listeners.append(env.socket.socket())
            listeners[-1].bind(("127.0.0.1", 5000 + number))
            listeners[-1].listen(1)
        fd = env.os.open("/proc/net/tcp", os.O_RDONLY)
        first = env.os.read(fd, 1 << 20)
        for listener in listeners:
            listener.close()
        rest = env.os.read(fd, 1 << 20)
        assert (first + rest).count(b"\n") == 41 and env.os.read(fd, 100) == b""
        env.os.lseek(fd, 0, 0)
        assert env.os.read(fd, 1 << 20).count(b"\n") == 1

    run(program)


def test_there_is_no_mptcp_and_nothing_counts_it() -> None:
    def program(env: Any, port: TwinPort) -> None:
        with pytest.raises(OSError, match="Protocol not supported"):
            env.socket.socket(2, 1, 262)
        assert b"MPTcpExt" not in port.read("/proc/net/netstat")

    run(program)


def test_a_task_shows_what_sockets_are_about_and_no_more() -> None:
    def program(env: Any, port: TwinPort) -> None:
        names = env.os.listdir("/proc/self")
        assert names == ["task", "fd", "fdinfo", "ns", "net", "status", "limits", "comm", "cmdline", "stat", "cwd", "root", "cgroup"]
        assert env.os.listdir("/proc/self/ns") == ["net", "user"]
        assert env.os.read(env.os.open("/proc/self/cmdline", os.O_RDONLY), 100) == b"program\0"
        assert set(env.os.listdir("/proc")) >= {"net", "sys", "stat", "uptime", "loadavg", "version", "self", "thread-self", "1"}

    run(program)
