"""asyncio streams: twenty clients talk to one server, then the loop sleeps an hour; prints in order of completion."""

import asyncio
import time


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer lines in capitals."""
    while line := await reader.readline():
        writer.write(line.upper())
        await writer.drain()
    writer.close()


async def ask(address: tuple[str, int], number: int) -> str:
    """Send a line and return the answer."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(f"line {number}\n".encode())
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return answer.decode().strip()


async def main() -> None:
    """Run everything."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    for job in asyncio.as_completed([ask(address, number) for number in range(20)]):
        print(await job)
    server.close()
    await server.wait_closed()
    start = time.monotonic()
    await asyncio.sleep(3600)
    print("slept", time.monotonic() - start)
    print("thread", await asyncio.to_thread(lambda: "done"))


asyncio.run(main())
