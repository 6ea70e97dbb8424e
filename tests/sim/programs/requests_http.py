"""requests against http.server with a thread for each connection: keep-alive, a pool of threads, a retry after a timeout."""

import http.server
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import requests

PORT = 8004


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do(self) -> None:
        """Answer with the path, after a pause where it says so."""
        length = int(self.headers.get("Content-Length") or 0)
        body = f"{self.command} {self.path} {self.rfile.read(length).decode()}".strip().encode()
        if self.path == "/slow":
            time.sleep(100)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def serve() -> None:
    """Serve for ever."""
    http.server.ThreadingHTTPServer.request_queue_size = 64
    http.server.ThreadingHTTPServer(("0.0.0.0", PORT), _Handler).serve_forever()


def client(host: str) -> str:
    """Fetch pages one after another, then in a pool of threads."""
    base = f"http://{host}:{PORT}"
    out = []
    with requests.Session() as session:
        out += [session.get(f"{base}/{number}", timeout=60).text for number in range(5)]
        out.append(session.post(f"{base}/post", data="payload", timeout=60).text)
        try:
            session.get(f"{base}/slow", timeout=20)
        except requests.Timeout as error:
            out.append(type(error).__name__)
    with ThreadPoolExecutor(4) as pool:
        out += sorted(pool.map(lambda number: requests.get(f"{base}/pool/{number}", timeout=60).text, range(12)))
    return "; ".join(out)


if __name__ == "__main__":
    threading.Thread(target=serve, daemon=True).start()
    time.sleep(1)
    print(client("localhost"))
