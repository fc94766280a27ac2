"""An inbox: files come, each content is scored once, into an output that grows by a batch for each tick with news.

A tick costs a listing and what is new. What is not whole yet waits: a file that changes while it is looked at, one
whose image ends too early and that was written to lately, one with a name that programs give to what is not finished.
A file whose content has changed is a new one; one whose content is known, under whatever name, is not.

Killed at any moment, the next tick goes on: the ledger knows the batch that was begun, its journal what of it is done.
"""

from __future__ import annotations

import datetime
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from drillcore.cluster.address import Cluster
from drillcore.digests import sha256_bytes
from drillcore.errors import BadImageError, InputError
from drillcore.remote import AnyPath, RemotePath
from drillcore.runtime.batch.receipt_chain import close_batch
from drillcore.runtime.batch.scoring import IN_PROCESS
from drillcore.runtime.images.containers import sniff
from drillcore.runtime.images.decode_pool import DecodePool
from drillcore.runtime.images.image_files import read_image_bytes
from drillcore.runtime.images.walking import claims_image, is_hidden_path, walk_images
from drillcore.runtime.model.served import ServedModel
from drillcore.settings import Settings
from drillcore_serving.batch.disk_errors import writing
from drillcore_serving.batch.inputs.input_list import InputList
from drillcore_serving.batch.inputs.url_staging import Staging
from drillcore_serving.batch.journal import exclusive
from drillcore_serving.batch.ledger import Batch, Ledger, Waiting
from drillcore_serving.batch.score_batch import score
from drillcore_serving.batch.writing.part_tables import read_digests

BATCH_ROWS = 100_000  # files of a batch at most
SETTLE_SECONDS = 2.0  # without a change, before a file is looked at
_UNFINISHED_NAME = re.compile(
    r"(^|/)~|\.(part|partial|crdownload|tmp|temp|download|filepart|upload|uploading|incomplete|aria2|!ut|!qb)\.[^/]*$",
    re.IGNORECASE,
)
_UNFINISHED = ("empty", "truncated")
_NOT_THERE = ("unreadable", "missing")
_HEAD = 64  # bytes that tell a format


