"""Numbered work goes to workers, few at a time, and its answers come back; the driver alone keeps them.

Whatever dies, nothing is counted twice: what a lost worker had is done by another one, and what a lost driver has kept
is not asked for again. `distributed` is used directly, it does the scheduling.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from drillcore.cluster import client as connections
from drillcore.cluster.on_worker import NEEDED, Refusal
from drillcore.errors import DeviceError, DrillcoreError, InputError, first_line

if TYPE_CHECKING:
    from distributed import Client, Future

Answer = TypeVar("Answer")

GPU = "GPU"  # name of the resource, as in `dask worker --resources GPU=1`
_IN_FLIGHT = 2  # numbers per thread of the workers: one in the making, one waiting
_BEYOND = 3  # numbers per thread that may have begun while the first of them is not there, where the order counts
_ATTEMPTS = 4  # times that Dask gives a number up, each after several lost workers
_WORKER_SECONDS = 120  # without any worker
_LOOK_SECONDS = 2.0
_AGAIN = "run the same command again: it goes on where it was"


@dataclass(slots=True, kw_only=True)
class Dispatch(Generic[Answer]):
    """Work for the workers of a client.

    Attributes:
        client: of the scheduler.
        name: first word of Dask's keys.
        task: what a worker calls, with the arguments of a number and then what was sent, for an answer or a `Refusal`.
        arguments: of a number.
        load: gives what is too large to go along with each number; workers take it from one another.
        at_once: whether that is sent at the beginning; else when a worker asks for it (`NEEDED`), and None till then.
        called: a number for people, such as "shard 3".
        device: auto, cpu or cuda; each number takes one slot of the resource GPU for cuda.
    """

    client: Client
    name: str
    task: Callable[..., Answer | Refusal]
    arguments: Callable[[int], tuple[Any, ...]]
    load: Callable[[], Any]
    called: Callable[[int], str]
    device: str
    at_once: bool = False
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    ended: SimpleQueue[Future] = field(default_factory=SimpleQueue)
    waiting: deque[int] = field(default_factory=deque)
    running: dict[str, tuple[int, Future]] = field(default_factory=dict)
    attempts: dict[int, int] = field(default_factory=dict)
    sent: Any = None
    submitted: int = 0

    def results(self, numbers: Iterable[int]) -> Generator[tuple[int, Answer]]:
        """Yield number and answer, whichever comes first; `numbers` ascend.

        Raises:
            InputError: no worker answers, or one that is not as the driver is.
            DeviceError: no worker offers a GPU.
            DrillcoreError: what a worker refuses; the scheduler went away, or a number ends its workers again and again
        """
        with contextlib.closing(self._found(numbers)) as found:
            for number, answer in found:
                yield number, _accepted(answer)

    def in_order(self, count: int) -> Generator[Answer]:
        """Yield the answers to 0, 1, ... below `count` in this order; raises as `results`, when it is their turn."""
        held: dict[int, Answer | Refusal] = {}
        first = 0
        with contextlib.closing(self._found(range(count), lambda: first)) as found:
            for number, answer in found:
                held[number] = answer
                while first in held:
                    yield _accepted(held.pop(first))
                    first += 1

    def _found(
        self, numbers: Iterable[int], first: Callable[[], int] | None = None
    ) -> Generator[tuple[int, Answer | Refusal]]:
        """Yield number and answer; few beyond the `first` that is not there yet are begun, without it all may be."""
        self.waiting.extend(numbers)
        slots, looked, alive = self._slots(wait=True), time.monotonic(), time.monotonic()
        try:
            while self.waiting or self.running:
                beyond = None if first is None else first() + _BEYOND * max(slots, 1)
                while self.waiting and len(self.running) < _IN_FLIGHT * max(slots, 1):
                    if beyond is not None and self.waiting[0] >= beyond:
                        break
                    self._submit(self.waiting.popleft())
                with contextlib.suppress(Empty):
                    yield from self._taken(self.ended.get(timeout=_LOOK_SECONDS))
                now = time.monotonic()
                if now - looked < _LOOK_SECONDS:
                    continue
                looked, slots = now, self._slots()
                alive = now if slots else alive
                if now - alive > _WORKER_SECONDS:
                    raise DrillcoreError(f"no worker for {_WORKER_SECONDS} s; {_AGAIN}")
        finally:
            with contextlib.suppress(Exception):  # the scheduler may be the reason why this ends
                self.client.cancel([future for _, future in self.running.values()], force=True)

    def _submit(self, number: int) -> None:
        if self.at_once:
            self._send()
        self.submitted += 1
        key = f"{self.name}-{self.run}-{self.submitted}"
        future = self.client.submit(
            self.task,
            *self.arguments(number),
            self.sent,
            key=key,
            pure=False,
            resources={GPU: 1} if self.device == "cuda" else None,
            priority=-number,  # in order, so that what is kept grows from its start
        )
        self.running[key] = number, future
        future.add_done_callback(self.ended.put)

    def _taken(self, future: Future) -> Iterator[tuple[int, Answer | Refusal]]:
        """Yield the answer of a future that has ended, or see to it that it is asked for again."""
        number, _ = self.running.pop(future.key, (None, None))
        if number is None:
            return
        if future.status == "finished":
            answer = self._gather(future)
            if answer is None:
                self._again(number, "its result was lost")
            elif isinstance(answer, Refusal) and answer.kind == NEEDED:
                self._send()
                self._again(number, f"a worker does not get what is sent to it: {answer.text}")
            else:
                yield number, answer
        elif future.status in ("cancelled", "lost"):
            # What was sent is lost with its last holder.
            self.sent = None
            self._again(number, "the cluster let it go")
        else:
            self._failed(number, future.exception())

    def _gather(self, future: Future) -> Answer | Refusal | None:
        """Return a result, or None where the worker that held it is gone."""
        from distributed.client import FutureCancelledError

        try:
            found: Answer | Refusal = future.result(timeout=_WORKER_SECONDS)
        except (FutureCancelledError, TimeoutError, OSError):
            return None
        return found

    def _failed(self, number: int, error: BaseException) -> None:
        from distributed.scheduler import KilledWorker

        if isinstance(error, KilledWorker):
            return self._again(number, "its workers died")
        if isinstance(error, ImportError):
            raise InputError(f"a worker cannot import drillcore ({first_line(error)}); install the same version there")
        said = f"{type(error).__name__}: {first_line(error)}"
        raise DrillcoreError(f"{self.called(number)} failed on a worker: {said}") from error

    def _again(self, number: int, reason: str) -> None:
        if self.client.status != "running":  # a scheduler that comes back knows nothing of this run
            raise DrillcoreError(f"the scheduler is gone; {_AGAIN}")
        self.attempts[number] = self.attempts.get(number, 0) + 1
        if self.attempts[number] >= _ATTEMPTS:
            raise DrillcoreError(
                f"{self.called(number)} was given up {_ATTEMPTS} times, the last time since {reason}; look for a file "
                f"there that is too much for a worker's memory; {_AGAIN}"
            )
        self.waiting.appendleft(number)

    def _send(self) -> None:
        if self.sent is None:
            self.sent = self.client.scatter(self.load(), hash=False)

    def _slots(self, *, wait: bool = False) -> int:
        """Return how many numbers the workers can do at a time. Raises InputError and DeviceError."""
        seconds = connections.CONNECT_SECONDS
        if wait:
            with contextlib.suppress(TimeoutError):
                self.client.wait_for_workers(1, timeout=seconds)
        try:
            workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        except (OSError, RuntimeError, KeyError):  # a client without its scheduler has no such entry
            raise DrillcoreError(f"the scheduler is gone; {_AGAIN}") from None
        if wait and not workers:
            raise InputError(f"no worker within {seconds} s; start some with `dask worker ADDRESS --nthreads 1`")
        if self.device != "cuda":
            return sum(int(worker["nthreads"]) for worker in workers)
        slots = int(sum(worker["resources"].get(GPU, 0) for worker in workers))
        if wait and not slots:
            raise DeviceError(f"no worker offers a GPU: start them with `dask worker ADDRESS --resources {GPU}=1`")
        return slots


def _accepted(answer: Answer | Refusal) -> Answer:
    if isinstance(answer, Refusal):
        raise answer.error()
    return answer
