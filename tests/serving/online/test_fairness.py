"""Few large images, or many requests of one client, keep nobody else waiting."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from online_case import Running, SlowModel, bomb, png, serve_dense, serve_tiny, until

from drillcore.errors import InputError
from drillcore.settings import Settings
from drillcore_serving.online import service as service_module
from drillcore_serving.online.batcher import Batcher
from drillcore_serving.online.door.clients import RequestsInWork, caller
from drillcore_serving.online.door.fair_queue import FairQueue
from drillcore_serving.online.door.limits import MemoryBudget
from drillcore_serving.online.door.turns import LARGE_PIXELS, Turns
from drillcore_serving.online.options import BatchLimits, ServeOptions
from drillcore_serving.online.problems import RefusedError

Start = Callable[..., Running]
LARGE = png(0, (1100, 1000))


def test_the_queue_takes_one_of_each_client_in_turn() -> None:
    queue: FairQueue[str] = FairQueue(9)
    assert queue.append("a", ["a1", "a2", "a3", "a4"]) == []
    assert queue.append("b", ["b1"]) == []
    assert queue.append("c", ["c1", "c2"]) == []
    assert list(queue) == ["a1", "b1", "c1", "a2", "c2", "a3", "a4"]
    queue.remove(["a1"], served=True)
    assert list(queue) == ["b1", "c1", "a2", "c2", "a3", "a4"]
    queue.remove(["c1"])  # nobody waits for it: no turn was had
    assert list(queue) == ["b1", "c2", "a2", "a3", "a4"]
    assert len(queue) == 5


def test_where_there_is_no_room_the_greediest_gives_way() -> None:
    queue: FairQueue[str] = FairQueue(4)
    assert queue.append("a", ["a1", "a2", "a3", "a4"]) == []
    assert queue.append("a", ["a5"]) is None
    assert queue.append("b", ["b1"]) == ["a4"]
    assert queue.append("b", ["b2"]) == ["a3"]
    assert queue.append("b", ["b3"]) is None  # both have two
    assert queue.append("c", ["c1", "c2", "c3"]) is None
    assert list(queue) == ["a1", "b1", "a2", "b2"]


def test_a_batch_holds_what_each_client_waits_for_and_a_flood_gives_way() -> None:
    async def main() -> list[list[int]]:
        gate, entered = threading.Event(), threading.Event()
        batches: list[list[int]] = []

        def run(images: Any, *_: Any) -> list[dict[str, Any]]:
            batches.append([int(image[0, 0, 0]) for image in images])
            entered.set()
            assert gate.wait(60)
            return [{} for _ in images]

        batcher = Batcher(run, limits=BatchLimits(2, 0, 6), padded=True)
        late = time.monotonic() + 60

        def ask(level: int, client: str) -> asyncio.Task[Any]:
            image = np.full((1, 1, 1), level, np.uint8)
            return asyncio.create_task(batcher.answer([image], (), late, client))

        first = ask(0, "flood")
        await asyncio.to_thread(entered.wait, 60)
        flood = [ask(level, "flood") for level in range(1, 7)]
        await asyncio.sleep(0)
        one = ask(100, "other")
        await asyncio.sleep(0)
        with pytest.raises(RefusedError) as caught:
            await flood[-1]  # its newest made room
        assert caught.value.status == 429
        with pytest.raises(RefusedError):
            await ask(7, "flood")
        gate.set()
        await asyncio.gather(first, one, *flood[:-1])
        await batcher.close()
        return batches

    batches = asyncio.run(main())
    assert batches[0] == [0]
    assert sorted(batches[1]) == [1, 100]


def test_turns_are_bounded_go_round_and_are_given_back() -> None:
    async def main() -> None:
        seen: list[int] = []
        turns = Turns(3 * LARGE_PIXELS, seen.append)
        late = time.monotonic() + 60
        order: list[str] = []
        go: dict[str, asyncio.Event] = {}

        async def work(client: str, name: str, pixels: int) -> None:
            go[name] = asyncio.Event()
            with turns.place(client) as place:
                await place.take(pixels, late)
                order.append(name)
                await go[name].wait()

        async def settle() -> None:
            for _ in range(5):
                await asyncio.sleep(0)

        size = 2 * LARGE_PIXELS
        names = ("a1", "a2", "a3", "a4", "b1", "c1")
        tasks = {name: asyncio.create_task(work(name[0], name, size)) for name in names}
        await settle()
        assert (order, turns.at_work) == (["a1"], size)
        small = asyncio.create_task(work("a", "small", LARGE_PIXELS))
        await settle()
        assert order == ["a1", "small"]  # it waits for nobody
        go["small"].set()
        tasks["a4"].cancel()
        for name in ("a1", "a2", "b1", "c1", "a3"):
            await settle()
            assert order[-1] == name or name == "a1"
            assert turns.at_work == size
            go[name].set()
        await asyncio.gather(*tasks.values(), small, return_exceptions=True)
        assert tasks["a4"].cancelled()
        assert (turns.at_work, seen[-1], max(seen)) == (0, 0, size)

        with turns.place("a") as alone:
            await alone.take(100 * LARGE_PIXELS, late)  # larger than all that is allowed: alone
            with turns.place("b") as other:
                with pytest.raises(RefusedError) as caught:
                    await other.take(size, time.monotonic() + 0.05)
                assert caught.value.status == 504
            waiting = asyncio.create_task(work("b", "b2", size))
            await settle()
        # Its turn has come, and whoever asked went away before it knew.
        waiting.cancel()
        await settle()
        assert turns.at_work == 0

    asyncio.run(main())


def test_small_images_are_answered_while_large_ones_are_decoded(
    settings: Settings, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding of large images stands still: small ones, in every form, go on."""
    serve_tiny(settings)
    server = start(max_pixels_at_work=1_500_000)
    gate, entered, decoding = threading.Event(), threading.Semaphore(0), []
    real = service_module.decode_bytes

    def held(data: bytes, *arguments: Any, max_pixels: int, **options: Any) -> Any:
        if max_pixels > LARGE_PIXELS:
            decoding.append(len(data))
            entered.release()
            assert gate.wait(60)
        return real(data, *arguments, max_pixels=max_pixels, **options)

    monkeypatch.setattr(service_module, "decode_bytes", held)
    with ThreadPoolExecutor(8) as pool:
        large = [pool.submit(httpx.post, f"{server.url}/predict/tiny", content=LARGE, timeout=60) for _ in range(6)]
        assert entered.acquire(timeout=60)
        until(lambda: len(server.server.service.turns._queue) == 5)
        assert len(decoding) == 1  # the pixels at work are bounded
        assert server.predict(png()).json()["label"] == "bright"
        form = server.client.post("/predict/tiny", files={"file": ("a.png", png())})
        assert form.json()["images"][0]["label"] == "bright"
        tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 2, 2, 1], "data": [0, 1, 2, 3]}
        assert server.client.post("/v2/models/tiny/infer", json={"inputs": [tensor]}).status_code == 200
        assert "drillcore_pixels_at_work 1.1e+06" in server.client.get("/metrics").text
        gate.set()
        assert [future.result().status_code for future in large] == [200] * 6
    assert server.server.service.turns.at_work == 0
    until(lambda: server.server.service.memory.held == 0)