@dataclass(slots=True)
class Tick:
    """What a tick did.

    Attributes:
        scored: rows in the parts of its batches.
        set_aside: rows that were set aside.
        known: files whose content was scored before, under this or another name.
        waiting: paths with the reason why they wait.
        resumed: inputs that a killed tick had done.
        batches: folders, below the output.
    """

    scored: int = 0
    set_aside: int = 0
    known: int = 0
    waiting: dict[str, str] = field(default_factory=dict)
    resumed: int = 0
    batches: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Inbox:
    """An inbox, its output, and what is needed to score.

    Attributes:
        settings: threads, limits, and how long what cannot be decoded waits.
        model: the model of this tick.
        source: the folder, here or behind a URL.
        output: the folder of this machine that grows.
        engine: where shards are scored, see `drillcore_serving.batch.score_batch.score`.
        cluster: see there.
        settle: seconds without a change before a file is looked at.
    """

    settings: Settings
    model: ServedModel
    source: AnyPath
    output: Path
    engine: str = "local"
    cluster: Cluster | None = None
    settle: float = SETTLE_SECONDS

    def tick(self) -> Tick:
        """Score what is new.

        Raises:
            InputError: the inbox cannot be listed, or another run is at this output.
            DrillcoreError: what `drillcore_serving.batch.score_batch.score` raises; the next tick goes on.
        """
        done = Tick()
        with writing(self.output):
            self.output.mkdir(parents=True, exist_ok=True)
        with exclusive(self.output), Ledger(self.output) as ledger:
            begun = ledger.begun()
            if begun is not None:
                self._finish(ledger, *begun, done)
            new = self._new(ledger, self._changed(ledger, done), done)
            for start in range(0, len(new), BATCH_ROWS):
                files = new[start : start + BATCH_ROWS]
                day = datetime.datetime.now(datetime.UTC).date().isoformat()
                batch = ledger.begin(day, self.model.sha256, files)
                self._finish(ledger, batch, files, done)
        return done

    def _finish(self, ledger: Ledger, batch: Batch, files: Sequence[Waiting], done: Tick) -> None:
        """Score the files of a batch that was begun, verify it and close it."""
        folder = self.output / batch.folder
        other = batch.model_sha256 != self.model.sha256
        if other:  # nothing was promised of a batch that is not closed
            ledger.move(batch, self.model.sha256)
        inputs = InputList(self.source, pa.array([file.path for file in files], pa.large_string()))
        result = score(
            self.settings,
            self.model,
            inputs,
            folder,
            device=self.settings.device,
            overwrite=other,
            engine=self.engine,
            cluster=self.cluster,
        )
        close_batch(self.output, batch.folder)
        found = read_digests(folder)
        # A file that has changed since it was looked at is met again, with its new stamp.
        as_seen = [file for file in files if found.get(file.path, "") == file.sha256]
        ledger.close(batch, as_seen, found.values())
        done.scored += result.scored
        done.set_aside += result.set_aside
        done.resumed += result.resumed
        done.batches.append(batch.folder)

    def _changed(self, ledger: Ledger, done: Tick) -> list[tuple[str, str, float]]:
        """Return path, stamp and time of change of the files that the ledger does not know as they are."""
        found = []
        for path, stamp, changed in self._listing():
            if ledger.knows(path, stamp):
                continue
            if _UNFINISHED_NAME.search(path):
                done.waiting[path] = "its name says that it is not finished"
            elif not stamp:
                done.waiting[path] = "it cannot be read"
            else:
                found.append((path, stamp, changed))
        if isinstance(self.source, RemotePath):
            return found  # an object is there whole or not at all
        youngest = max((changed for _, _, changed in found), default=0.0)
        # Not until the youngest is old enough: until all had the time to change once more.
        time.sleep(min(max(self.settle - (time.time() - youngest), 0.0), self.settle))
        settled = []
        for path, stamp, changed in found:
            if _stamp(os.path.join(self.source, path))[0] == stamp:  # noqa: PTH118 - once per file
                settled.append((path, stamp, changed))
            else:
                done.waiting[path] = "it is being written"
        return settled

    def _listing(self) -> Iterator[tuple[str, str, float]]:
        """Yield path, stamp and time of change in seconds; an empty stamp where there is none to be had."""
        if isinstance(self.source, RemotePath):
            for path, stamp in self.source.walk_stamps():
                if claims_image(path) and not is_hidden_path(path):
                    yield path, stamp, 0.0
            return
        try:
            for path in walk_images(self.source, skip=os.path.realpath(self.output)):
                stamp, changed = ("", 0.0) if path.endswith("/") else _stamp(os.path.join(self.source, path))  # noqa: PTH118
                yield path, stamp, changed
        except FileNotFoundError:
            return  # there is no inbox yet
        except OSError as error:
            raise InputError(f"cannot read the inbox {self.source}: {error.strerror}") from None

    def _new(self, ledger: Ledger, files: Sequence[tuple[str, str, float]], done: Tick) -> list[Waiting]:
        """Return the files to score, one for each new content, in the order of their paths."""
        new: dict[str, Waiting] = {}
        known: list[Waiting] = []
        unread: list[Waiting] = []
        for (path, stamp, changed), (sha256, reason) in zip(files, self._look(files), strict=True):
            file = Waiting(path, stamp, sha256)
            if not isinstance(self.source, RemotePath) and _stamp(os.path.join(self.source, path))[0] != stamp:  # noqa: PTH118
                done.waiting[path] = "it is being written"
            elif not sha256 and reason in _NOT_THERE:
                done.waiting[path] = "it cannot be read"
            elif (
                reason and self._may_grow(path, reason) and time.time() - changed < self.settings.inbox_patience_seconds
            ):
                done.waiting[path] = f"it is not whole ({reason}), and young"
            elif not sha256:
                unread.append(file)
            elif ledger.has(sha256):
                known.append(file)
            elif sha256 in new:
                done.known += 1  # noted by the next tick, once its content is in a closed batch
            else:
                new[sha256] = file
        ledger.note(known)
        done.known += len(known)
        return sorted([*new.values(), *unread], key=lambda file: file.path.encode())

    def _look(self, files: Sequence[tuple[str, str, float]]) -> Iterator[tuple[str, str]]:
        """Yield digest and reason of each file: the young are decoded, of the others only the bytes are read."""
        base = self.source.url if isinstance(self.source, RemotePath) else str(self.source)
        now, remote = time.time(), isinstance(self.source, RemotePath)
        young = [remote or now - changed < self.settings.inbox_patience_seconds for _, _, changed in files]
        places = [os.path.join(base, path) for path, _, _ in files]  # noqa: PTH118 - once per file
        workers = self.settings.decode_workers if sum(young) > IN_PROCESS else 0
        with (
            DecodePool(
                1, max_pixels=self.settings.max_pixels, max_side=self.settings.max_side, workers=workers
            ) as pool,
            Staging(pool, hold=False) as staging,
        ):
            images = staging.stream(place for place, is_young in zip(places, young, strict=True) if is_young)
            decoded = ((item.sha256, item.reason) for some in images for item in some)
            for place, is_young in zip(places, young, strict=True):
                yield next(decoded) if is_young else _digest(place)

    def _may_grow(self, path: str, reason: str) -> bool:
        """Whether a file that cannot be decoded may become an image by what is still to be written to it."""
        if reason in _UNFINISHED:
            return True
        if reason != "unreadable" or isinstance(self.source, RemotePath):
            return False
        try:
            with (self.source / path).open("rb") as stream:
                head = stream.read(_HEAD)
        except OSError:
            return True
        return sniff(head) is not None or not any(head)  # an image that ends too early, or room that is set aside


def _stamp(path: str) -> tuple[str, float]:
    """Return what changes when a file does, and when it was last written to; an empty text where it is not there."""
    try:
        found = os.stat(path)  # noqa: PTH116 - once per file
    except (OSError, ValueError):
        return "", 0.0
    stamp = f"{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}:{found.st_ino}"
    return stamp, found.st_mtime


def _digest(place: str) -> tuple[str, str]:
    try:
        return sha256_bytes(read_image_bytes(Path(place))), ""
    except BadImageError as error:
        return "", error.reason
