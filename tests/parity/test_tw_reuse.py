"""tcp_tw_reuse: when connect(2) takes an automatic port whose only connection is in TIME_WAIT, on the live kernel and on the twin."""

import errno
import socket
import time
from pathlib import Path

import pytest

from tests.bind_oracle import ADDRESSES, Config, LiveHost, TwinHost
from tests.netns import run_in_netns

pytestmark = [pytest.mark.root, pytest.mark.slow]

DELAY_MS = 1000  # long enough for a busy machine to connect before
ADDRESS = ADDRESSES[1]
PLAIN = Config(ADDRESS, 0, 0, "")
PORTS = (40000, 40001)


def live_answers(reuse: int) -> list[int]:
    """Leave both ports of the range in TIME_WAIT and connect at once, then after the delay."""
    host = LiveHost()
    host.configure(*PORTS, [], 0)
    Path("/proc/sys/net/ipv4/tcp_tw_reuse").write_text(str(reuse))
    Path("/proc/sys/net/ipv4/tcp_tw_reuse_delay").write_text(str(DELAY_MS))
    for _ in PORTS:
        sock = socket.socket()
        err, other = host.connect(sock, "127.0.0.1")
        assert err == 0
        host.time_wait(sock, other)
    young = host.connect(socket.socket(), "127.0.0.1")[0]
    time.sleep(DELAY_MS / 1000 + 0.02)
    return [young, host.connect(socket.socket(), "127.0.0.1")[0]]


def twin_answers(reuse: int) -> list[int]:
    """Do the same on the twin."""
    host = TwinHost()
    host.configure(*PORTS, [], 0)
    host.net.ipv4.sysctl_tcp_tw_reuse = reuse
    host.net.ipv4.sysctl_tcp_tw_reuse_delay = DELAY_MS
    for _ in PORTS:
        sock = host.create(PLAIN)
        assert host.connect(sock, "127.0.0.1")[0] == 0
        host.time_wait(sock, None)
    young = host.connect(host.create(PLAIN), "127.0.0.1")[0]
    host.kernel.clock.advance_to(host.kernel.clock.now_ns + (DELAY_MS + 20) * 1_000_000)
    return [young, host.connect(host.create(PLAIN), "127.0.0.1")[0]]


@pytest.mark.parametrize("reuse", [0, 1, 2])
def test_a_time_wait_gives_way_after_the_delay_unless_the_sysctl_forbids(reuse: int) -> None:
    answers = run_in_netns(live_answers, reuse)
    assert answers == [errno.EADDRNOTAVAIL, 0 if reuse else errno.EADDRNOTAVAIL]
    assert twin_answers(reuse) == answers
