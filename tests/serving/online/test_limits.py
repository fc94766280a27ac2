"""Bodies, parts, memory, queues and time have bounds, and what is refused is refused before it is decoded."""

from __future__ import annotations

import asyncio
import http.client
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from online_case import Running, SlowModel, png, serve_tiny, until

from drillcore.settings import Settings
from drillcore_serving.online.door.limits import MemoryBudget, split_multipart
from drillcore_serving.online.options import BatchLimits
from drillcore_serving.online.problems import RefusedError

Start = Callable[..., Running]


def chunks(total: int, size: int = 10_000) -> Iterator[bytes]:
    for _ in range(total // size):
        yield b"x" * size


def test_a_body_beyond_the_limit_is_413_declared_or_chunked(settings: Settings, start: Start) -> None:
    serve_tiny(settings)
    server = start(max_body=100_000)
    declared = server.predict(b"x" * 200_000)
    chunked = server.client.post("/predict/tiny", content=chunks(200_000), headers={"content-type": "image/png"})
    for answer in (declared, chunked):
        assert (answer.status_code, answer.json()["reason"]) == (413, "too_large")
        assert answer.headers["connection"] == "close"
    assert server.predict(png()).status_code == 200


def test_a_client_that_waits_for_100_continue_sends_nothing(settings: Settings, start: Start) -> None:
    serve_tiny(settings)
    server = start(max_body=1000)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as line:
        line.sendall(
            b"POST /predict/tiny HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
            b"Content-Length: 5000\r\nExpect: 100-continue\r\n\r\n"
        )
        assert line.recv(100).startswith(b"HTTP/1.1 413")


def test_a_body_that_does_not_come_is_408(settings: Settings, start: Start) -> None:
    serve_tiny(settings)
    server = start(read_seconds=0.2)
    line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    line.putrequest("POST", "/predict/tiny")
    line.putheader("content-type", "image/png")
    line.putheader("content-length", "5000")
    line.endheaders(b"x")
    assert line.getresponse().status == 408
    line.close()


def test_more_parts_than_allowed_are_413(settings: Settings, start: Start) -> None:
    serve_tiny(settings)
    server = start(max_parts=3)
    files = [("file", (f"{number}.png", png())) for number in range(4)]
    assert server.client.post("/predict/tiny", files=files[:3]).status_code == 200
    answer = server.client.post("/predict/tiny", files=files)
    assert (answer.status_code, answer.json()["reason"]) == (413, "too_many_parts")
    nothing = server.client.post("/predict/tiny", files=[("picture", ("a.png", png()))])
    assert (nothing.status_code, "file" in nothing.json()["error"]) == (400, True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b",
        b"--b\r\n",
        b"--b\r\nContent-Disposition: form-data; name=file\r\n\r\ndata",
        b"--b\r\nContent-Disposition: form-data; name=file\r\n\r\ndata\r\n--b",
        b"--b\r\n\xff\xff\xff: x\r\n\r\n\r\n--b--\r\n",
        b"garbage before\r\n--b\r\n\r\n\r\n--b--\r\n",
    ],
)
def test_damaged_forms_are_400(body: bytes) -> None:
    with pytest.raises(RefusedError) as caught:
        split_multipart(body, "multipart/form-data; boundary=b", 9)
    assert caught.value.status == 400


def test_headers_of_a_part_have_a_bound() -> None:
    body = b"--b\r\nContent-Disposition: form-data; name=" + b"x" * 20_000 + b"\r\n\r\n\r\n--b--\r\n"
    with pytest.raises(RefusedError) as caught:
        split_multipart(body, "multipart/form-data; boundary=b", 9)
    assert caught.value.status in (400, 413)  # the parser's own bound, or ours


def test_memory_is_shared_and_given_back() -> None:
    seen: list[int] = []
    budget = MemoryBudget(100, seen.append)
    with budget.share() as one:
        one.take(90)
        one.take(50)  # alone, it gets what the other limits allow
        with budget.share() as other, pytest.raises(RefusedError) as caught:
            other.take(1)
        assert caught.value.status == 503
    assert (budget.held, seen[-1]) == (0, 0)
    with budget.share() as one, budget.share() as other:
        one.take(40)
        other.take(60)
        with pytest.raises(RefusedError):
            other.take(1)


