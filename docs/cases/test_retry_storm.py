"""Clients that try again at once, after a partition: see retry-storm.md."""

import contextlib
import random
import socket
import time

import pytest

import twinsock
from twinsock import sim

CLIENTS, WORK_S, TIMEOUT_S = 30, 0.1, 1.0


def serve() -> None:
    """Work on one request after the other, a tenth of a second each."""
    listener = socket.create_server(("", 7000), backlog=512)
    while True:
        conn, _ = listener.accept()
        with conn:
            if conn.recv(100):
                time.sleep(WORK_S)
                with contextlib.suppress(OSError):  # the client may have given up: then the work was for nothing
                    conn.sendall(b"done")


def ask() -> bool:
    try:
        with socket.create_connection(("server", 7000), timeout=TIMEOUT_S) as conn:
            conn.sendall(b"please")
            return conn.recv(100) == b"done"
    except OSError:
        return False


def broken() -> float:
    """Try again at once: a request a second from each of thirty clients, and the server can do ten."""
    while True:
        if ask():
            return time.monotonic()


def fixed() -> float:
    """Wait longer after each failure, and each client differently."""
    pause = 0.5
    while True:
        if ask():
            return time.monotonic()
        time.sleep(random.uniform(0, pause))
        pause = min(pause * 2, 20)


@twinsock.test(seeds=3)
@pytest.mark.parametrize("client", [broken, fixed], ids=["broken", "fixed"])
def test_every_client_is_served_within_forty_seconds_after_a_partition(client) -> None:
    server = sim.host("server", serve)
    clients = sim.host("clients")
    with sim.partition(server):
        jobs = [clients.run(client) for _ in range(CLIENTS)]
        sim.sleep(20)
    healed = sim.now()
    sim.sleep(40)
    served = [job for job in jobs if job.done()]
    assert len(served) == CLIENTS, f"{CLIENTS - len(served)} of {CLIENTS} clients still wait, forty seconds after the partition"
    print(f"the last client was served {max(job.result() for job in jobs) - healed:.1f} s after the partition")
