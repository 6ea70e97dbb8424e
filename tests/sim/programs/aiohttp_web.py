"""aiohttp, client and server: keep-alive requests, a body in chunks, a WebSocket, a timeout."""

import asyncio
import threading
import time

from aiohttp import ClientSession, ClientTimeout, WSMsgType, web

PORT = 8002


async def _hello(request: web.Request) -> web.Response:
    return web.json_response({"path": request.path, "body": (await request.read()).decode()})


async def _slow(request: web.Request) -> web.Response:
    await asyncio.sleep(300)
    return web.Response(text="late")


async def _chunks(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for number in range(10):
        await response.write(b"%d" % number * 1000)
        await asyncio.sleep(0.1)
    await response.write_eof()
    return response


async def _socket(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        if message.type == WSMsgType.TEXT:
            await ws.send_str(message.data.upper())
    return ws


async def _serve() -> None:
    app = web.Application()
    app.add_routes([web.post("/hello/{n}", _hello), web.get("/slow", _slow), web.get("/chunks", _chunks), web.get("/ws", _socket)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", PORT).start()
    await asyncio.Event().wait()


def serve() -> None:
    """Serve for ever."""
    asyncio.run(_serve())


async def _one(session: ClientSession, base: str, number: int) -> str:
    async with session.post(f"{base}/hello/{number}", data=f"body {number}") as answer:
        return str((await answer.json())["body"])


async def _client(host: str) -> list[str]:
    base = f"http://{host}:{PORT}"
    async with ClientSession() as session:
        out = await asyncio.gather(*(_one(session, base, number) for number in range(15)))
        async with session.get(f"{base}/chunks") as answer:
            out.append(f"{len(await answer.read())} bytes")
        async with session.ws_connect(f"{base}/ws") as ws:
            await ws.send_str("hello")
            out.append(str((await ws.receive()).data))
        try:
            async with session.get(f"{base}/slow", timeout=ClientTimeout(total=120)) as answer:
                out.append(await answer.text())
        except TimeoutError:
            out.append("timeout")
    return out


def client(host: str) -> str:
    """Use everything the server has."""
    return "; ".join(asyncio.run(_client(host)))


if __name__ == "__main__":
    threading.Thread(target=serve, daemon=True).start()
    time.sleep(1)
    print(client("localhost"))
