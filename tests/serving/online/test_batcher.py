"""What a batch does to one image it does not do to its neighbours."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest

from drillcore_serving.online.batcher import Batcher, BatchEvents, Image, Row, Wanted
from drillcore_serving.online.options import BatchLimits
from drillcore_serving.online.problems import RefusedError

OUTPUTS = ("level",)


class Network:
    """Answers the level of each image; a level of 13 fails, and takes its whole batch with it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def __call__(self, images: Sequence[Image], outputs: tuple[str, ...], wanted: Wanted) -> list[Row]:
        levels = [int(image[0, 0, 0]) for image in images]
        self.batches.append(levels)
        self.entered.set()
        assert self.gate.wait(60)
        if 13 in levels:
            raise ValueError("unlucky")
        return [{"level": np.array(level)} for level in levels]


def image(level: int, size: tuple[int, int] = (4, 4)) -> Image:
    return np.full((*size, 1), level, np.uint8)


def run(
    case: Callable[[Batcher, Network], Coroutine[Any, Any, None]],
    limits: BatchLimits | None = None,
    padded: bool = True,
    **options: Any,
) -> Network:
    network = Network()

    async def main() -> None:
        batcher = Batcher(network, limits=limits or BatchLimits(), padded=padded, **options)
        await case(batcher, network)
        await batcher.close()

    asyncio.run(asyncio.wait_for(main(), 30))
    return network


async def ask(batcher: Batcher, level: int, size: tuple[int, int] = (4, 4), seconds: float = 20.0) -> int:
    found = await batcher.answer([image(level, size)], OUTPUTS, asyncio.get_running_loop().time() + seconds)
    return int(found[0].row["level"])


async def held(network: Network, batcher: Batcher) -> asyncio.Task[int]:
    """Hold the only lane with one image, so that what follows waits."""
    network.gate.clear()
    network.entered.clear()
    first = asyncio.create_task(ask(batcher, 1))
    await asyncio.to_thread(network.entered.wait, 20)
    return first


def test_what_waits_while_a_batch_runs_makes_the_next_one() -> None:
    async def case(batcher: Batcher, network: Network) -> None:
        first = await held(network, batcher)
        others = [asyncio.create_task(ask(batcher, level)) for level in range(2, 8)]
        await asyncio.sleep(0.01)
        network.gate.set()
        assert await asyncio.gather(first, *others) == list(range(1, 8))

    assert run(case, BatchLimits(batch=4)).batches == [[1], [2, 3, 4, 5], [6, 7]]


def test_an_image_that_comes_alone_does_not_wait() -> None:
    async def case(batcher: Batcher, network: Network) -> None:
        assert await asyncio.wait_for(ask(batcher, 5), 5) == 5

    run(case, BatchLimits(delay=10))


def test_a_batch_waits_for_what_is_on_its_way_and_not_for_longer_than_the_delay() -> None:
    async def case(batcher: Batcher, network: Network) -> None:
        with batcher.arriving():
            first = asyncio.create_task(ask(batcher, 1))
            await asyncio.sleep(0.01)
            assert network.batches == []
            second = asyncio.create_task(ask(batcher, 2))
            await asyncio.sleep(0)
        assert await asyncio.gather(first, second) == [1, 2]
        with batcher.arriving():  # it never comes
            assert await ask(batcher, 3) == 3

    assert run(case, BatchLimits(delay=0.5)).batches == [[1, 2], [3]]


def test_only_the_culprit_of_a_failed_batch_gets_the_error() -> None:
    failures: list[int] = []

    async def case(batcher: Batcher, network: Network) -> None:
        first = await held(network, batcher)
        others = [asyncio.create_task(ask(batcher, level)) for level in (12, 13, 14)]
        await asyncio.sleep(0.01)
        network.gate.set()
        found = await asyncio.gather(first, *others, return_exceptions=True)
        assert [found[0], found[1], found[3]] == [1, 12, 14]
        assert isinstance(found[2], ValueError)

    network = run(case, events=BatchEvents(failed=lambda: failures.append(1)))
    assert network.batches == [[1], [12, 13, 14], [12], [13], [14]]
    assert len(failures) == 1


def test_a_cancelled_request_is_dropped_before_it_runs_and_its_neighbours_go_on() -> None:
    async def case(batcher: Batcher, network: Network) -> None:
        first = await held(network, batcher)
        others = [asyncio.create_task(ask(batcher, level)) for level in (2, 3, 4)]
        await asyncio.sleep(0.01)
        others[1].cancel()
        await asyncio.sleep(0.01)
        assert batcher.waiting == 2
        network.gate.set()
        found = await asyncio.gather(first, *others, return_exceptions=True)
        assert isinstance(found[2], asyncio.CancelledError)
        assert [found[0], found[1], found[3]] == [1, 2, 4]

    assert run(case).batches == [[1], [2, 4]]


