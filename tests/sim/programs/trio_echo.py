"""trio: an echo server, clients in a nursery, a timeout, a worker thread."""

import threading
import time

import trio

PORT = 8006


async def _echo(stream: trio.SocketStream) -> None:
    async for data in stream:
        if data.startswith(b"silence"):
            await trio.sleep(1000)
        await stream.send_all(data.upper())


def serve() -> None:
    """Serve for ever."""
    trio.run(trio.serve_tcp, _echo, PORT)


async def _ask(host: str, text: bytes, size: int, out: list[str]) -> None:
    stream = await trio.open_tcp_stream(host, PORT)
    async with stream:
        await stream.send_all(text * size)
        got = b""
        while len(got) < len(text) * size:
            got += await stream.receive_some(65536)
        out.append(f"{got[:20].decode()} {len(got)}")


async def _client(host: str) -> list[str]:
    out: list[str] = []
    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(_ask, host, b"word %d " % number, 200, out)
    with trio.move_on_after(30) as scope:
        await _ask(host, b"silence", 1, out)
    out.append("cancelled" if scope.cancelled_caught else "answered")
    out.append(str(await trio.to_thread.run_sync(lambda: (time.sleep(5), "from a thread")[1])))
    return sorted(out)


def client(host: str) -> str:
    """Ask in a nursery."""
    return "; ".join(trio.run(_client, host))


if __name__ == "__main__":
    threading.Thread(target=serve, daemon=True).start()
    time.sleep(1)
    print(client("localhost"))
