"""Pools of threads, queues, conditions and timers around blocking sockets with timeouts."""

import concurrent.futures
import queue
import socket
import threading
import time

PORT = 8009


def serve() -> None:
    """Serve for ever with four workers behind a queue; every seventh request is forgotten."""
    work: queue.Queue[socket.socket] = queue.Queue()

    def worker() -> None:
        while True:
            conn = work.get()
            with conn:
                number = int(conn.recv(100))
                if number % 7:
                    time.sleep(number / 100)
                    conn.sendall(b"%d" % (number * number))
                else:
                    conn.recv(1)

    for _ in range(4):
        threading.Thread(target=worker, daemon=True).start()
    listener = socket.create_server(("0.0.0.0", PORT), backlog=64)
    while True:
        work.put(listener.accept()[0])


def _square(host: str, number: int) -> str:
    with socket.create_connection((host, PORT), timeout=90) as conn:
        conn.settimeout(20)
        conn.sendall(b"%d" % number)
        try:
            return f"{number}: {int(conn.recv(100))}"
        except TimeoutError:
            return f"{number}: timeout"


def client(host: str) -> str:
    """Ask from eight threads; let a timer and a condition pass too."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(_square, host, number) for number in range(1, 25)]
        order = [future.result() for future in concurrent.futures.as_completed(futures)]
    rang = threading.Event()
    threading.Timer(10, rang.set).start()
    begin = time.monotonic()
    order.append(f"{rang.wait(60)} after {time.monotonic() - begin:.3f}")
    condition = threading.Condition()
    with condition:
        order.append(str(condition.wait(3)))
    return "; ".join(order)


if __name__ == "__main__":
    threading.Thread(target=serve, daemon=True).start()
    time.sleep(1)
    print(client("localhost"))