def test_a_request_cancelled_while_its_batch_runs_leaves_the_batch_alone() -> None:
    async def case(batcher: Batcher, network: Network) -> None:
        first = await held(network, batcher)
        first.cancel()
        await asyncio.sleep(0.01)
        network.gate.set()
        assert await ask(batcher, 2) == 2

    assert run(case).batches == [[1], [2]]


def test_a_deadline_that_passes_is_504_and_nothing_is_computed() -> None:
    async def case(batcher: Batcher, network: Network) -> None:
        first = await held(network, batcher)
        with pytest.raises(RefusedError) as caught:
            await ask(batcher, 2, seconds=0.05)
        assert caught.value.status == 504
        with pytest.raises(RefusedError):
            await ask(batcher, 3, seconds=-1)
        network.gate.set()
        assert await first == 1
        assert await ask(batcher, 4) == 4

    assert run(case).batches == [[1], [4]]


def test_a_full_queue_is_429_with_the_time_to_come_again() -> None:
    async def case(batcher: Batcher, network: Network) -> None:
        first = await held(network, batcher)
        waiting = [asyncio.create_task(ask(batcher, level)) for level in (2, 3)]
        await asyncio.sleep(0.01)
        with pytest.raises(RefusedError) as caught:
            await ask(batcher, 4)
        assert caught.value.status == 429
        assert int(caught.value.headers["retry-after"]) >= 1
        waiting[0].cancel()  # its place is free at once
        await asyncio.sleep(0.01)
        waiting[0] = asyncio.create_task(ask(batcher, 5))
        await asyncio.sleep(0.01)
        network.gate.set()
        assert await asyncio.gather(first, *waiting) == [1, 5, 3]
        with pytest.raises(RefusedError) as caught:
            await batcher.answer([image(1)] * 3, OUTPUTS, time.monotonic() + 9)
        assert caught.value.status == 413

    run(case, BatchLimits(queue=2))


def test_closing_finishes_what_was_taken_and_takes_no_more() -> None:
    async def case(batcher: Batcher, network: Network) -> None:
        first = await held(network, batcher)
        second = asyncio.create_task(ask(batcher, 2))
        await asyncio.sleep(0.01)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0.01)
        with pytest.raises(RefusedError) as caught:
            await ask(batcher, 3)
        assert caught.value.status == 503
        assert not closing.done()
        network.gate.set()
        await closing
        assert await asyncio.gather(first, second) == [1, 2]

    run(case)


@pytest.mark.parametrize(
    ("padded", "batches"), [(True, [[1], [2, 4, 5], [3]]), (False, [[1], [2, 5], [3], [4]])], ids=["padded", "equal"]
)
def test_images_of_like_size_go_together_the_oldest_first(padded: bool, batches: list[list[int]]) -> None:
    sizes = {2: (10, 10), 3: (60, 60), 4: (9, 10), 5: (10, 10)}

    async def case(batcher: Batcher, network: Network) -> None:
        first = await held(network, batcher)
        others = [asyncio.create_task(ask(batcher, level, size)) for level, size in sizes.items()]
        await asyncio.sleep(0.01)
        network.gate.set()
        assert await asyncio.gather(first, *others) == [1, 2, 3, 4, 5]

    assert run(case, padded=padded).batches == batches


def test_requests_that_want_other_outputs_do_not_share_a_batch() -> None:
    async def case(batcher: Batcher, network: Network) -> None:
        first = await held(network, batcher)
        deadline = time.monotonic() + 60
        others = [
            asyncio.create_task(batcher.answer([image(level)], outputs, deadline))
            for level, outputs in ((2, OUTPUTS), (3, ("level", "more")), (4, OUTPUTS))
        ]
        await asyncio.sleep(0.01)
        network.gate.set()
        await asyncio.gather(first, *others)

    assert run(case).batches == [[1], [2, 4], [3]]


def test_a_batch_of_huge_images_is_cut() -> None:
    async def case(batcher: Batcher, network: Network) -> None:
        first = await held(network, batcher)
        others = [asyncio.create_task(ask(batcher, level, (3000, 3000))) for level in (2, 3)]
        await asyncio.sleep(0.01)
        network.gate.set()
        await asyncio.gather(first, *others)

    assert run(case).batches == [[1], [2], [3]]


def test_several_lanes_run_side_by_side() -> None:
    async def case(batcher: Batcher, network: Network) -> None:
        network.gate.clear()
        both = [asyncio.create_task(ask(batcher, level)) for level in (1, 2)]
        while len(network.batches) < 2:
            await asyncio.sleep(0.005)
        network.gate.set()
        assert await asyncio.gather(*both) == [1, 2]

    run(case, BatchLimits(batch=1), lanes=2)
