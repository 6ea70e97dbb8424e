"""websockets: a chat with broadcasts, asyncio's server and clients beside a client in threads; keep-alive pings pass."""

import asyncio
import threading
import time

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, broadcast
from websockets.asyncio.server import serve as serve_chat
from websockets.sync.client import connect as connect_blocking

PORT = 8007
_members: dict[int, ServerConnection] = {}


async def _member(ws: ServerConnection) -> None:
    number = len(_members)
    _members[number] = ws
    try:
        async for message in ws:
            broadcast(list(_members.values()), f"{number} says {message!s}")
    finally:
        del _members[number]


async def _serve() -> None:
    async with serve_chat(_member, "0.0.0.0", PORT) as server:
        await server.serve_forever()


def serve() -> None:
    """Serve for ever."""
    asyncio.run(_serve())


async def _talk(uri: str) -> list[str]:
    async with connect(uri) as first, connect(uri) as second:
        await first.send("hello")
        out = [str(await first.recv()), str(await second.recv())]
        await asyncio.sleep(120)  # pings keep the connections alive
        await second.send("still here")
        return [*out, str(await first.recv())]


def client(host: str) -> str:
    """Talk with both kinds of client."""
    uri = f"ws://{host}:{PORT}"
    out = asyncio.run(_talk(uri))
    with connect_blocking(uri) as ws:
        ws.send("from a thread")
        out.append(str(ws.recv()).partition(" ")[2])
    return "; ".join(out)


if __name__ == "__main__":
    threading.Thread(target=serve, daemon=True).start()
    time.sleep(1)
    print(client("localhost"))
