"""Two hosts on a link that loses, delays, reorders and duplicates: every byte arrives once, both ends finish.

A failure names its seed: `pytest tests/sim/test_tcp_lossy_link.py -k 'seed-7'`."""

import pytest

from tests.unit.tcpworld import World
from twinsock.kernel.drivers.tap import TunDevice, TunWire
from twinsock.kernel.kernel import Prng
from twinsock.kernel.net.core.dev import dev_open, register_netdevice
from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.kernel.net.ipv4.devinet import InIfaddr, inet_insert_ifa
from twinsock.kernel.time.timer import Clock, Timer
from twinsock.uapi.if_ import ETH_P_IP

NET = 0x0A000000


class Arrival(Timer):
    def __init__(self, dev: TunDevice, packet: bytes, gso: int) -> None:
        super().__init__()
        self.dev, self.packet, self.gso = dev, packet, gso

    def fire(self) -> None:
        self.dev.deliver(self.packet, self.gso, 0)


class Link(TunWire):
    """One direction of a bad link; the percentages come from the seed."""

    def __init__(self, clock: Clock, prng: Prng) -> None:
        self.clock, self.prng = clock, prng
        self.far: TunDevice | None = None
        self.loss, self.dup, self.jitter_us = prng.below(12), prng.below(5), prng.below(8000)
        self.delay_us = 200 + prng.below(30_000)

    def transmit(self, dev: TunDevice, skb: SkBuff) -> None:
        assert self.far is not None and skb.protocol == ETH_P_IP
        if self.prng.below(100) < self.loss:
            return
        for _ in range(2 if self.prng.below(100) < self.dup else 1):
            when = self.clock.now_ns + (self.delay_us + (self.prng.below(self.jitter_us) if self.jitter_us else 0)) * 1000
            self.clock.hrtimer_start(Arrival(self.far, skb.l3_bytes(), skb.gso_size), when)


def hosts(seed: int) -> tuple[World, World]:
    clock, prng = Clock(), Prng(seed)
    worlds = [World(seed * 2 + i, clock) for i in range(2)]
    links = [Link(clock, prng) for _ in range(2)]
    devs: list[TunDevice] = []
    for i in range(2):
        dev = TunDevice(worlds[i].net, "tun0", links[i])
        register_netdevice(dev)
        assert inet_insert_ifa(dev, InIfaddr(NET | (i + 1), 24)) == 0
        assert dev_open(dev) == 0
        devs.append(dev)
        worlds[i].net.ipv4.tcp_congestion_control = ("reno", "cubic")[prng.below(2)]
        worlds[i].net.ipv4.sysctl_tcp_sack = int(prng.below(4) > 0)
        worlds[i].net.ipv4.sysctl_tcp_timestamps = int(prng.below(4) > 0)
        worlds[i].net.ipv4.sysctl_tcp_ecn = prng.below(2)
    links[0].far, links[1].far = devs[1], devs[0]
    return worlds[0], worlds[1]


@pytest.mark.parametrize("seed", range(24), ids=lambda n: f"seed-{n}")
def test_every_byte_arrives_once(seed: int) -> None:
    a, b = hosts(seed)
    prng = Prng(seed + 1000)
    lfd = b.socket()
    assert b.bind(lfd, 5001, NET | 2) == 0
    assert b.listen(lfd) == 0
    cfd = a.socket()
    assert a.connect(cfd, 5001, NET | 2) == -115
    data = bytes(prng.below(256) for _ in range(1000)) * (20 + prng.below(80))
    got = bytearray()
    sent, sfd, closed = 0, -1, False
    for _ in range(40_000):
        a.run(5)
        if sfd < 0:
            sfd = b.accept(lfd)
            continue
        while sent < len(data):
            n = a.send(cfd, data[sent : sent + 1 + prng.below(20_000)])
            if n <= 0:
                break
            sent += n
        if sent == len(data) and not closed:
            assert a.shutdown(cfd, 1) == 0
            closed = True
        piece = b.recv(sfd, 1 + prng.below(50_000))
        if isinstance(piece, bytes):
            if not piece:
                break
            got += piece
    assert bytes(got) == data
    sk = a.sk(cfd)
    assert b.close(sfd) == 0
    a.run(120_000)
    assert (sk.packets_out, sk.retrans_out, sk.lost_out, sk.sacked_out) == (0, 0, 0, 0)
    assert sk.sk_wmem_queued == 0
    assert a.close(cfd) == 0
    a.run(300_000)
    assert a.net.sockets_used == 0
    assert b.net.sockets_used == 1
    assert a.net.ipv4.tw_count == b.net.ipv4.tw_count == 0
