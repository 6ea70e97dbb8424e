"""Queueing disciplines: loss, rates, limits, order."""

from tests.unit.ipworld import host
from twinsock.kernel.kernel import Kernel
from twinsock.kernel.net.core.dev import NET_XMIT_DROP, NetDevice, Qdisc
from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.kernel.net.sched.sch_fifo import BfifoQdisc, PfifoQdisc
from twinsock.kernel.net.sched.sch_netem import DIST_NORMAL, DIST_PARETO, LOSS_GILBERT_ELLIOTT, NetemQdisc, percent
from twinsock.kernel.net.sched.sch_tbf import TbfQdisc


class Sink(NetDevice):
    """Remembers when each packet left, and its first two bytes."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel.init_net, "sink", 9, 1500, 1)
        self.sent: list[tuple[int, int]] = []

    def xmit(self, skb: SkBuff) -> int:
        self.sent.append((self.net.kernel.clock.now_ns, int.from_bytes(skb.payload()[:2], "big")))
        return 0


def packet(dev: NetDevice, number: int, size: int = 986) -> SkBuff:
    skb = SkBuff(number.to_bytes(2, "big") + bytes(size - 2))
    skb.dev = dev
    return skb


def run(qdisc: Qdisc, count: int, size: int = 986) -> list[tuple[int, int]]:
    dev = qdisc.dev
    assert isinstance(dev, Sink)
    for i in range(count):
        qdisc.enqueue(packet(dev, i, size))
        qdisc.run()
    clock = dev.net.kernel.clock
    while clock.run_next():
        pass
    return dev.sent


def test_loss_takes_its_share() -> None:
    netem = NetemQdisc(Sink(host()))
    netem.loss = percent(10)
    sent = run(netem, 5000)
    assert 4350 <= len(sent) <= 4650 and netem.drops == 5000 - len(sent)


def test_gilbert_elliott_loses_in_bursts() -> None:
    netem = NetemQdisc(Sink(host()))
    netem.loss_model = LOSS_GILBERT_ELLIOTT
    netem.ge_p, netem.ge_r = percent(1), percent(20)
    numbers = {number for _, number in run(netem, 10000)}
    lost = [i for i in range(10000) if i not in numbers]
    bursts = sum(1 for i in lost if i - 1 in numbers or i == 0)
    assert 250 <= len(lost) <= 750 and 3 <= len(lost) / bursts <= 8


def test_rate_spaces_packets_by_their_length() -> None:
    netem = NetemQdisc(Sink(host()))
    netem.rate = 1_000_000
    assert [t for t, _ in run(netem, 4)] == [1_000_000, 2_000_000, 3_000_000, 4_000_000]


def test_limit_drops_the_newest() -> None:
    netem = NetemQdisc(Sink(host()), limit=3)
    netem.latency_ns = 1_000_000
    assert [n for _, n in run(netem, 5)] == [0, 1, 2]
    assert netem.drops == 2 and netem.backlog == 0


def test_reordering_lets_some_packets_go_ahead() -> None:
    netem = NetemQdisc(Sink(host()))
    netem.latency_ns = 10_000_000
    netem.reorder, netem.gap = percent(100), 5
    sent = run(netem, 10)
    assert [n for _, n in sent] == [4, 9, 0, 1, 2, 3, 5, 6, 7, 8]


def test_duplicates_follow_their_originals() -> None:
    netem = NetemQdisc(Sink(host()))
    netem.duplicate = percent(100)
    assert [n for _, n in run(netem, 3)] == [0, 0, 1, 1, 2, 2]


def test_distributions_have_the_asked_mean_and_deviation() -> None:
    for kind in (DIST_NORMAL, DIST_PARETO):
        netem = NetemQdisc(Sink(host()))
        netem.distribution = kind
        values = [netem._sample(netem.prng.u32()) / 8192 for _ in range(20000)]
        mean = sum(values) / len(values)
        assert abs(mean) < 0.08
        assert all(-4 <= value <= 4 for value in values)
        assert 0.6 < (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5 < 1.05


def test_corruption_changes_one_bit() -> None:
    kernel = host()
    netem = NetemQdisc(Sink(kernel))
    netem.corrupt = percent(100)
    skb = packet(netem.dev, 0, 100)
    netem.enqueue(skb)
    assert sum(byte.bit_count() for byte in skb.data) == 1


def test_tbf_lets_a_burst_through_and_then_keeps_the_rate() -> None:
    tbf = TbfQdisc(Sink(host()), rate=1_000_000, burst=2000, limit=100_000)
    assert [t for t, _ in run(tbf, 5)] == [0, 0, 1_000_000, 2_000_000, 3_000_000]
    assert tbf.enqueue(packet(tbf.dev, 0, 3000)) == NET_XMIT_DROP


def test_a_full_fifo_drops_what_comes() -> None:
    pfifo = PfifoQdisc(Sink(host()), 2)
    assert [pfifo.enqueue(packet(pfifo.dev, i)) for i in range(3)] == [0, 0, NET_XMIT_DROP]
    bfifo = BfifoQdisc(Sink(host()), 2500)
    assert [bfifo.enqueue(packet(bfifo.dev, i)) for i in range(3)] == [0, 0, NET_XMIT_DROP]
    assert bfifo.backlog == 2000
