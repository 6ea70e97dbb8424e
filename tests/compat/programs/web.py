"""http.server under ThreadingHTTPServer, asked by urllib from a thread pool; a queue that times out; what tells the time and the host."""

import concurrent.futures
import datetime
import http.server
import queue
import random
import socket
import threading
import time
import urllib.request
import uuid


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with the path."""

    def answer(self) -> None:
        """Answer."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"path " + self.path.encode())

    do_GET = answer

    def log_message(self, format: str, *args: object) -> None:
        """Print the line."""
        print("log", self.log_date_time_string(), *args)


def get(number: int) -> str:
    """Ask for one page."""
    with urllib.request.urlopen(f"http://localhost:8080/{number}") as answer:
        text: str = answer.read().decode()
    return text


server = http.server.ThreadingHTTPServer(("localhost", 8080), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    print(list(pool.map(get, range(5))))
server.shutdown()
server.server_close()
start = time.monotonic()
try:
    queue.Queue[int]().get(timeout=5)
except queue.Empty:
    print("empty after", time.monotonic() - start)
print(datetime.date.today(), datetime.datetime.now().year, socket.gethostname(), random.random(), uuid.uuid4())
