"""The client of `bench serve`: a server slower than the time given for measuring it still has a rate."""

from __future__ import annotations

import asyncio

from benchmarks.online.load import closed_loop

CLIENTS = 3


async def _measured(answer_seconds: float, status: str) -> dict[str, float]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(answer_seconds)
                writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        plan = {"host": "127.0.0.1", "port": port, "clients": CLIENTS, "seconds": 0.05, "warm_seconds": 0.01}
        return await closed_loop(plan, [b"POST / HTTP/1.1\r\n\r\n"])


def test_a_slow_server_is_waited_for() -> None:
    found = asyncio.run(_measured(0.3, "200 OK"))
    assert found["answers"] == CLIENTS
    assert found["failed"] == 0
    assert 0 < found["rate"] <= CLIENTS / 0.28  # over the time it took, not over the 0.05 s that were given


def test_one_that_refuses_is_not_waited_for() -> None:
    found = asyncio.run(_measured(0.1, "500 Internal Server Error"))
    assert found["answers"] == 0
    assert found["failed"] == CLIENTS
