"""What runs in a Dask worker: one shard from the paths of its images to the bytes of its part.

A worker keeps each model open, verified by its digest, for as long as its process lives. It writes nothing into the
output but the files of dense answers; the part goes back to the driver, which alone commits: a worker that was thought
lost and goes on afterwards harms nothing.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from drillcore.cluster.on_worker import NEEDED, Likeness, Refusal
from drillcore.digests import sha256_file
from drillcore.errors import DrillcoreError
from drillcore.files import write_bytes
from drillcore.json_types import Json
from drillcore.remote import AnyPath
from drillcore.runtime.images.decode_pool import DecodePool
from drillcore.runtime.model.served import ServedModel
from drillcore.runtime.model.session import Model, open_model
from drillcore_serving.batch.journal import Plan
from drillcore_serving.batch.shard_scorer import ScoredShard, ShardScorer, session_threads
from drillcore_serving.batch.writing.dense_files import DenseOptions

PACKAGES = ("drillcore", "onnxruntime", "numpy", "pillow", "pyarrow")  # that answers and bytes depend on


@dataclass(frozen=True, slots=True)
class Errand:
    """What the shards of a run have in common; no setting that is not needed, since those may hold passwords.

    Attributes:
        model: name, version, digest, and where the driver has the file.
        plan: of the run.
        options: how dense answers are made and written.
        output: where their files go.
        device: auto, cpu or cuda.
        max_pixels: images of more are set aside.
        max_side: images of more rows or columns are, too.
        hosts: patterns of hosts and buckets that URLs among the inputs may name.
        likeness: what the worker must see and have as the driver does.
    """

    model: ServedModel
    plan: Plan
    options: DenseOptions
    output: AnyPath
    device: str
    max_pixels: int
    max_side: int
    hosts: tuple[str, ...]
    likeness: Likeness


class ModelNeededError(DrillcoreError):
    """The file of the model is not to be seen from here: its bytes must be sent."""


@dataclass(frozen=True, slots=True)
class SentRows:
    """The rows of one shard as they were sent; a `drillcore_serving.batch.shard_scorer.Source`."""

    start: int
    recorded: list[str]
    read_from: list[str]

    def paths(self, start: int, stop: int) -> Iterator[str]:
        """Yield the recorded paths."""
        yield from self.recorded[start - self.start : stop - self.start]

    def files(self, start: int, stop: int) -> Iterator[str]:
        """Yield where they are read from."""
        yield from self.read_from[start - self.start : stop - self.start]


def score_shard(
    errand: Errand, shard: int, recorded: list[str], read_from: list[str], data: bytes | None
) -> ScoredShard | Refusal:
    """Score one shard.

    Args:
        errand: of the run.
        shard: its number.
        recorded: paths of its inputs as they are recorded.
        read_from: where they are read from.
        data: bytes of the model, where this worker has asked for them; else None.
    """
    try:
        errand.likeness.check()
        session = _open(errand, data)
        source = SentRows(errand.plan.span(shard)[0], recorded, read_from)
        _, runners = session_threads(errand.device, 1)
        scorer = ShardScorer(
            session, errand.model, source, errand.output, errand.plan, errand.options, runners, errand.hosts
        )
        with _decoders(session, errand) as pool:
            (answered,) = scorer.answers(pool, [shard], lambda count: None)
        return scorer.ready(answered)
    except ModelNeededError as error:
        return Refusal(NEEDED, str(error))
    except DrillcoreError as error:
        return Refusal.of(error)


def _open(errand: Errand, data: bytes | None) -> Model:
    """Return the session of the errand's model, opened and verified once in this process."""
    key = (errand.model.sha256, errand.device)
    with _OPENING:
        if key not in _SESSIONS:
            threads, _ = session_threads(errand.device, 1)
            path = errand.model.path if data is None else _keep(errand.model.sha256, data)
            if not path.is_file():
                raise ModelNeededError(f"{path.name} is not to be seen")
            _SESSIONS[key] = open_model(path, sha256=errand.model.sha256, device=errand.device, threads=threads)
        return _SESSIONS[key]


def _keep(sha256: str, data: bytes) -> Path:
    """Write a model that was sent into this process' own folder, which goes with it."""
    path = Path(_own_folder()) / f"{sha256}.onnx"
    if not path.is_file() or sha256_file(path) != sha256:
        write_bytes(path, data)
    return path


def _own_folder() -> str:
    if not _FOLDERS:
        _FOLDERS.append(tempfile.TemporaryDirectory(prefix="drillcore-worker-", ignore_cleanup_errors=True))
    return _FOLDERS[0].name


@contextlib.contextmanager
def _decoders(session: Model, errand: Errand) -> Iterator[DecodePool]:
    """Yield what decodes: a thread beside a network on the CPU; processes, kept from shard to shard, beside a GPU."""
    channels, bounds = session.metadata.channels, session.metadata.value_range
    how: Json = {"max_pixels": errand.max_pixels, "max_side": errand.max_side, "value_range": bounds}
    if session.providers[0] == "CPUExecutionProvider":
        with DecodePool(channels, workers=0, **how) as pool:
            yield pool
        return
    key = (channels, errand.max_pixels, errand.max_side, bounds)
    pools: dict[object, DecodePool] = _OWN.__dict__.setdefault("pools", {})
    if key not in pools:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        pools[key] = DecodePool(channels, workers=max(1, cores // _slots()), **how).__enter__()
        atexit.register(pools[key].__exit__, None, None, None)
    try:
        yield pools[key]
    except BaseException:
        pools.pop(key).__exit__(KeyboardInterrupt, None, None)  # what it had in the making belongs to nobody
        raise


def _slots() -> int:
    """Return how many shards this process scores at a time."""
    from distributed import get_worker

    with contextlib.suppress(ValueError):
        return int(get_worker().state.nthreads)
    return 1


_SESSIONS: dict[tuple[str, str], Model] = {}
_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []
_OPENING = threading.Lock()
_OWN = threading.local()
