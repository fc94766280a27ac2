"""Connections that say nothing, trickle, or take nothing: closed in time, bounded in number, and no neighbour waits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from online_case import Running, SlowModel, encoded, environment, png, serve_dense, serve_tiny, until

from drillcore.settings import Settings
from drillcore_serving.online.door.connections import Connections, Phase, address_group
from drillcore_serving.online.json_lines import LOGGER, Seldom

Start = Callable[..., Running]
GET = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEAD = b"POST /predict/tiny HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"


@contextlib.contextmanager
def lines(server: Running, count: int = 1) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60)) for _ in range(count)
        ]


def said(line: socket.socket, drip: bytes = b"") -> bytes:
    """Send `drip` again and again until the server closes; return all that it said."""
    end, found = time.monotonic() + 60, b""
    line.settimeout(0.02)
    while time.monotonic() < end:
        try:
            if drip:
                line.send(drip)
            more = line.recv(65_536)
            if not more:
                return found
            found += more
        except TimeoutError:
            continue
        except (ConnectionResetError, BrokenPipeError):
            return found
    raise AssertionError("the connection is still open")


def counted(server: Running, name: str) -> float:
    for text in server.client.get("/metrics").text.splitlines():
        if text.startswith(f"{name} "):
            return float(text.rpartition(" ")[2])
    return 0.0


def refusal_in(answer: bytes) -> tuple[int, dict[str, str]]:
    """Status and JSON of an answer, whose headers are those of every refusal."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *rest = head.decode().lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in rest)
    assert headers["content-type"] == "application/json"
    assert headers["connection"] == "close"
    assert headers["x-content-type-options"] == "nosniff"
    assert int(headers["content-length"]) == len(body)
    found = json.loads(body)
    assert found["request_id"] == headers["x-request-id"]
    return int(first.split()[1]), found


@pytest.mark.parametrize(
    ("start_of_line", "drip", "why", "status"),
    [
        (b"", b"", "head", 0),
        (b"", b"\r\n", "head", 0),
        (b"G", b"", "head", 408),
        (b"GET /", b"x", "head", 408),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ", b"y", "head", 408),
        (GET, b"", "idle", 200),
        (GET, b"\r\n", "idle", 200),
        (GET + b"GET /v2", b"", "head", 200),
        (GET + GET[:-2] + b"X-A: ", b"y", "head", 200),
        # What comes of a body that nobody reads any more keeps nothing open.
        (b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n\r\n", b"z", "idle", 404),
    ],
)
def test_what_does_not_go_on_is_closed(
    settings: Settings, start: Start, start_of_line: bytes, drip: bytes, why: str, status: int
) -> None:
    serve_tiny(settings)
    server = start(head_seconds=0.3, idle_seconds=0.3)
    with lines(server) as (line,):
        line.sendall(start_of_line)
        answer = said(line, drip)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()) if status else answer == b""
    if status == 408:
        assert "head" in refusal_in(answer)[1]["error"]
    until(lambda: counted(server, f'drillcore_connections_closed_total{{why="{why}"}}') >= 1)
    assert server.predict(png()).status_code == 200


def test_a_body_that_trickles_is_408_while_others_go_on(settings: Settings, start: Start) -> None:
    serve_tiny(settings)
    server = start(read_seconds=0.3)
    with lines(server) as (line,):
        line.sendall(HEAD + b"Content-Length: 5000\r\n\r\nabc")
        assert said(line, b"z").startswith(b"HTTP/1.1 408")


def test_a_half_closed_connection_does_not_stay(settings: Settings, start: Start) -> None:
    serve_tiny(settings)
    server = start()
    with lines(server, 3) as (silent, begun, reading):
        begun.sendall(b"GET /")
        reading.sendall(HEAD + b"Content-Length: 5000\r\n\r\nabc")
        for line in (silent, begun, reading):
            line.shutdown(socket.SHUT_WR)
            assert said(line) == b""
    until(lambda: counted(server, "drillcore_connections") == 1)


def test_a_large_answer_that_nobody_takes_is_given_up_and_its_memory_counted(settings: Settings, start: Start) -> None:
    serve_dense(settings, task="dense_regression")
    server = start("dense", send_seconds=1.0)
    pixels = encoded(np.zeros((2000, 2000), np.uint8))
    memory = server.server.service.memory
    with lines(server, 2) as attackers:
        for line in attackers:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            head = b"POST /predict/dense HTTP/1.1\r\nHost: localhost\r\nAccept: image/tiff\r\n"
            line.sendall(head + f"Content-Length: {len(pixels)}\r\n\r\n".encode() + pixels)
        until(lambda: memory.held >= 16_000_000)  # float32 of four million pixels
        until(lambda: counted(server, 'drillcore_connections_closed_total{why="answer"}') == 2)
        until(lambda: memory.held == 0)
        assert counted(server, "drillcore_connections") == 1
    whole = server.client.post("/predict/dense", content=pixels, headers={"accept": "image/tiff"})
    assert whole.status_code == 200
    assert int(whole.headers["content-length"]) == len(whole.content) > 16_000_000


