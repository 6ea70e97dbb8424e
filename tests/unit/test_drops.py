"""The twin says why it dropped a packet: in packetdrill's reports and in the lines of `twinsock run --drops`."""

from tests.unit.tcpworld import World
from twinsock.runtime.drops import DropLog
from twinsock.runtime.packetdrill.session import Prepared, prepare
from twinsock.runtime.packetdrill.twin import TwinMachine

SCRIPT = """
   0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
  +0 bind(3, ..., ...) = 0
  +0 listen(3, 1) = 0
  +0 < S 0:0(0) win 65000 <mss 1000>
  +0 > S. 0:0(0) ack 1 <mss 1460>
+.01 < . 1:1(0) ack 1 win 65000
  +0 accept(3, ..., ...) = 4
  +0 < . 1:1(0) ack 900 win 65000
  +0 > . 1:1(0) ack 7
"""


def test_a_connection_refused_has_a_reason() -> None:
    world = World()
    world.kernel.trace = log = DropLog()
    assert world.connect(world.socket(nonblock=False), 99) == -111
    world.run(1)
    assert [line.rpartition(": ")[2] for line in log.lines] == ["NO_SOCKET"]
    assert " > 127.0.0.1:99 tcp S " in log.lines[0]


def test_a_syn_that_a_full_listener_ignores_is_named_with_its_counter() -> None:
    world = World()
    seen: list[str] = []
    world.kernel.trace = DropLog(seen.append)
    lfd = world.socket()
    assert world.bind(lfd, 80) == 0
    assert world.listen(lfd, 0) == 0
    for _ in range(3):
        world.connect(world.socket(), 80)
    world.run(1)
    assert seen
    assert all(line.endswith(": no reason on Linux, counted in ListenOverflows") for line in seen)


def test_a_failing_script_shows_what_was_dropped(tmp_path: object) -> None:
    path = f"{tmp_path}/x.pkt"
    with open(path, "w") as file:
        file.write(SCRIPT)
    prepared = prepare(path, "ipv4", [])
    assert isinstance(prepared, Prepared)
    verdict = prepared.play(TwinMachine(prepared.config))
    assert verdict.outcome == "fail"
    assert [line.rpartition(": ")[2] for line in verdict.dropped] == ["TCP_ACK_UNSENT_DATA"]


def test_the_log_keeps_the_newest_lines() -> None:
    world = World()
    world.kernel.trace = log = DropLog(keep=3)
    for port in range(1, 8):
        world.connect(world.socket(), port)
    world.run(1)
    assert len(log.lines) == 3
    assert ":7 " in log.lines[-1]
