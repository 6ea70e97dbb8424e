"""Ten thousand connections held at once in one simulation."""

import pytest

from tests.unit.tcpworld import World
from twinsock.uapi.resource import RLIMIT_NOFILE
from twinsock.uapi.tcp import TCP_ESTABLISHED

CONNECTIONS = 10_000


@pytest.mark.slow
def test_ten_thousand_connections_stand_at_once_and_the_last_still_talks() -> None:
    w = World()
    w.task.rlim_cur[RLIMIT_NOFILE] = 1 << 16
    listener = w.socket()
    assert w.bind(listener, 80) == 0
    assert w.listen(listener, 128) == 0
    ends = []
    for _ in range(CONNECTIONS):
        client = w.socket()
        w.connect(client, 80)
        ends.append((client, w.accept(listener)))
    assert all(w.sk(fd).sk_state == TCP_ESTABLISHED for pair in ends for fd in pair)
    for client, server in (ends[0], ends[-1]):
        assert w.send(client, b"here") == 4
        assert w.recv(server, 10) == b"here"
