"""The client of `bench serve`, a process of its own: many connections that send prepared requests and time the answers.

Raw sockets under asyncio: what the client costs is taken from the same cores as the server, so it is kept small.
Called as `python -m benchmarks.online.load PLAN`, a JSON file; prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

_PATIENCE = 60.0  # seconds


class Connection:
    """One connection to a server; reconnects where the server has closed it."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, request: bytes) -> int:
        """Send one request, read its answer wholly, return the status."""
        if self._writer is None or self._writer.is_closing():
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port, limit=2**22)
        assert self._reader is not None
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        await self._reader.readexactly(length)
        if b"connection: close" in head:
            self._writer.close()
        return int(head.split(b" ", 2)[1])

    def close(self) -> None:
        """Close it."""
        if self._writer is not None:
            self._writer.close()


async def closed_loop(plan: dict[str, Any], requests: list[bytes]) -> dict[str, Any]:
    """Let `clients` ask one request after the other for `seconds`, after a warm-up.

    A server so slow that it has not answered as often as there are clients is given up to `_PATIENCE` seconds more.
    """
    times: list[tuple[float, float]] = []
    failed = 0
    begin = time.perf_counter() + plan["warm_seconds"]
    end = begin + plan["seconds"]

    def too_few() -> bool:
        return not failed and len(times) < plan["clients"] and time.perf_counter() < end + _PATIENCE

    async def client(number: int) -> None:
        nonlocal failed
        connection = Connection(plan["host"], plan["port"])
        turn = number
        while (began := time.perf_counter()) < end or too_few():
            status = await connection.ask(requests[turn % len(requests)])
            turn += 1
            done = time.perf_counter()
            if status != 200:
                failed += 1
            elif begin <= done and (done < end or too_few()):
                times.append((began, done))
        connection.close()

    await asyncio.gather(*(client(number) for number in range(plan["clients"])))
    return _figures(times, max([end, *(done for _, done in times)]) - begin, failed)


async def open_loop(plan: dict[str, Any], requests: list[bytes]) -> dict[str, Any]:
    """Send requests at random times, `rate` a second on average, whether or not earlier ones were answered.

    A latency counts from the time a request was due, so that a slow server cannot slow its own measurement down.
    """
    rng = np.random.default_rng(plan["seed"])
    total = int(plan["rate"] * (plan["warm_seconds"] + plan["seconds"]))
    due = np.cumsum(rng.exponential(1 / plan["rate"], total))
    idle: list[Connection] = []
    times: list[tuple[float, float]] = []
    failed = 0
    start = time.perf_counter()

    async def one(number: int) -> None:
        nonlocal failed
        connection = idle.pop() if idle else Connection(plan["host"], plan["port"])
        status = await connection.ask(requests[number % len(requests)])
        done = time.perf_counter()
        idle.append(connection)
        if status != 200:
            failed += 1
        elif due[number] >= plan["warm_seconds"]:
            times.append((start + due[number], done))

    tasks = []
    for number in range(total):
        wait = start + due[number] - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(one(number)))
    await asyncio.gather(*tasks)
    for connection in idle:
        connection.close()
    return _figures(times, float(due[-1]) - plan["warm_seconds"], failed)


def _figures(times: list[tuple[float, float]], seconds: float, failed: int) -> dict[str, Any]:
    latencies = np.array([done - began for began, done in times]) if times else np.array([float("nan")])
    names = {"p50": 50, "p90": 90, "p99": 99}
    return {
        "answers": len(times),
        "failed": failed,
        "rate": len(times) / seconds,
        "ms": {name: float(np.percentile(latencies, share)) * 1e3 for name, share in names.items()},
    }


def main(path: Path) -> None:
    """Run a plan and print its figures."""
    plan = json.loads(path.read_text())
    requests = []
    for name in plan["bodies"]:
        body = Path(name).read_bytes()
        headers = {"Host": "localhost", "Content-Length": str(len(body)), **plan["headers"]}
        lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
        requests.append(f"POST {plan['path']} HTTP/1.1\r\n{lines}\r\n".encode() + body)
    run = open_loop if plan.get("rate") else closed_loop
    try:
        import uvloop

        figures = uvloop.run(run(plan, requests))
    except ImportError:
        figures = asyncio.run(run(plan, requests))
    print(json.dumps(figures))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
