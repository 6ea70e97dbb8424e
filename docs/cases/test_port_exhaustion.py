"""A client that opens a connection for each request: see port-exhaustion.md."""

import http.client
import http.server
import threading

import pytest

import twinsock
from twinsock import sim

REQUESTS = 250
PORTS = "32768 32967"  # two hundred, so that the test is short; Linux gives 28,232 if nobody changes it


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args: object) -> None:
        pass


def serve() -> None:
    server = http.server.ThreadingHTTPServer(("", 80), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Event().wait(3000)


def broken() -> None:
    """Each request on a connection of its own; each closed by us stays in TIME_WAIT, with its port, for a minute."""
    for number in range(REQUESTS):
        conn = http.client.HTTPConnection("server")
        conn.request("GET", f"/{number}")
        assert conn.getresponse().read() == b"ok"
        conn.close()


def fixed() -> None:
    """All on one connection."""
    conn = http.client.HTTPConnection("server")
    for number in range(REQUESTS):
        conn.request("GET", f"/{number}")
        assert conn.getresponse().read() == b"ok"
    conn.close()


@twinsock.test(seeds=1)
@pytest.mark.parametrize("client", [broken, fixed], ids=["broken", "fixed"])
def test_all_requests_are_answered(client) -> None:
    sim.host("server", serve)
    host = sim.host("client", sysctl={"net.ipv4.ip_local_port_range": PORTS})
    sim.sleep(1)
    host.call(client)