def test_requests_whose_answers_nobody_takes_are_given_up(settings: Settings, start: Start) -> None:
    serve_tiny(settings)
    server = start(send_seconds=0.3)
    with lines(server) as (line,):
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.settimeout(0.05)
        end = time.monotonic() + 60
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            while time.monotonic() < end:
                with contextlib.suppress(TimeoutError):
                    line.send(b"GET /docs HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert time.monotonic() < end
    # Where the machine is slow its requests wait in a row before its answers do.
    closed = [f'drillcore_connections_closed_total{{why="{why}"}}' for why in ("answer", "damaged")]
    until(lambda: sum(counted(server, name) for name in closed) >= 1)


def test_unfinished_heads_make_room_and_what_is_in_work_does_not(
    settings: Settings, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_tiny(settings)
    server = start(max_connections=6, max_connections_per_address=4, head_seconds=600)
    server.client.close()  # the places are counted
    slow = SlowModel(server, monkeypatch)
    with ThreadPoolExecutor(4) as pool, lines(server, 30) as attackers:
        for line in attackers:
            with contextlib.suppress(OSError):
                line.sendall(b"GET / HTTP/1.1\r\nX-A: ")
        working = [pool.submit(httpx.post, f"{server.url}/predict/tiny", content=png(), timeout=60) for _ in range(3)]
        # Counted as requests in work: the first batch takes one of them, or two where they came together.
        until(lambda: slow.entered.is_set() and server.server.service.work._count == 3)
        for _ in range(5):  # all places of this address but one are in work
            assert httpx.get(f"{server.url}/v2/health/live").status_code == 200
        working.append(pool.submit(httpx.post, f"{server.url}/predict/tiny", content=png(), timeout=60))
        until(lambda: server.server.service.work._count == 4)
        with lines(server) as (late,):
            status, found = refusal_in(said(late))
        assert (status, "connections" in found["error"]) == (503, True)
        slow.gate.set()
        assert [future.result().status_code for future in working] == [200] * 4
    server.client = httpx.Client(base_url=server.url)
    assert counted(server, 'drillcore_connections_closed_total{why="full"}') >= 27


class Line:
    """A connection as `Connections` sees it."""

    def __init__(self, address: str, body: int = 0) -> None:
        self.address, self.body, self.closed = address, body, ""

    def received(self) -> int:
        return self.body

    def cut(self, why: str) -> None:
        self.closed = why


def test_who_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(who_gives_way(monkeypatch))


async def who_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    found = Connections(5, 3, {Phase.HEAD: 9.0})
    slow, fast, idle, head, other = Line("a"), Line("a", 10**9), Line("b"), Line("b"), Line("c")
    for line, phase in ((slow, Phase.BODY), (fast, Phase.BODY), (idle, Phase.IDLE), (head, Phase.HEAD)):
        assert found.enter(line)
        found.wait(line, phase)
    assert found.enter(other)
    found.wait(other, Phase.WORK)
    now[0] += 10
    for victim in (head, idle, slow):
        new = Line("d")
        assert found.enter(new)
        found.wait(new, Phase.WORK)
        assert victim.closed == "full"
    assert not found.enter(Line("e"))  # a body that comes fast, and what is in work, stay
    assert (fast.closed, other.closed, len(found)) == ("", "", 5)
    found.leave(fast)
    assert not found.enter(Line("d"))  # three of its address are there
    assert found.enter(Line("e"))


def test_addresses_are_counted_as_one_host_has_them() -> None:
    assert address_group(("2001:db8::1", 1)) == address_group(("2001:db8::2", 1, 0, 0))  # type: ignore[arg-type]
    assert address_group(("2001:db8::1", 1)) != address_group(("2001:db8:0:1::1", 1))
    assert address_group(("::ffff:10.0.0.1", 1)) == address_group(("10.0.0.1", 1))
    assert address_group(("fe80::1%eth0", 1)) == address_group(("fe80::2%eth0", 1))
    assert address_group(("unix", 1)) == "unix"


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(80)], 400),  # TLS
        ([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], 400),
        ([b"GET / HTTP/1.7.3\r\n\r\n"], 400),
        ([b"hello\r\n\r\n"], 400),
        ([b"GET http:// HTTP/1.1\r\n\r\n"], 400),
        ([b"GET / HTTP/1.1\r\nno colon\r\n\r\n"], 400),
        ([HEAD + b"Content-Length: -1\r\n\r\n"], 400),
        ([HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n"], 400),
        ([HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"], 400),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\n"], 400),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x" * 200_000], 400),
        ([b"GET /", b"x" * 200_000], 431),
        ([b"GET / HTTP/1.1\r\nX-A: ", b"x" * 200_000], 431),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 9000], 413),
    ],
)
def test_what_is_no_request_is_answered_in_json(tiny_server: Running, pieces: list[bytes], status: int) -> None:
    with lines(tiny_server) as (line,):
        for piece in pieces:
            line.sendall(piece)
            time.sleep(0.01)  # else they come together; both are right
        found, body = refusal_in(said(line))
    assert found == status
    assert body["error"]
    assert tiny_server.predict(png()).status_code == 200


