"""A server that handles each client before it accepts the next one: see accept-queue.md."""

import socket
import threading
import time

import pytest

import twinsock
from twinsock import sim

CLIENTS = 12


def handle(conn: socket.socket) -> None:
    with conn:
        conn.recv(100)
        time.sleep(0.05)
        conn.sendall(b"done")


def broken() -> None:
    """One after the other, with room for five that wait."""
    listener = socket.create_server(("", 8000), backlog=5)
    while True:
        handle(listener.accept()[0])


def fixed() -> None:
    """A thread for each, and room for more."""
    listener = socket.create_server(("", 8000), backlog=128)
    while True:
        threading.Thread(target=handle, args=(listener.accept()[0],), daemon=True).start()


def ask() -> float:
    begun = time.monotonic()
    with socket.create_connection(("server", 8000)) as conn:
        conn.sendall(b"hello")
        assert conn.recv(100) == b"done"
    return time.monotonic() - begun


@twinsock.test(seeds=10)
@pytest.mark.parametrize("server", [broken, fixed], ids=["broken", "fixed"])
def test_nobody_waits_for_a_second(server) -> None:
    """Twelve clients, a few milliseconds apart; handling all of them takes 0.6 s, one after the other."""
    sim.conditions(latency=("1ms", "3ms"))
    host, clients = sim.host("server", server), sim.host("clients")
    sim.sleep(1)
    jobs = []
    for _ in range(CLIENTS):
        jobs.append(clients.run(ask))
        sim.sleep(sim.current().random.uniform(0, 0.02))
    waited = max(job.result(timeout=120) for job in jobs)
    full = host.counters().get("TcpExtListenOverflows", 0)
    assert waited < 1, f"a client waited {waited:.1f} s; the server's accept queue was full {full} times"
