"""TLS 1.3: a blocking server in threads and an asyncio server, each asked by a blocking and by an asyncio client."""

import asyncio
import socket
import ssl
import threading
import time
from pathlib import Path

PORT = 8010
_FOLDER = Path(__file__).resolve().parent


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_FOLDER / "server.cert.pem", _FOLDER / "server.key.pem")
    return context


def _answer(conn: socket.socket, context: ssl.SSLContext) -> None:
    try:
        with context.wrap_socket(conn, server_side=True) as tls:
            while data := tls.recv(4096):
                tls.sendall(data.upper())
            tls.unwrap()
    except OSError:
        pass  # the client went without a goodbye


def _serve_blocking() -> None:
    context = _server_context()
    listener = socket.create_server(("0.0.0.0", PORT), backlog=64)
    while True:
        threading.Thread(target=_answer, args=(listener.accept()[0], context), daemon=True).start()


async def _answer_async(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data.upper())
        await writer.drain()
    writer.close()


async def _serve_async() -> None:
    server = await asyncio.start_server(_answer_async, "0.0.0.0", PORT + 1, ssl=_server_context())
    await server.serve_forever()


def serve() -> None:
    """Serve for ever, both ways."""
    threading.Thread(target=_serve_blocking, daemon=True).start()
    asyncio.run(_serve_async())


def _blocking(host: str, port: int, context: ssl.SSLContext) -> str:
    with context.wrap_socket(socket.create_connection((host, port), timeout=90), server_hostname="server") as tls:
        tls.sendall(b"hello" * 2000)
        got = b""
        while len(got) < 10_000:
            got += tls.recv(65536)
        return f"{tls.version()} {got[:5].decode()} {len(got)}"


async def _async(host: str, port: int, context: ssl.SSLContext) -> str:
    reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname="server", ssl_handshake_timeout=90)
    writer.write(b"streams" * 1000)
    got = await reader.readexactly(7000)
    writer.close()
    return f"{got[:7].decode()} {len(got)}"


def client(host: str) -> str:
    """Ask both servers both ways."""
    context = ssl.create_default_context(cafile=str(_FOLDER / "server.cert.pem"))
    out = [_blocking(host, PORT + number, context) for number in range(2)]
    out += [asyncio.run(_async(host, PORT + number, context)) for number in range(2)]
    return "; ".join(out)


if __name__ == "__main__":
    threading.Thread(target=serve, daemon=True).start()
    time.sleep(1)
    print(client("localhost"))
