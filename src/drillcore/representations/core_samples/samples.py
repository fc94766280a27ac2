"""Core samples of many images: n pixels of each view, drilled once and kept, or a random subset in memory.

Paper 000, sections III and III-E (CoreSample in algorithm 1), with both of its answers to size: "saving the entire data
into the hard disk" (the feature store) and "data from a randomly sampled subset of pixels". Two tables of the store
belong together: the samples (float16 or float32 [P, D]) and their places (float32 [P, 3 + T]: row, column, weight,
targets); they are keyed by the image's and its target's digest, the view, and all that decides which pixels are read.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from drillcore.errors import DataError, InputError
from drillcore.heads.row_source import RowSource
from drillcore.representations.base import Rows
from drillcore.representations.core_samples.drilling import (
    PLACES,
    DrillItem,
    DrillSource,
    Load,
    Samples,
    Targets,
    drilled,
)
from drillcore.representations.core_samples.sampling import HARD, SamplingSpec
from drillcore.representations.core_samples.views import ViewSpec, view_of
from drillcore.representations.store_rows import StoreRows
from drillcore.settings import Settings
from drillcore.store import FeatureSpec, FeatureStore, StoreWriter

if TYPE_CHECKING:
    from pathlib import Path

    from drillcore.cluster.address import Cluster
    from drillcore.representations.core_samples.core import CoreNetwork

STORE, SUBSET = "store", "subset"
_COMMITS = 100  # shards of a cold extraction, about: what a kill costs
_SHARD_BYTES = (16 * 2**20, 128 * 2**20)  # least and most; fewer and larger ones are faster to read at random


@dataclass(frozen=True, kw_only=True)
class CoreSamples(Rows):
    """Core samples, one image's view after the other, ascending by pixel within.

    Attributes:
        rows: [N, D], a source of rows.
        targets: labels uint8 [N], or values float32 [N, D'].
        weights: pixels that each sample stands for, float32 [N].
        images: number of the image each sample is of, int64 [N]; groups are `np.asarray(groups)[images]`.
        views: number of its view, int64 [N]; 0 is the image itself.
        ys: rows of the pixels in their view, int64 [N].
        xs: columns, int64 [N].
        extracted: views that passed the backbone for this.
    """

    weights: npt.NDArray[np.float32]
    views: npt.NDArray[np.int64]
    ys: npt.NDArray[np.int64]
    xs: npt.NDArray[np.int64]


def sample_spec(
    core: CoreNetwork, targets: Targets, sampling: SamplingSpec, views: ViewSpec, dtype: str = "float16"
) -> FeatureSpec:
    """Return what samples depend on beside image, target and view; more views leave it as it is."""
    varied = {name: value for name, value in views.to_dict().items() if name != "count"}
    what = {"classes": targets.classes, "rule": targets.rule, "hard": targets.hard_digest}
    return FeatureSpec(
        weights=core.backbone.weights_sha256,
        taps=core.taps,
        preprocessing={**core.backbone.preprocessing, **core.backbone.engine, "resize": None},
        dtype=dtype,
        sampling={"core": core.to_dict(), "pixels": sampling.to_dict(), "views": varied, "targets": what},
    )


def extract(
    core: CoreNetwork,
    images: Sequence[str],
    load: Load,
    targets: Targets,
    settings: Settings,
    *,
    sampling: SamplingSpec | None = None,
    views: ViewSpec | None = None,
    dtype: str = "float16",
    storage: str = STORE,
    max_rows: int = 1_000_000,
    file: Path | None = None,
    root: Path | None = None,
    cluster: Cluster | None = None,
) -> CoreSamples:
    """Return the core samples of images; what the store lacks is computed and kept, a view at a time.

    Args:
        core: frozen; moved to the device of the settings.
        images: SHA-256 of each image's file.
        load: number of an image to its decoded pixels uint8 [H, W, C]; called in worker threads.
        targets: of the same images.
        settings: device, threads, workers, state folder.
        sampling: which pixels; None: the default of `SamplingSpec`.
        views: of each image; None: the image itself.
        dtype: of the rows, float16 or float32.
        storage: "store": all samples in the feature store, read from there; "subset": a random part, the same number of
            each view, kept in memory and nowhere else.
        max_rows: of a subset; its memory is max_rows * width * 2 bytes in float16.
        file: a subset's rows are a memory-mapped .npy file there instead; it is the caller's to remove.
        root: of the store; None: in the state folder.
        cluster: whose workers drill, to the same bytes; None: threads here.

    Raises:
        InputError: numbers that do not fit, an unknown storage, a sampling without what it looks at.
        DataError: labels of another size than their image, values that are not finite.
        BadImageError: an image that cannot be decoded any more.
        StoreError: the store cannot be written.
        DeviceError: cuda is asked for and not there.
    """
    sampling, views = sampling or SamplingSpec(), views or ViewSpec()
    if len(targets.digests) != len(images):
        raise InputError(f"{len(images)} images came with the targets of {len(targets.digests)}")
    if (sampling.method == HARD) != (targets.hard is not None):
        raise InputError(f"the sampling {HARD!r} and maps of hard pixels belong together; give both or neither")
    source = DrillSource(core, load, targets, sampling, dtype)
    # The image's digest leads, as in every key; the rest is what else tells two sets of samples of it apart.
    items = [
        DrillItem(number, view_of(views, digest, view), f"{digest}|{targets.digests[number]}|{view}")
        for number, digest in enumerate(images)
        for view in range(views.count)
    ]
    if storage == STORE:
        spec = sample_spec(core, targets, sampling, views, dtype)
        return _stored(source, items, spec, settings, root, cluster)
    if storage == SUBSET:
        return _subset(source, items, settings, max_rows, file, cluster)
    raise InputError(f"storage {storage!r} is not known; allowed: {STORE}, {SUBSET}")


def _stored(
    source: DrillSource,
    items: Sequence[DrillItem],
    spec: FeatureSpec,
    settings: Settings,
    root: Path | None,
    cluster: Cluster | None,
) -> CoreSamples:
    folder = root or settings.state / "features"
    beside = dataclasses.replace(spec, dtype="float32", sampling={**(spec.sampling or {}), "what": "places"})
    samples, places = FeatureStore(folder, spec), FeatureStore(folder, beside)
    names = [item.name for item in items]
    keys = (spec.keys(names), beside.keys(names))

    def missing() -> npt.NDArray[np.bool_]:
        return samples.missing(keys[0]) | places.missing(keys[1])

    extracted = 0
    if missing().any():
        with StoreWriter(samples) as first, StoreWriter(places) as second:
            absent = missing()  # again: another writer may have been at it
            unique = {keys[0][number]: number for number in reversed(range(len(items))) if absent[number]}
            todo = sorted(unique.values())
            row_bytes = source.core.width * np.dtype(spec.dtype).itemsize
            wanted = len(todo) * source.sampling.pixels * row_bytes // _COMMITS
            first.shard_bytes = min(_SHARD_BYTES[1], max(_SHARD_BYTES[0], wanted))
            with contextlib.closing(drilled(source, [items[number] for number in todo], settings, cluster)) as made:
                for number, (rows, placed) in zip(todo, made, strict=True):
                    count = np.array([len(rows)])
                    second.add([keys[1][number]], placed, count)
                    first.add([keys[0][number]], rows, count)
                    if not first.pending:  # just committed: what is of no use alone goes with it
                        second.commit()
            extracted = len(todo)
    counts = samples.counts(keys[0])
    table = places.read(keys[1])
    if len(table) != int(counts.sum()):
        raise DataError("the samples in the feature store and their places differ in number; remove both tables")
    return _assembled(source, items, StoreRows(samples, keys[0], source.core.width), table, counts, extracted)


def _subset(
    source: DrillSource,
    items: Sequence[DrillItem],
    settings: Settings,
    max_rows: int,
    file: Path | None,
    cluster: Cluster | None,
) -> CoreSamples:
    if max_rows < len(items):
        raise InputError(f"max_rows is {max_rows}, less than one for each of {len(items)} views; raise it")
    most = min(source.sampling.pixels, max_rows // max(1, len(items)))
    shape = (len(items) * most, source.core.width)
    rows: Samples = (
        np.empty(shape, source.dtype) if file is None else np.lib.format.open_memmap(file, "w+", source.dtype, shape)
    )
    tables, done = [], 0
    for part, places in drilled(dataclasses.replace(source, most=most), items, settings, cluster):
        rows[done : done + len(part)] = part
        tables.append(places)
        done += len(part)
    counts = np.array([len(table) for table in tables], np.int64)
    table = np.concatenate(tables) if tables else np.empty((0, PLACES), np.float32)
    return _assembled(source, items, rows[:done], table, counts, len(items))


def _assembled(
    source: DrillSource,
    items: Sequence[DrillItem],
    rows: RowSource,
    table: Samples,
    counts: npt.NDArray[np.int64],
    extracted: int,
) -> CoreSamples:
    found = table[:, PLACES:]
    return CoreSamples(
        rows=rows,
        targets=found[:, 0].astype(np.uint8) if source.targets.classes else found.astype(np.float32),
        weights=table[:, 2].astype(np.float32),
        images=np.repeat(np.array([item.image for item in items], np.int64), counts),
        views=np.repeat(np.array([item.view.number for item in items], np.int64), counts),
        ys=table[:, 0].astype(np.int64),
        xs=table[:, 1].astype(np.int64),
        extracted=extracted,
    )
