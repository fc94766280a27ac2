"""Work that runs ahead of whoever takes its results: in order, so much at a time that memory stays flat."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from drillcore.progress import progress

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_ahead(start: Callable[[Item], Callable[[], Result]], items: Iterable[Item], most: int) -> Generator[Result]:
    """Yield the results of work on each item, in the order of the items.

    Args:
        start: begins the work on an item and returns what waits for it, such as `pool.submit(work, item).result`.
        items: taken one by one, while work on those before runs.
        most: items, 1 or more, that are at work before the first of them is waited for.

    >>> with threads(2) as pool:
    ...     list(run_ahead(lambda item: pool.submit(pow, item, 2).result, range(5), 3))
    [0, 1, 4, 9, 16]
    """
    waiting: deque[Callable[[], Result]] = deque()
    for item in items:
        if len(waiting) >= most:
            yield waiting.popleft()()
        waiting.append(start(item))
    while waiting:
        yield waiting.popleft()()


@contextmanager
def threads(
    count: int, name: str = "work", initializer: Callable[[], object] | None = None
) -> Iterator[ThreadPoolExecutor]:
    """Give a pool of threads; what it has not begun when the block is left is never begun."""
    pool = ThreadPoolExecutor(count, name, initializer)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def side_by_side(work: Callable[[int], Result], count: int, most: int, title: str) -> Generator[Result]:
    """Yield `work(0)`, `work(1)`, ... below `count`; `most` threads run ahead of the one that is yielded.

    Args:
        work: called with the number of an item.
        count: items.
        most: threads.
        title: of the progress bar.
    """
    with threads(most) as pool, progress(title, count) as advance:
        for result in run_ahead(lambda number: pool.submit(work, number).result, range(count), most + 1):
            yield result
            advance(1)