def test_small_images_are_answered_while_a_large_one_runs(
    settings: Settings, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_tiny(settings)
    server = start(lanes=1)
    model = server.server.service.shelf.get("tiny").model
    gate, entered, run = threading.Event(), threading.Event(), model.run

    def held(canvas: Any, *arguments: Any, **options: Any) -> Any:
        if canvas.shape[1] * canvas.shape[2] > LARGE_PIXELS:
            entered.set()
            assert gate.wait(60)
        return run(canvas, *arguments, **options)

    monkeypatch.setattr(model, "run", held)
    trimmed = threading.Event()
    monkeypatch.setattr(service_module, "trim_memory", trimmed.set)
    with ThreadPoolExecutor(1) as pool:
        large = pool.submit(server.predict, LARGE)
        assert entered.wait(60)
        assert server.predict(png()).status_code == 200
        assert not trimmed.is_set()
        gate.set()
        assert large.result().json()["label"] == "bright"
    assert trimmed.wait(60)  # its memory is given back


@pytest.mark.parametrize("task", ["dense_labels", "dense_regression"])
def test_a_dense_model_answers_large_images_and_refuses_larger_ones(
    settings: Settings, start: Start, task: str
) -> None:
    serve_dense(settings, task=task)
    server = start("dense")
    answer = server.client.post("/predict/dense", content=LARGE)
    assert (answer.status_code, answer.json()["size"]) == (200, [1100, 1000])
    for data in (bomb(8000, 7000), bomb(60_000, 100)):
        refused = server.client.post("/predict/dense", content=data)
        assert (refused.status_code, refused.json()["reason"]) == (413, "too_large")
    until(lambda: server.server.service.memory.held == 0)  # some time after the client has its answer
    assert server.server.service.turns.at_work == 0


def test_one_client_has_half_of_the_places_and_those_with_little_find_memory() -> None:
    work = RequestsInWork(4)
    for _ in range(2):
        work.begin("a")
    with pytest.raises(RefusedError) as caught:
        work.begin("a")
    assert caught.value.status == 503
    for _ in range(2):
        work.begin("b")
    with pytest.raises(RefusedError):
        work.check("c")
    work.end("a")
    work.begin("c")

    budget = MemoryBudget(160 * 2**20)
    with budget.share() as one, budget.share() as other, budget.share() as small:
        one.take(140 * 2**20)
        with pytest.raises(RefusedError):
            other.take(10 * 2**20)
        small.take(2**20)


def test_a_client_that_stands_for_many_may_have_all_places() -> None:
    options = ServeOptions(max_requests=4, max_requests_per_client=4)
    work = RequestsInWork(options.max_requests, options.max_requests_per_client)
    for _ in range(4):
        work.begin("a proxy")
    with pytest.raises(RefusedError, match="4 requests are in work"):
        work.check("a proxy")
    with pytest.raises(InputError, match="max_requests_per_client must be 0"):
        ServeOptions(max_requests_per_client=-1)


@pytest.mark.parametrize("most", [1, 2])
def test_the_server_is_told_how_many(
    settings: Settings, start: Start, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    serve_tiny(settings)
    server = start(max_requests=2, max_requests_per_client=most)
    slow = SlowModel(server, monkeypatch)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(server.predict, png()) for _ in range(2)]
        if most == 1:
            until(lambda: any(future.done() for future in asked))
        else:
            until(lambda: server.server.service.work._count == 2)
        slow.gate.set()
        assert sorted(future.result().status_code for future in asked) == [200, 200 if most == 2 else 503]


def test_whom_a_request_is_counted_for() -> None:
    one, other = {"client": ("192.0.2.1", 5)}, {"client": ("192.0.2.2", 5)}
    assert caller(one, {"x-api-key": "k"}, keys=False) == caller(one, {}, keys=False) == "192.0.2.1"
    bearer = caller(one, {"authorization": "Bearer key-1"}, keys=True)
    assert bearer == caller(one, {"x-api-key": "key-1"}, keys=True)
    assert (
        len({bearer, caller(other, {"x-api-key": "key-1"}, keys=True), caller(one, {"x-api-key": "2"}, keys=True)}) == 3
    )
    assert "key" not in bearer


def test_a_thin_image_is_refused_before_it_runs(
    settings: Settings, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_tiny(settings, input={"channels": 1, "resize": [512, 512], "preprocessing": {}})
    server = start()
    monkeypatch.setattr(server.server.service.shelf.get("tiny").model, "run", None)
    for size in ((1, 2_000_000), (2_000_000, 1), (1, 60_000), (60_000, 1), (40_000, 30)):
        refused = server.predict(png(0, size))
        assert (refused.status_code, refused.json()["reason"]) == (413, "too_large"), size
        tensor = {"name": "images", "datatype": "UINT8", "shape": [1, *size, 1], "parameters": {}}
        tensor["parameters"] = {"binary_data_size": size[0] * size[1]}
        text = json.dumps({"inputs": [tensor]}).encode()
        headers = {"inference-header-content-length": str(len(text))}
        body = text + bytes(size[0] * size[1])
        refused = server.client.post("/v2/models/tiny/infer", content=body, headers=headers)
        assert (refused.status_code, refused.json()["reason"]) == (413, "too_large"), size
    until(lambda: server.server.service.memory.held == 0)
