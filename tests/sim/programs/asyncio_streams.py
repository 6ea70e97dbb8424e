"""asyncio streams, stock: a server that answers in capitals, twenty clients with a timeout each."""

import asyncio
import threading
import time

PORT = 8001


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while line := await reader.readline():
            await asyncio.sleep(0.01)
            writer.write(line.upper())
            await writer.drain()
    finally:
        writer.close()


async def _serve() -> None:
    server = await asyncio.start_server(_answer, "0.0.0.0", PORT)
    async with server:
        await server.serve_forever()


def serve() -> None:
    """Serve for ever."""
    asyncio.run(_serve())


async def _ask(host: str, number: int) -> str:
    reader, writer = await asyncio.open_connection(host, PORT)
    got = []
    for word in ("one", "two", "three"):
        writer.write(f"{word} {number}\n".encode())
        got.append((await asyncio.wait_for(reader.readline(), 60)).decode().strip())
    writer.close()
    await writer.wait_closed()
    return " ".join(got)


async def _clients(host: str) -> list[str]:
    done, _ = await asyncio.wait([asyncio.create_task(_ask(host, number)) for number in range(20)])
    return sorted(task.result() for task in done)


def client(host: str) -> str:
    """Ask twenty times at once."""
    return "; ".join(asyncio.run(_clients(host)))


if __name__ == "__main__":
    threading.Thread(target=serve, daemon=True).start()
    time.sleep(1)
    print(client("localhost"))
