"""The Dask engine: shards go to workers, few at a time; this process alone commits what comes back.

Whatever dies, nothing is counted twice: a lost worker's shard is scored by another one, a lost driver's run is begun
again and finds in the journal what it has done. `distributed` is used directly, it does the scheduling.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from drillcore.errors import DeviceError, DrillcoreError, InputError, first_line
from drillcore.progress import progress
from drillcore.remote import is_url
from drillcore.settings import Settings
from drillcore_serving.batch.committed import commit
from drillcore_serving.batch.journal import Entry, Journal
from drillcore_serving.batch.shard_scorer import ScoredShard, ShardScorer
from drillcore_serving.engines.dask_cluster import Cluster
from drillcore_serving.engines.worker import Errand, Refusal, score_shard, seen_size, versions

if TYPE_CHECKING:
    from distributed import Client, Future

GPU = "GPU"  # name of the resource, as in `dask worker --resources GPU=1`
_IN_FLIGHT = 2  # shards per thread of the workers: one in the making, one waiting
_ATTEMPTS = 4  # times that Dask gives a shard up, each after several lost workers
_CONNECT_SECONDS = 30
_WORKER_SECONDS = 120  # without any worker
_LOOK_SECONDS = 2.0
_LOOKED_AT = 50  # first inputs of which one must be seen by the workers


def execute(
    settings: Settings,
    scorer: ShardScorer,
    journal: Journal,
    pending: list[int],
    entries: dict[int, Entry],
    cluster: Cluster,
    device: str,
) -> None:
    """Score the pending shards on workers, commit them one by one and add their entries.

    Args:
        settings: limits, and processes of a cluster that is started here.
        scorer: the plan and the inputs; its session is not run.
        journal: of the output, started.
        pending: shards to do.
        entries: of the shards that are done; filled.
        cluster: where the workers are.
        device: auto, cpu or cuda, on the workers; each shard takes one slot of the resource GPU for cuda.

    Raises:
        InputError: no scheduler or worker answers, or workers do not see what the driver sees.
        DeviceError: no worker offers a GPU.
        DrillcoreError: the scheduler went away, a shard ends its workers again and again, or the output cannot be
            written; what was committed stays.
    """
    errand = Errand(
        replace(scorer.model, path=scorer.model.path.absolute()),
        scorer.plan,
        scorer.options,
        scorer.output.absolute(),
        device,
        settings.max_pixels,
        settings.max_side,
        scorer.hosts,
        tuple(_to_be_seen(scorer, journal)),
        versions(),
    )
    with _connected(settings, cluster) as client, progress("score", scorer.plan.inputs) as advance:
        advance(scorer.plan.rows(entries))

        def keep(shard: ScoredShard) -> None:
            commit(scorer.output, journal, shard.entry, shard.data)
            entries[shard.entry.shard] = shard.entry
            advance(scorer.plan.rows([shard.entry.shard]))

        _Run(client, scorer, errand, keep, deque(pending)).finish()


@contextlib.contextmanager
def _connected(settings: Settings, cluster: Cluster) -> Iterator[Client]:
    """Yield a client of the scheduler, or of a cluster of processes with one thread each that lives as long as it."""
    from distributed import Client

    for name in ("distributed", "distributed.client", "tornado.application"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # a lost worker is expected; the rest is said where it ends
    with contextlib.ExitStack() as stack:
        if cluster.scheduler:
            try:
                client = Client(
                    cluster.address,
                    security=cluster.security(),
                    timeout=_CONNECT_SECONDS,
                    set_as_default=False,
                    name="drillcore-score",
                )
            except (OSError, ValueError, TypeError, RuntimeError) as error:
                raise InputError(
                    f"no scheduler answers at {cluster.address} ({first_line(error)}); start one with `dask scheduler`"
                ) from None
        else:
            local = stack.enter_context(local_workers(settings.cpu_threads))
            client = Client(local, set_as_default=False)
        stack.enter_context(client)
        yield client


@contextlib.contextmanager
def local_workers(count: int) -> Iterator[Client]:
    """Start a `LocalCluster` on loopback, of so many processes with one thread each."""
    import dask
    from distributed import LocalCluster

    # It would look at every thread a hundred times a second.
    with (
        dask.config.set({"distributed.worker.profile.enabled": False}),
        LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            # None would still listen, and on all interfaces.
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        yield cluster


def _to_be_seen(scorer: ShardScorer, journal: Journal) -> Iterator[tuple[str, int]]:
    """Yield what a worker must see as this process does: one of the first inputs, and the output of a dense model."""
    for path in map(_everywhere, scorer.source.files(0, min(_LOOKED_AT, scorer.plan.inputs))):
        size = seen_size(path)
        if size is not None:
            yield path, size
            break
    if scorer.writer.keep is not None and isinstance(scorer.output, Path):
        yield _everywhere(str(journal.path)), -1


def _everywhere(path: str) -> str:
    """Return a path that means the same in another folder."""
    return path if is_url(path) else os.path.abspath(path)  # noqa: PTH100 - ten times faster than Path, once per image


@dataclass(slots=True)
class _Run:
    client: Client
    scorer: ShardScorer
    errand: Errand
    keep: Callable[[ScoredShard], None]
    waiting: deque[int]
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    ended: SimpleQueue[Future | None] = field(default_factory=SimpleQueue)
    running: dict[str, tuple[int, Future]] = field(default_factory=dict)
    attempts: dict[int, int] = field(default_factory=dict)
    model: Any = None
    submitted: int = 0

    def finish(self) -> None:
        """Score what waits."""
        slots, looked, alive = self._slots(wait=True), time.monotonic(), time.monotonic()
        try:
            while self.waiting or self.running:
                while self.waiting and len(self.running) < _IN_FLIGHT * max(slots, 1):
                    self._submit(self.waiting.popleft())
                with contextlib.suppress(Empty):
                    self._take(self.ended.get(timeout=_LOOK_SECONDS))
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

    def _submit(self, shard: int) -> None:
        start, stop = self.scorer.plan.span(shard)
        source = self.scorer.source
        self.submitted += 1
        key = f"drillcore-score-{self.run}-{self.submitted}"
        future = self.client.submit(
            score_shard,
            self.errand,
            shard,
            list(source.paths(start, stop)),
            list(map(_everywhere, source.files(start, stop))),
            self.model,
            key=key,
            pure=False,
            resources={GPU: 1} if self.errand.device == "cuda" else None,
            priority=-shard,  # in order, so that an output grows from its start
        )
        self.running[key] = shard, future
        future.add_done_callback(self.ended.put)

    def _take(self, future: Future) -> None:
        shard, _ = self.running.pop(future.key, (None, None))
        if shard is None:
            return
        if future.status == "finished":
            answer = self._gather(future)
            if isinstance(answer, ScoredShard):
                self.keep(answer)
                return
            if isinstance(answer, Refusal) and answer.kind != "ModelNeeded":
                raise answer.error("")
            if answer is not None:
                self._send_model()
                self._again(shard, f"a worker that does not get the model: {answer.text}")
                return
            self._again(shard, "its result was lost")
        elif future.status == "cancelled" or future.status == "lost":
            # What was sent is lost with its last holder.
            self.model = None
            self._again(shard, "the cluster let it go")
        else:
            self._failed(shard, future.exception())

    def _gather(self, future: Future) -> Any:
        """Return a result, or None where the worker that held it is gone."""
        from distributed.client import FutureCancelledError

        try:
            return future.result(timeout=_WORKER_SECONDS)
        except (FutureCancelledError, TimeoutError, OSError):
            return None

    def _failed(self, shard: int, error: BaseException) -> None:
        from distributed.scheduler import KilledWorker

        if isinstance(error, KilledWorker):
            return self._again(shard, "its workers died")
        if isinstance(error, ImportError):
            raise InputError(f"a worker cannot import drillcore ({first_line(error)}); install the same version there")
        said = f"{type(error).__name__}: {first_line(error)}"
        raise DrillcoreError(f"shard {shard} failed on a worker: {said}") from error

    def _again(self, shard: int, reason: str) -> None:
        if self.client.status != "running":  # a scheduler that comes back knows nothing of this run
            raise DrillcoreError(f"the scheduler is gone; {_AGAIN}")
        self.attempts[shard] = self.attempts.get(shard, 0) + 1
        if self.attempts[shard] >= _ATTEMPTS:
            start, stop = self.scorer.plan.span(shard)
            raise DrillcoreError(
                f"shard {shard} (inputs {start} to {stop - 1}) was given up {_ATTEMPTS} times, the last time since "
                f"{reason}; look for a file there that is too much for a worker's memory; {_AGAIN}"
            )
        self.waiting.appendleft(shard)

    def _send_model(self) -> None:
        """Send the model's bytes to the cluster once; workers take them from one another."""
        if self.model is None:
            data = Path(self.errand.model.path).read_bytes()
            self.model = self.client.scatter(data, hash=False)

    def _slots(self, *, wait: bool = False) -> int:
        """Return how many shards the workers can score at a time. Raises InputError and DeviceError."""
        if wait:
            with contextlib.suppress(TimeoutError):
                self.client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
        try:
            workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        except (OSError, RuntimeError, KeyError):  # a client without its scheduler has no such entry
            raise DrillcoreError(f"the scheduler is gone; {_AGAIN}") from None
        if wait and not workers:
            raise InputError(
                f"no worker within {_CONNECT_SECONDS} s; start some with `dask worker ADDRESS --nthreads 1`"
            )
        if self.errand.device != "cuda":
            return sum(int(worker["nthreads"]) for worker in workers)
        slots = int(sum(worker["resources"].get(GPU, 0) for worker in workers))
        if wait and not slots:
            raise DeviceError(f"no worker offers a GPU: start them with `dask worker ADDRESS --resources {GPU}=1`")
        return slots


_AGAIN = "run the same command again: it goes on where it was"
