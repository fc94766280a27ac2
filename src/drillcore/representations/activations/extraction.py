"""Activations of a frozen backbone as a table, one row per image; only what the store does not have is computed.

Every batch has the same number of images, the last one filled up with zeros: libraries choose their algorithm by the
size of the batch, and so a row would differ in its last bits with the company it was computed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from drillcore.arrays import Array
from drillcore.backbones.base import Backbone
from drillcore.errors import InputError
from drillcore.progress import progress
from drillcore.representations.computing.engines import computed
from drillcore.representations.computing.work import Work
from drillcore.representations.feeding import Load, prepared
from drillcore.representations.store_rows import StoreRows
from drillcore.settings import Settings
from drillcore.store import FeatureSpec, FeatureStore, StoreWriter
from drillcore.store.signs import unpack_signs
from drillcore.store.spec import SIGN2

if TYPE_CHECKING:
    from pathlib import Path

    from drillcore.cluster.address import Cluster

BATCH = 32
Then = Callable[["npt.NDArray[np.float32]"], "Array"]
_COMMITS = 100  # shards a cold extraction is committed in, at least: a kill costs about 1 %


@dataclass(frozen=True)
class FeatureTable:
    """Features of images in the order they were asked for.

    Attributes:
        store: where the rows are.
        keys: one per image; equal images have equal keys.
        extracted: images that passed the backbone for this table.
        forwarded: the same with the filling of the last batch.
        width: features.
    """

    store: FeatureStore
    keys: list[str]
    extracted: int
    forwarded: int
    width: int

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features; none is read for it."""
        return len(self.keys), self.width

    @property
    def dtype(self) -> np.dtype:
        """Of the rows as they are read."""
        return self._lying.dtype

    def __getitem__(self, chosen: Any) -> npt.NDArray[np.floating]:
        """Return some rows, as a source of rows does (`heads.row_source`); read where they lie."""
        return self._lying[chosen]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self.rows, dtype)

    @cached_property
    def rows(self) -> npt.NDArray[np.floating]:
        """All rows, [N, D] in the store's dtype; read when first asked for, then kept."""
        return self._unpacked(self.store.read(self.keys))

    @cached_property
    def _lying(self) -> StoreRows:
        return StoreRows(self.store, self.keys, self.width)

    def select(self, chosen: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> npt.NDArray[np.floating]:
        """Return some rows, by number or mask, without reading the others."""
        numbers = np.arange(len(self.keys))[chosen]
        return self._unpacked(self.store.read([self.keys[number] for number in numbers]))

    def _unpacked(self, kept: Array) -> npt.NDArray[np.floating]:
        return unpack_signs(kept, self.width) if self.store.spec.dtype == SIGN2 else kept


def feature_spec(backbone: Backbone, taps: Sequence[str], dtype: str = "float16") -> FeatureSpec:
    """Return what the rows of `taps` depend on. Raises UnknownNameError for an unknown tap."""
    return FeatureSpec(
        weights=backbone.weights_sha256,
        taps=backbone.check_taps(taps),
        preprocessing={
            **backbone.preprocessing,
            **backbone.engine,
            **({"views": backbone.views} if backbone.views > 1 else {}),
            **({"looks": backbone.looks} if backbone.looks else {}),
        },
        dtype=dtype,
    )


def extract(
    backbone: Backbone,
    taps: Sequence[str],
    images: Sequence[str],
    load: Load,
    settings: Settings,
    *,
    dtype: str = "float16",
    batch: int = BATCH,
    root: Path | None = None,
    spec: FeatureSpec | None = None,
    then: Then | None = None,
    cluster: Cluster | None = None,
) -> FeatureTable:
    """Return the activations of `taps` side by side for each image; what the store lacks is computed and kept.

    Args:
        backbone: frozen; moved to the device of the settings.
        taps: names.
        images: SHA-256 of each image's file.
        load: number of an image to its decoded pixels uint8 [H, W, C]; called in worker threads.
        settings: device, threads, workers, state folder.
        dtype: of the rows, one of the store's.
        batch: images that pass at once; rows are bit-identical for one batch size, close to 1e-6 for others.
        root: of the store; None: in the state folder.
        spec: what the rows depend on; None: `feature_spec` of the activations.
        then: what becomes of activations float32 [n, A] before they are kept; None: they are kept themselves.
        cluster: whose workers compute, to the same bytes; None: threads here.

    Raises:
        UnknownNameError: an unknown tap.
        InputError: a backbone without an input size.
        BadImageError: an image that cannot be decoded any more.
        StoreError: the store cannot be written.
        DeviceError: cuda is asked for and not there.
        DrillcoreError: what `cluster.dispatch` raises; what was committed stays.
    """
    if backbone.resize is None:
        raise InputError(f"{backbone.name} has no input size; give it one to extract one row per image")
    spec = spec or feature_spec(backbone, taps, dtype)
    store = FeatureStore(root, spec) if root else FeatureStore.of(settings, spec)
    keys = spec.keys(images)
    extracted = forwarded = 0
    if store.missing(keys).any():
        with StoreWriter(store) as writer:
            todo = _first_of_each(keys, store.missing(keys))  # again: another writer may have been at it
            writer.shard_images = max(batch, math.ceil(len(todo) / _COMMITS))
            parts = [todo[start : start + batch] for start in range(0, len(todo), batch)]
            work = _Batches(backbone, spec.taps, load, batch, then)
            with (
                closing(computed(work, parts, settings, cluster, beside_gpu=settings.decode_workers)) as made,
                progress("features", len(todo)) as advance,
            ):
                for part, rows in zip(parts, made, strict=True):
                    writer.add([keys[row] for row in part], rows)
                    advance(len(part))
            extracted, forwarded = len(todo), len(parts) * batch
    width = backbone.flat_width(taps)
    if then is not None:
        width = then(np.zeros((1, width), np.float32)).shape[1]
    return FeatureTable(store, keys, extracted, forwarded, width)


def _first_of_each(keys: Sequence[str], missing: npt.NDArray[np.bool_]) -> list[int]:
    """Return the row numbers of missing keys, one for each key, in their order."""
    found = {key: row for row, key in reversed(list(enumerate(keys))) if missing[row]}
    return sorted(found.values())


@dataclass
class _Batches(Work[Sequence[int], Array]):
    """Rows of batches of images, given by their numbers; float32 [n, D]."""

    backbone: Backbone
    taps: tuple[str, ...]
    load: Load
    batch: int
    then: Then | None

    @property
    def network(self) -> Backbone:
        """The backbone."""
        return self.backbone

    @contextmanager
    def opened(self, device: torch.device) -> Iterator[None]:
        """Bring the backbone to a device; a GPU takes one batch at a time, while others are prepared."""
        self.backbone.to(device)
        self._by = self.backbone.compiled(self.taps)
        self._turn: AbstractContextManager[object] = nullcontext() if device.type == "cpu" else Lock()
        yield

    def first(self, part: Sequence[int]) -> int:
        """Return the number of the first image."""
        return part[0]

    def __call__(self, part: Sequence[int]) -> Array:
        """Return the rows of a batch, which is filled up with zeros before it is computed."""
        images = prepared(self.backbone, self.load, part)
        if len(part) < self.batch:
            empty = np.zeros((self.batch - len(part), *images.shape[1:]), np.float32)
            images = np.concatenate([images, empty])
        with self._turn:
            found = self.backbone.rows(torch.from_numpy(images).to(self.backbone.device), self.taps, self._by)
            rows = found[: len(part)].cpu().numpy()
        return rows if self.then is None else np.asarray(self.then(rows), np.float32)
