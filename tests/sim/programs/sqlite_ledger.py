"""sqlite beside the network: a server books what clients send into a database file, whose locks and files are real ones."""

import json
import os
import socketserver
import sqlite3
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from socket import create_connection

PORT = 8008


def _handler(path: str) -> type[socketserver.StreamRequestHandler]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            """Book one amount per line and answer with the balance."""
            with sqlite3.connect(path, timeout=30) as db:
                for line in self.rfile:
                    entry = json.loads(line)
                    db.execute("insert into ledger values (?, ?)", (entry["who"], entry["amount"]))
                    db.commit()
                    balance = db.execute("select sum(amount) from ledger where who = ?", (entry["who"],)).fetchone()[0]
                    self.wfile.write(b"%d\n" % balance)

    return Handler


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64


def serve() -> None:
    """Serve for ever."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "ledger.db")
        with sqlite3.connect(path) as db:
            db.execute("create table ledger (who text, amount int)")
        _Server(("0.0.0.0", PORT), _handler(path)).serve_forever()


def _book(host: str, who: str) -> str:
    with create_connection((host, PORT), timeout=120) as conn, conn.makefile("rw") as lines:
        for amount in range(1, 11):
            lines.write(json.dumps({"who": who, "amount": amount}) + "\n")
            lines.flush()
            balance = lines.readline()
            time.sleep(0.5)
        return f"{who} {balance.strip()}"


def client(host: str) -> str:
    """Book for five people at once."""
    with ThreadPoolExecutor(5) as pool:
        return "; ".join(sorted(pool.map(lambda who: _book(host, who), ["ada", "bob", "eve", "joe", "zoe"])))


if __name__ == "__main__":
    threading.Thread(target=serve, daemon=True).start()
    time.sleep(1)
    print(client("localhost"))
