"""Events per second of a simulation: 20 TCP downloads over a link of 100 Mbit/s, 10 ms and 0.5 % loss, beside simpy's and ns-3's events.

    python bench/bench_events.py [--json] [--record]

An event of the twin is a timer that fires or a segment that arrives. simpy: processes that only wait. ns-3: the same downloads, where
its Python package can be imported."""

import contextlib
import importlib.util
import json
import sys

from twin_kit import builds, cpu_seconds, finish, row, worker

TARGET = {"pure": 250_000, "compiled": 600_000}
SECONDS = {"pure": 1, "compiled": 4}
FLOWS = 20


def downloads(seconds: int) -> int:
    """Run the downloads for so many virtual seconds: how many events that were."""
    from twinsock.kernel.boot import start_kernel
    from twinsock.kernel.net.core.dev import dev_set_qdisc
    from twinsock.kernel.net.sched.sch_netem import NetemQdisc, percent
    from twinsock.runtime.facade import TwinSocket
    from twinsock.runtime.lab import connect_namespaces, new_namespace
    from twinsock.uapi.snmp import TCP_MIB_INSEGS

    kernel = start_kernel(1)
    hosts = [new_namespace(kernel), new_namespace(kernel)]
    connect_namespaces(hosts[0], "10.0.0.1/24", hosts[1], "10.0.0.2/24")
    for host in hosts:
        dev = next(dev for dev in host.task.net.dev_base if dev.name == "eth0")
        netem = NetemQdisc(dev)
        netem.latency_ns, netem.rate, netem.loss = 5_000_000, 12_500_000, percent(0.5)
        dev_set_qdisc(dev, netem)
    clock = kernel.clock
    server = hosts[1].socket.create_server(("10.0.0.2", 80), backlog=FLOWS)
    clients = [hosts[0].socket.socket() for _ in range(FLOWS)]
    for sock in [server, *clients]:
        sock.setblocking(False)
    for sock in clients:
        sock.connect_ex(("10.0.0.2", 80))
    peers: list[TwinSocket] = []
    while len(peers) < FLOWS:
        clock.run_next()
        with contextlib.suppress(BlockingIOError):
            peers.append(server.accept()[0])
            peers[-1].setblocking(False)
    data = bytes(200_000)
    events = 0
    end = clock.now_ns + seconds * 1_000_000_000
    while clock.now_ns < end:
        for source, sink in zip(peers, clients, strict=True):
            for call in (lambda source=source: source.send(data), lambda sink=sink: sink.recv(1 << 20)):
                with contextlib.suppress(BlockingIOError):
                    call()
        limit = clock.now_ns + 5_000_000
        while clock.run_next(limit):
            events += 1
        clock.advance_to(limit)
    return events + sum(host.task.net.tcp_statistics[TCP_MIB_INSEGS] for host in hosts)


def simpy_events(count: int) -> int:
    """Let 100 processes wait: how many events that were."""
    import simpy

    env = simpy.Environment()

    def waits():
        for _ in range(count // 100):
            yield env.timeout(1)

    for _ in range(100):
        env.process(waits())
    env.run()
    return count


def main() -> None:
    """Measure and print."""
    if "--worker" in sys.argv:
        seconds = int(sys.argv[-1])
        counted: list[int] = []
        took = cpu_seconds(lambda: counted.append(downloads(seconds)))
        print(json.dumps({"per_second": counted[0] / took, "events": counted[0]}))
        return
    peer, name = 0.0, "no peer is installed"
    if importlib.util.find_spec("simpy"):
        peer, name = 200_000 / cpu_seconds(lambda: simpy_events(200_000)), "simpy, processes that wait"
    rows = []
    for build in builds():
        figure = worker(__file__, build, str(SECONDS[build]))["per_second"]
        rows.append(row("TCP events", build, figure, peer, name, "/s", TARGET[build]))
    finish(rows)


if __name__ == "__main__":
    main()
