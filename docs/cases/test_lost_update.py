"""A counter in a key-value store, incremented by two clients: see lost-update.md."""

import socket
import threading

import pytest

import twinsock
from twinsock import sim

CLIENTS, TIMES = 2, 5
store: dict[str, int] = {}
lock = threading.Lock()


def serve() -> None:
    """Understand GET, SET and ADD, a line each."""
    listener = socket.create_server(("", 6000))
    while True:
        conn, _ = listener.accept()
        threading.Thread(target=answer, args=(conn,), daemon=True).start()


def answer(conn: socket.socket) -> None:
    with conn, conn.makefile("rw") as lines:
        for line in lines:
            verb, key, *value = line.split()
            with lock:
                if verb == "SET":
                    store[key] = int(value[0])
                elif verb == "ADD":
                    store[key] = store.get(key, 0) + int(value[0])
                print(store.get(key, 0), file=lines, flush=True)


def broken(lines) -> None:
    """Read, add one, write back."""
    print("GET hits", file=lines, flush=True)
    seen = int(lines.readline())
    print(f"SET hits {seen + 1}", file=lines, flush=True)
    lines.readline()


def fixed(lines) -> None:
    """Let the server add, which it does under its lock."""
    print("ADD hits 1", file=lines, flush=True)
    lines.readline()


def client(increment) -> None:
    with socket.create_connection(("store", 6000)) as conn, conn.makefile("rw") as lines:
        for _ in range(TIMES):
            increment(lines)


@twinsock.test(seeds=20)
@pytest.mark.parametrize("increment", [broken, fixed], ids=["broken", "fixed"])
def test_no_update_is_lost(increment) -> None:
    sim.conditions(latency=("1ms", "20ms"))
    sim.host("store", serve)
    sim.sleep(1)
    jobs = []
    for number in range(CLIENTS):
        jobs.append(sim.host(f"client{number}").run(client, increment))
        sim.sleep(sim.current().random.random() / 4)
    for job in jobs:
        job.result(timeout=60)
    assert store["hits"] == CLIENTS * TIMES
