"""Activations of a frozen backbone as a table, one row per image; only what the store does not have is computed.

Every batch has the same number of images, the last one filled up with zeros: libraries choose their algorithm by the
size of the batch, and so a row would differ in its last bits with the company it was computed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits

from drillcore.arrays import Array
from drillcore.backbones.base import Backbone
from drillcore.devices import exact_computing, resolve_device
from drillcore.errors import InputError
from drillcore.progress import progress
from drillcore.representations.feeding import Load, prepared_batches
from drillcore.representations.store_rows import StoreRows
from drillcore.settings import Settings
from drillcore.store import FeatureSpec, FeatureStore, StoreWriter
from drillcore.store.signs import unpack_signs
from drillcore.store.spec import SIGN2

if TYPE_CHECKING:
    from pathlib import Path

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

    Raises:
        UnknownNameError: an unknown tap.
        InputError: a backbone without an input size.
        BadImageError: an image that cannot be decoded any more.
        StoreError: the store cannot be written.
        DeviceError: cuda is asked for and not there.
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
            forwarded = _fill(
                writer, backbone, spec.taps, [keys[row] for row in todo], todo, load, settings, batch, then
            )
            extracted = len(todo)
    width = backbone.flat_width(taps)
    if then is not None:
        width = then(np.zeros((1, width), np.float32)).shape[1]
    return FeatureTable(store, keys, extracted, forwarded, width)


def _first_of_each(keys: Sequence[str], missing: npt.NDArray[np.bool_]) -> list[int]:
    """Return the row numbers of missing keys, one for each key, in their order."""
    found = {key: row for row, key in reversed(list(enumerate(keys))) if missing[row]}
    return sorted(found.values())


def _fill(
    writer: StoreWriter,
    backbone: Backbone,
    taps: Sequence[str],
    keys: Sequence[str],
    todo: Sequence[int],
    load: Load,
    settings: Settings,
    batch: int,
    then: Then | None,
) -> int:
    """Compute the rows `todo` and add them under `keys`; return the images forwarded, filling included."""
    device = resolve_device(settings.device)
    backbone.to(device)
    by = backbone.compiled(taps)

    def forward(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        count = len(images)
        if count < batch:
            images = np.concatenate([images, np.zeros((batch - count, *images.shape[1:]), np.float32)])
        rows: npt.NDArray[np.float32] = (
            backbone.rows(torch.from_numpy(images).to(device), taps, by)[:count].cpu().numpy()
        )
        return rows if then is None else np.asarray(then(rows), np.float32)

    done = forwarded = 0
    # On a CPU whole batches run side by side, each decoded, prepared and computed by one thread: the threads of one
    # network wait for each other at every layer, and spin while a decoder has their core.
    on_cpu = device.type == "cpu"
    threads = 1 if on_cpu else settings.cpu_threads
    batches = prepared_batches(
        backbone,
        load,
        todo,
        batch=batch,
        workers=settings.cpu_threads if on_cpu else settings.decode_workers,
        then=forward if on_cpu else None,
        initializer=(lambda: torch.set_num_threads(1)) if on_cpu else None,
    )
    # The resize is a matrix product: with threads of its own in every worker it takes half as long again.
    with (
        exact_computing(threads),
        threadpool_limits(1 if on_cpu else None, "blas"),
        progress("features", len(todo)) as advance,
    ):
        for ready in batches:
            rows = ready if on_cpu else forward(ready)
            writer.add(keys[done : done + len(rows)], rows)
            done, forwarded = done + len(rows), forwarded + batch
            advance(len(rows))
    return forwarded
