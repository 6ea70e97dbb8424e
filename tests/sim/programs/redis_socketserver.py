"""redis-py against a small Redis in Python's socketserver: GET, SET, INCR, expiry, pipelines."""

import socketserver
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import redis

PORT = 8005
_store: dict[bytes, tuple[bytes, float]] = {}
_lock = threading.Lock()


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        """Answer commands until the client goes."""
        while line := self.rfile.readline():
            words = [self._word() for _ in range(int(line[1:]))]
            with _lock:
                self.wfile.write(_reply(words[0].upper(), words[1:]))

    def _word(self) -> bytes:
        size = int(self.rfile.readline()[1:])
        return self.rfile.read(size + 2)[:-2]


def _reply(name: bytes, args: list[bytes]) -> bytes:
    """Carry out one command."""
    if name == b"SET":
        _store[args[0]] = (args[1], time.time() + float(args[3]) if len(args) > 3 else 0.0)
        return b"+OK\r\n"
    if name == b"GET":
        value, until = _store.get(args[0], (b"", -1.0))
        if until and until < time.time():
            return b"$-1\r\n"
        return b"$%d\r\n%s\r\n" % (len(value), value)
    if name == b"INCRBY":
        value, _ = _store.get(args[0], (b"0", 0.0))
        _store[args[0]] = (b"%d" % (int(value) + int(args[1])), 0.0)
        return b":%d\r\n" % (int(value) + int(args[1]))
    if name == b"PING":
        return b"+PONG\r\n"
    return b"-ERR unknown command\r\n" if name not in (b"CLIENT", b"SELECT") else b"+OK\r\n"


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


def serve() -> None:
    """Serve for ever."""
    _Server(("0.0.0.0", PORT), _Handler).serve_forever()


def client(host: str) -> str:
    """Store, count in threads, let a key expire."""
    pool = redis.ConnectionPool(host=host, port=PORT, protocol=2, socket_timeout=60)
    db = redis.Redis(connection_pool=pool)
    out: list[object] = [db.ping(), db.set("key", "value"), db.get("key"), db.set("short", "x", ex=5), db.get("short")]
    time.sleep(6)
    out.append(db.get("short"))
    with db.pipeline(transaction=False) as pipe:
        for _ in range(10):
            pipe.incr("pipe")
        out.append(pipe.execute())
    with ThreadPoolExecutor(5) as threads:
        list(threads.map(lambda _: redis.Redis(connection_pool=pool).incr("counter"), range(50)))
    out.append(db.get("counter"))
    pool.disconnect()
    return "; ".join(str(item) for item in out)


if __name__ == "__main__":
    threading.Thread(target=serve, daemon=True).start()
    time.sleep(1)
    print(client("localhost"))
