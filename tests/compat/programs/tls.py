"""TLS 1.3 three ways: blocking sockets in threads, asyncio streams, HTTPS by http.server and urllib. A wrong name is refused."""

import asyncio
import http.server
import socket
import ssl
import threading
import urllib.request
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "sim" / "programs"
BIG = bytes(range(256)) * 1000


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the server's and the client's context."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(FOLDER / "server.cert.pem", FOLDER / "server.key.pem")
    return server, ssl.create_default_context(cafile=str(FOLDER / "server.cert.pem"))


def serve(listener: socket.socket, context: ssl.SSLContext) -> None:
    """Send back what comes, for one connection."""
    conn, _ = listener.accept()
    try:
        with context.wrap_socket(conn, server_side=True) as tls:
            while data := tls.recv(65536):
                tls.sendall(data)
            tls.unwrap()
    except ssl.SSLError as error:
        print("server:", error.reason)


def blocking(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """Echo a large block, time out, and say goodbye."""
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve, args=(listener, server))
    thread.start()
    with client.wrap_socket(socket.create_connection(listener.getsockname()), server_hostname="localhost") as tls:
        sender = threading.Thread(target=tls.sendall, args=(BIG,))
        sender.start()
        got = b""
        while len(got) < len(BIG):
            got += tls.recv(100_000)
        sender.join()
        tls.settimeout(2)
        try:
            tls.recv(1)
        except TimeoutError as error:
            print(tls.version(), got == BIG, error)
        tls.unwrap()
    thread.join()
    refused(listener, server, client)


def refused(listener: socket.socket, server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """Ask for a name which the certificate does not have."""
    thread = threading.Thread(target=serve, args=(listener, server))
    thread.start()
    try:
        client.wrap_socket(socket.create_connection(listener.getsockname()), server_hostname="other.example")
    except ssl.SSLCertVerificationError as error:
        print("client:", error.verify_message)
    thread.join()


async def streams(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """Echo over asyncio's TLS."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 4433, ssl=server)
    reader, writer = await asyncio.open_connection("localhost", 4433, ssl=client)
    writer.write(b"hello\n")
    print(writer.get_extra_info("ssl_object").version(), await reader.readline())
    writer.close()
    await writer.wait_closed()
    listening.close()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with the path."""

    def do_get(self) -> None:
        """Answer."""
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_get

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def https(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """Fetch a page."""
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.socket = server.wrap_socket(httpd.socket, server_side=True)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    with urllib.request.urlopen(f"https://localhost:{httpd.server_port}/page", context=client) as answer:
        print(answer.status, answer.read())
    httpd.shutdown()
    thread.join()
    httpd.server_close()


if __name__ == "__main__":
    pair = contexts()
    blocking(*pair)
    asyncio.run(streams(*pair))
    https(*pair)
