"""uvicorn with starlette, and httpx: asynchronous and blocking clients, a streamed body, a background task."""

import asyncio
import threading
import time

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

PORT = 8003
_done: list[str] = []


async def _item(request: Request) -> JSONResponse:
    name = request.path_params["name"]
    return JSONResponse({"item": name, "done": len(_done)}, background=BackgroundTask(_done.append, name))


async def _stream(request: Request) -> StreamingResponse:
    async def pieces():  # type: ignore[no-untyped-def]
        for number in range(5):
            await asyncio.sleep(1)
            yield f"piece {number}\n"

    return StreamingResponse(pieces())


def _blocking(request: Request) -> JSONResponse:
    time.sleep(2)  # in a thread of anyio's
    return JSONResponse({"thread": True})


def serve() -> None:
    """Serve for ever."""
    app = Starlette(routes=[Route("/item/{name}", _item), Route("/stream", _stream), Route("/blocking", _blocking)])
    uvicorn.Server(uvicorn.Config(app, host="0.0.0.0", port=PORT, log_level="error", loop="asyncio", http="h11")).run()


async def _many(base: str) -> list[str]:
    async with httpx.AsyncClient(timeout=60) as http:
        answers = await asyncio.gather(*(http.get(f"{base}/item/{number}") for number in range(10)))
        out = [answer.json()["item"] for answer in answers]
        blocking = await asyncio.gather(*(http.get(f"{base}/blocking") for _ in range(3)))
        out.append(str([answer.json() for answer in blocking]))
        async with http.stream("GET", f"{base}/stream") as answer:
            out += [line async for line in answer.aiter_lines()]
    return out


def client(host: str) -> str:
    """Ask with both kinds of client."""
    base = f"http://{host}:{PORT}"
    out = asyncio.run(_many(base))
    with httpx.Client(timeout=60, trust_env=False) as http:
        out += [http.get(f"{base}/item/last").json()["item"], str(http.get(f"{base}/nothing").status_code)]
    return "; ".join(out)


if __name__ == "__main__":
    threading.Thread(target=serve, daemon=True).start()
    time.sleep(1)
    print(client("localhost"))
