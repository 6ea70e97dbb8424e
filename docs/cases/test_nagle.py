"""Forty milliseconds for each answer of http.server: see nagle.md."""

import http.client
import http.server
import threading

import pytest

import twinsock
from twinsock import sim

REQUESTS = 50


class Broken(http.server.BaseHTTPRequestHandler):
    """Headers and body leave in two small writes: Nagle holds the second until the first is acknowledged, and the client delays that."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args: object) -> None:
        pass


class Fixed(Broken):
    """One write for all: what is written is kept until the answer is complete."""

    wbufsize = -1


def serve(handler) -> None:
    server = http.server.ThreadingHTTPServer(("", 80), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Event().wait(3000)


def ask() -> None:
    conn = http.client.HTTPConnection("server")
    for number in range(REQUESTS):
        conn.request("GET", f"/{number}")
        assert conn.getresponse().read() == b"ok"
    conn.close()


@twinsock.test(seeds=1)
@pytest.mark.parametrize("handler", [Broken, Fixed], ids=["broken", "fixed"])
def test_fifty_requests_take_less_than_half_a_second(handler) -> None:
    sim.host("server", serve, handler)
    client = sim.host("client")
    sim.sleep(1)
    begun = sim.now()
    client.call(ask)
    took = sim.now() - begun
    assert took < 0.5, f"{REQUESTS} requests took {took:.2f} s, {took / REQUESTS * 1000:.0f} ms each"
