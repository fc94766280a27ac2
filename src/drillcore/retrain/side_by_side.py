"""Work on many images, some at a time, results in order, in flat memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from drillcore.progress import progress

Result = TypeVar("Result")


def in_order(work: Callable[[int], Result], count: int, threads: int, title: str) -> Iterator[Result]:
    """Yield `work(0)`, `work(1)`, ... with `threads` of them running ahead of the one that is yielded.

    Args:
        work: called with the number of an item.
        count: items.
        threads: at a time.
        title: of the progress bar.
    """
    running: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool, progress(title, count) as advance:
        for number in range(count):
            running.append(pool.submit(work, number))
            if len(running) > threads:
                yield running.popleft().result()
                advance(1)
        while running:
            yield running.popleft().result()
            advance(1)