def test_a_full_queue_is_429_and_what_waited_is_answered(
    settings: Settings, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_tiny(settings)
    server = start(batching=BatchLimits(batch=1, queue=2))
    slow = SlowModel(server, monkeypatch)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(server.predict, png())
        assert slow.entered.wait(60)
        waiting = [pool.submit(server.predict, png()) for _ in range(2)]
        until(lambda: server.server.service.shelf.get("tiny")._batcher.waiting == 2)
        refused = server.predict(png())
        slow.gate.set()
        assert [future.result().status_code for future in (first, *waiting)] == [200] * 3
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1


def test_more_requests_than_allowed_are_503_but_probes_pass(
    settings: Settings, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_tiny(settings)
    server = start(max_requests=1)
    slow = SlowModel(server, monkeypatch)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(server.predict, png())
        assert slow.entered.wait(60)
        refused = server.predict(png())
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert server.client.get("/v2/health/live").status_code == 200
        slow.gate.set()
        assert first.result().status_code == 200
    assert server.predict(png()).status_code == 200


def test_a_deadline_is_504_and_the_image_is_never_computed(
    settings: Settings, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_tiny(settings)
    server = start(batching=BatchLimits(batch=1))
    slow = SlowModel(server, monkeypatch)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(server.predict, png())
        assert slow.entered.wait(60)
        began = time.monotonic()
        late = server.predict(png(), **{"x-deadline-ms": "100"})
        assert (late.status_code, time.monotonic() - began < 10) == (504, True)
        slow.gate.set()
        assert first.result().status_code == 200
    text = server.client.get("/metrics").text
    assert 'drillcore_batch_images_count{model="tiny"} 1.0' in text


def test_the_default_deadline_holds_for_all(settings: Settings, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_tiny(settings)
    server = start(deadline=0.1)
    slow = SlowModel(server, monkeypatch)
    assert server.predict(png(), **{"x-deadline-ms": "60000"}).status_code == 504
    slow.gate.set()


def test_a_client_that_goes_away_is_dropped_before_its_image_is_computed(
    settings: Settings, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_tiny(settings)
    server = start(batching=BatchLimits(batch=1))
    slow = SlowModel(server, monkeypatch)
    shelf = server.server.service.shelf
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(server.predict, png())
        assert slow.entered.wait(60)
        data = png()
        line = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        head = f"POST /predict/tiny HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n"
        line.sendall(head.encode() + b"Content-Type: image/png\r\n\r\n" + data)
        until(lambda: shelf.get("tiny")._batcher.waiting == 1)
        neighbour = pool.submit(server.predict, png(255))
        until(lambda: shelf.get("tiny")._batcher.waiting == 2)
        line.close()
        until(lambda: shelf.get("tiny")._batcher.waiting == 1)
        slow.gate.set()
        assert (first.result().json()["label"], neighbour.result().json()["label"]) == ("bright", "dark")
    text = server.client.get("/metrics").text
    assert 'drillcore_batch_images_count{model="tiny"} 2.0' in text
    assert 'status="499"} 1.0' in text
    until(lambda: server.server.service.memory.held == 0)


def test_stopping_finishes_what_was_taken(settings: Settings, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_tiny(settings)
    server = start(drain_seconds=0.5)
    slow = SlowModel(server, monkeypatch)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(server.predict, png())
        assert slow.entered.wait(60)
        stopping = asyncio.run_coroutine_threadsafe(server.server.stop(), server.loop)
        until(lambda: server.client.get("/v2/health/ready").status_code == 503)
        assert server.client.get("/v2/health/live").status_code == 200
        stopping.result(timeout=60)
        slow.gate.set()
        assert first.result().status_code == 200
    server._thread.join(timeout=60)
    assert not server._thread.is_alive()