def test_garbage_behind_a_request_spoils_no_answer(
    settings: Settings, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_tiny(settings)
    server = start()
    slow = SlowModel(server, monkeypatch)
    with lines(server) as (line,):
        line.sendall(HEAD + f"Content-Length: {len(png())}\r\n\r\n".encode() + png() + b"garbage\r\n\r\n")
        assert slow.entered.wait(60)
        slow.gate.set()
        answer = said(line)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 200")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["label"]


def test_requests_in_a_row_are_answered_in_their_order_and_bounded(
    settings: Settings, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_tiny(settings)
    server = start()
    asked = [b"GET /v2/health/live", b"GET /v2/models/tiny", b"GET /nothing"]
    with lines(server) as (line,):
        line.sendall(b"".join(what + b" HTTP/1.1\r\nHost: localhost\r\n\r\n" for what in asked))
        line.sendall(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = said(line)
    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", b"404", b"200"]
    slow = SlowModel(server, monkeypatch)
    with lines(server) as (line,):
        line.sendall(HEAD + f"Content-Length: {len(png())}\r\n\r\n".encode() + png() + GET * 5000)
        assert slow.entered.wait(60)
        slow.gate.set()
        assert said(line).startswith(b"HTTP/1.1 200")


def test_an_upgrade_that_is_not_offered_is_a_request_like_others(tiny_server: Running) -> None:
    upgrade = GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with lines(tiny_server) as (line,):
        for request in (upgrade, GET):
            line.sendall(request)
            answer = b""
            while b"true}" not in answer:
                answer += line.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 200")


def test_what_strangers_cause_is_one_line_for_many(caplog: pytest.LogCaptureFixture) -> None:
    asyncio.run(one_line_for_many(caplog))


async def one_line_for_many(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    logging.getLogger(LOGGER).propagate = True
    seldom = Seldom("connections closed", seconds=600)
    for number in range(1000):
        seldom.count("head", f"192.0.2.{number % 256}")
    first = [record.__dict__["fields"] for record in caplog.records]
    assert first == [{"counts": {"head": 1}, "last_client": "192.0.2.0"}]
    seldom._write()  # as the clock would
    assert caplog.records[1].__dict__["fields"]["counts"] == {"head": 999}
    seldom._write()
    assert len(caplog.records) == 2


def test_connections_stay_below_the_limit_of_open_files(settings: Settings) -> None:
    serve_tiny(settings)
    command = [sys.executable, "-m", "drillcore", "serve", "tiny", "--port", "0", "--head-seconds", "600"]

    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160))

    process = subprocess.Popen(
        command,
        env=environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=few_files,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split(" ")[0]
        port = int(url.rpartition(":")[2])
        with contextlib.ExitStack() as stack:
            for number in range(300):
                line = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
                line.sendall(b"GET / HTTP/1.1\r\nX-A: " if number % 2 else b"\r\n")
            for _ in range(3):
                answer = httpx.post(f"{url}/predict/tiny", content=png(), headers={"content-type": "image/png"})
                assert answer.status_code == 200
            with httpx.Client(base_url=url) as client:
                client.get("/v2/health/live").raise_for_status()
                assert 'drillcore_connections_closed_total{why="full"}' in client.get("/metrics").text
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    events = [json.loads(line) for line in errors.splitlines()]
    limits = [event["limit"] for event in events if event["event"] == "fewer connections"]
    assert limits
    assert 30 < limits[0] < 160
    closed = [event for event in events if event["event"] == "connections closed"]
    assert 1 <= len(closed) < 20
    assert process.returncode == 0
