"""The models of a server: opened from their pointers, warmed up, checked, and swapped while requests go on.

A request takes a lease on the version that is current when it begins and keeps it to the end, so one answer is made by
one version; a version that was replaced is closed after its last lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from drillcore.errors import DeviceError, DrillcoreError, InputError, UnknownNameError
from drillcore.runtime.batch.planning import PYRAMIDS
from drillcore.runtime.model.reference import is_model_file
from drillcore.runtime.model.served import Pointer
from drillcore.runtime.model.session import Model, cuda_devices, open_model
from drillcore.settings import Settings
from drillcore.tasks import TASKS
from drillcore_serving.online.batcher import Answer, Batcher, BatchEvents, Image
from drillcore_serving.online.batches import (
    check_answers,
    fits_batch,
    run_batch,
    run_scenes,
    takes_padding,
    wanted_outputs,
)
from drillcore_serving.online.door.turns import LARGE_PIXELS
from drillcore_serving.online.json_lines import log
from drillcore_serving.online.options import BatchLimits, ServeOptions
from drillcore_serving.online.prometheus import Metrics
from drillcore_serving.online.sketching import Sketches
from drillcore_serving.online.sources import Source, source_of

_SCENES = 16  # images larger than a tile that wait at most: each holds its pixels
_T = TypeVar("_T")
_RETRY_SECONDS = 30.0  # a version that was refused is tried again, since a disk may have been full


class LoadedModel:
    """One version of one model, open.

    Attributes:
        name: it is served under.
        pointer: version and digest.
        model: the open session.
        problem: why a newer version does not answer; empty where there is none.
    """

    def __init__(self, name: str, pointer: Pointer, model: Model, batcher: Batcher, large: Batcher) -> None:
        self.name, self.pointer, self.model = name, pointer, model
        self._batcher, self._large = batcher, large
        self.problem = ""
        self._leases = 0
        self._retired = False
        self._idle = asyncio.Event()

    @property
    def version(self) -> int:
        """As the registry has it."""
        return self.pointer.version

    @property
    def task(self) -> str:
        """What it predicts."""
        return self.model.metadata.task

    @property
    def outputs(self) -> tuple[str, ...]:
        """Outputs that a plain prediction asks for."""
        return wanted_outputs(self.model)

    @contextlib.contextmanager
    def lease(self) -> Iterator[LoadedModel]:
        """Keep this version open."""
        self._leases += 1
        try:
            yield self
        finally:
            self._leases -= 1
            if self._retired and not self._leases:
                self._idle.set()

    def arriving(self) -> contextlib.AbstractContextManager[None]:
        """Announce an image that is being decoded."""
        return self._batcher.arriving()

    async def answer(
        self, images: Sequence[Image], outputs: tuple[str, ...], deadline: float, client: str = ""
    ) -> list[Answer]:
        """Return the answers to the images of one request; see `Batcher.answer`.

        Large images, and scenes, which go through the model tile by tile, have threads of their own: they hold up no
        batch.
        """
        small = all(_is_small(image) and fits_batch(self.model, image) for image in images)
        return await (self._batcher if small else self._large).answer(images, outputs, deadline, client)

    async def retire(self) -> None:
        """Wait for the last lease, then close."""
        self._retired = True
        if self._leases:
            await self._idle.wait()
        await self._batcher.close()
        await self._large.close()


@dataclass(slots=True)
class _Place:
    source: Source
    current: LoadedModel
    seen: tuple[object, ...]
    tried: float = 0.0


class ModelShelf:
    """All models of a server, by the name they are served under: `NAME`, `NAME@ALIAS` or `NAME@VERSION`."""

    def __init__(self, settings: Settings, options: ServeOptions, metrics: Metrics, sketches: Sketches) -> None:
        self._settings, self._options, self._metrics, self._sketches = settings, options, metrics, sketches
        self._places: dict[str, _Place] = {}
        self._opening = ThreadPoolExecutor(1, thread_name_prefix="open")
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def names(self) -> list[str]:
        """Names they are served under, in the order they were given."""
        return list(self._places)

    def current(self) -> list[LoadedModel]:
        """Return the versions that answer now."""
        return [place.current for place in self._places.values()]

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def get(self, name: str, version: str | None = None) -> LoadedModel:
        """Return the version that answers now.

        Raises:
            UnknownNameError: no such model here, or another version answers.
        """
        if name not in self._places:
            raise UnknownNameError("model", name, self._places)
        found = self._places[name].current
        if version is not None and version != str(found.version):
            raise UnknownNameError(f"version of {name}", version, [str(found.version)])
        return found

    async def add(self, reference: str) -> LoadedModel:
        """Open what a reference points at, or an exported file.

        Raises:
            DrillcoreError: it cannot be opened; says why.
        """
        source = await self._in_thread(source_of, self._settings, reference)
        name = source.name
        if name not in self._places:
            seen = source.signature()
            loaded = await self._open(name, *await self._in_thread(source.read))
            self._places[name] = _Place(source, loaded, seen)
            self._publish(loaded)
        elif is_model_file(reference):
            raise InputError(f"{reference} holds the model {name}, which is served already; one of a name can be")
        return self._places[name].current

    async def watch(self) -> None:
        """Follow the pointers until cancelled."""
        while True:
            await asyncio.sleep(self._options.poll_seconds)
            for name in self.names:
                await self.look(name)

    async def look(self, name: str) -> bool:
        """Follow one pointer; return whether another version answers now. What is wrong with a version is logged."""
        place = self._places[name]
        signature = place.source.signature()
        retry = place.current.problem and time.monotonic() - place.tried > _RETRY_SECONDS
        if signature == place.seen and not retry:
            return False
        place.tried = time.monotonic()
        try:
            pointer, path = await self._in_thread(place.source.read)
            if (pointer.version, pointer.sha256) == (place.current.version, place.current.pointer.sha256):
                place.seen, place.current.problem = signature, ""
                return False
            loaded = await self._open(name, pointer, path)
        except (DrillcoreError, OSError, MemoryError) as error:
            place.seen = signature
            # The whole of it goes to the log; those who only predict learn that it is so.
            place.current.problem = "a newer version is here and was refused; the log says why"
            self._metrics.swaps.labels(name, "refused").inc()
            log("version refused", level=logging.ERROR, model=name, kept=place.current.version, why=str(error))
            return False
        old, place.current, place.seen = place.current, loaded, signature
        self._publish(loaded)
        self._metrics.swaps.labels(name, "swapped").inc()
        log("version swapped", model=name, version=loaded.version, was=old.version, sha256=loaded.pointer.sha256)
        task = asyncio.create_task(old.retire(), name="retire")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        return True

    async def close(self) -> None:
        """Finish what was taken and close all."""
        for place in self._places.values():
            await place.current.retire()
        await asyncio.gather(*self._retiring)
        self._opening.shutdown(wait=False)

    def _publish(self, loaded: LoadedModel) -> None:
        facts = {
            "version": str(loaded.version),
            "sha256": loaded.pointer.sha256,
            "task": loaded.task,
            "provider": loaded.model.providers[0],
        }
        self._metrics.model.labels(loaded.name).info(facts)
        self._metrics.version.labels(loaded.name).set(loaded.version)

    async def _open(self, name: str, pointer: Pointer, path: Path) -> LoadedModel:
        began = time.monotonic()
        model = await self._in_thread(self._open_checked, pointer, path)
        log(
            "model open",
            model=name,
            version=pointer.version,
            sha256=pointer.sha256,
            task=model.metadata.task,
            providers=model.providers,
            seconds=round(time.monotonic() - began, 3),
        )
        queue, failed = self._metrics.queue.labels(name), self._metrics.failed.labels(name)
        batches, infer = self._metrics.batches.labels(name), self._metrics.stages.labels(name, "infer")

        def count(images: int, seconds: float) -> None:
            batches.observe(images)
            infer.observe(seconds)

        limits, lanes, padded = self._options.limits_of(name), self._lanes_and_threads()[0], takes_padding(model)
        if model.metadata.any_size and not TASKS[model.metadata.task].dense:
            limits = replace(limits, batch=min(limits.batch, PYRAMIDS))
        events, silent = BatchEvents(count, queue.set, failed.inc), BatchEvents(count)
        run = self._sketches.watched(partial(run_batch, model), pointer, model)
        batcher = Batcher(run, limits=limits, padded=padded, lanes=lanes, events=events)
        if TASKS[model.metadata.task].dense:
            alone = BatchLimits(1, 0, min(limits.queue, _SCENES))
            large = Batcher(partial(run_scenes, model), limits=alone, padded=False, events=silent)
        else:
            alone = BatchLimits(1, 0, limits.queue)
            large = Batcher(run, limits=alone, padded=False, lanes=lanes, events=silent)
        return LoadedModel(name, pointer, model, batcher, large)

    def _open_checked(self, pointer: Pointer, path: Path) -> Model:
        options = self._options
        _, threads = self._lanes_and_threads()
        try:
            model = open_model(path, sha256=pointer.sha256, device=options.device, threads=threads)
        except DeviceError as error:
            if options.device != "cuda" or not options.allow_cpu:
                raise
            log("no CUDA, the CPU answers", level=logging.WARNING, model=pointer.model, why=str(error))
            model = open_model(path, sha256=pointer.sha256, device="cpu", threads=threads)
        check_answers(model)
        return model

    def _lanes_and_threads(self) -> tuple[int, int]:
        cuda = self._options.device != "cpu" and cuda_devices() > 0
        return self._options.lanes_and_threads(self._settings.cpu_threads, cuda=cuda)

    async def _in_thread(self, action: Callable[..., _T], *arguments: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._opening, lambda: action(*arguments))


def _is_small(image: Image) -> bool:
    found: bool = image.shape[0] * image.shape[1] <= LARGE_PIXELS
    return found
