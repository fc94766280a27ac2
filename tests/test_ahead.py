"""Work ahead of whoever takes it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from drillcore.ahead import run_ahead, side_by_side, threads


@pytest.mark.parametrize("most", [1, 3, 50])
def test_results_come_in_order_and_no_more_than_asked_run_ahead(most: int) -> None:
    begun: list[int] = []

    def start(item: int) -> object:
        begun.append(item)
        return lambda: item * item

    taken = 0
    for result in run_ahead(start, range(20), most):  # type: ignore[arg-type,var-annotated]
        assert result == taken**2
        taken += 1
        assert len(begun) <= taken + most - 1
    assert taken == 20


def test_an_item_is_taken_while_those_before_it_run() -> None:
    running = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        assert running.wait(20)  # set by the work on 0
        yield 1

    def work(item: int) -> int:
        running.set()
        return item

    with threads(1) as pool:
        assert list(run_ahead(lambda item: pool.submit(work, item).result, items(), 1)) == [0, 1]


def test_what_is_not_begun_when_the_taker_stops_never_runs() -> None:
    ran: list[int] = []

    def work(item: int) -> int:
        ran.append(item)
        if item == 1:
            raise ValueError("the second fails")
        return item

    with pytest.raises(ValueError, match="second"):
        list(side_by_side(work, 1000, 1, "work"))
    assert len(ran) < 10
