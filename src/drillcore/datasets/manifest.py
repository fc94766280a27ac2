"""The manifest: every image of a data set with its digest, size, split and label; what is bad stands in the quarantine.

.drillcore/manifests/<dataset>/<digest>.parquet             the rows, sorted by path
.drillcore/manifests/<dataset>/<digest>.quarantine.parquet  path, sha256, reason, detail
.drillcore/manifests/<dataset>/current.json                 the last one that was found good
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drillcore.datasets.base import TEST, TRAIN, VAL, DatasetLayout
from drillcore.datasets.catalogue import get_layout
from drillcore.datasets.description import read_description
from drillcore.datasets.left_out import read_left_out
from drillcore.datasets.manifest_table import (
    QUARANTINE,
    ROWS,
    check_rows,
    data_digest,
    read_table,
    to_frame,
    write_table,
)
from drillcore.datasets.probe import Facts, probe_folder
from drillcore.datasets.set_aside import Row, sort_out, unopened
from drillcore.datasets.splits import Assignment, SplitRow, assign_splits, carve_val
from drillcore.errors import DataError, IntegrityError
from drillcore.json_types import Json
from drillcore.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A data set as it is at one moment.

    Attributes:
        dataset: its name.
        lineage: "sample" or "import-<n>".
        layout: name of its layout.
        task: "classification", "multilabel", "dense" or "segments".
        classes: class names, in the order of a model's outputs.
        colours: one RGB triple per class, or None.
        channels: 1 or 3, what its images are decoded to.
        split_seed: the seed of its splits.
        folder: where its images are.
        table: the rows (CONTRACTS: MANIFEST), sorted by path.
        quarantine: path, sha256, reason, detail of what was set aside, sorted by path.
        digest: SHA-256 of the rows.
        train_only: classes with fewer than three groups.
        bridging: paths of images that belong to two splits and are in none.
        values: by path, the grey levels an image uses and what its stored values look like that they are not read as;
            empty for a manifest that was read back.
        painted: of a dense data set, how many training images have pixels of each class; empty where not known.
    """

    dataset: str
    lineage: str
    layout: str
    task: str
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...] | None
    channels: int
    split_seed: int
    folder: Path
    table: pd.DataFrame = field(repr=False)
    quarantine: pd.DataFrame = field(repr=False)
    digest: str
    train_only: tuple[str, ...] = ()
    bridging: tuple[str, ...] = ()
    values: Mapping[str, tuple[int, str]] = field(default_factory=dict, repr=False, compare=False)
    painted: Mapping[str, int] = field(default_factory=dict)

    def rows(self, split: str | Sequence[str] | None = None) -> pd.DataFrame:
        """Return the rows of one split, of several, or those of train, val and test together.

        Raises:
            DataError: there is no such row.
        """
        wanted = [TRAIN, VAL, TEST] if split is None else [split] if isinstance(split, str) else list(split)
        found = self.table[self.table["split"].isin(wanted)].reset_index(drop=True)
        if found.empty:
            counts = ", ".join(f"{name} {count}" for name, count in self.table["split"].value_counts().items())
            raise DataError(f"data set {self.dataset} has no images in split {'/'.join(wanted)}; it has: {counts}")
        return found

    def path_of(self, row: Any) -> Path:
        """Return where a row's image is; `row` is a path under the data set's folder, or has one as `path`."""
        return self.folder / (row if isinstance(row, str) else row["path"])

    def target_of(self, row: Any) -> Path:
        """Return where a row's annotation is. Raises DataError: it has none."""
        if not row["target_path"]:
            raise DataError(f"{row['path']} of data set {self.dataset} has no annotation image")
        found: Path = self.folder / row["target_path"]
        return found

    def label_indices(self, rows: pd.DataFrame) -> NDArray[np.int64]:
        """Return the rows' classes as indices into `classes`, int64[N]."""
        index = {name: number for number, name in enumerate(self.classes)}
        return np.array([index[label] for label in rows["label"]], dtype=np.int64)

    def label_matrix(self, rows: pd.DataFrame) -> NDArray[np.uint8]:
        """Return which classes rows of several labels have, 0 and 1, uint8 [N, K]."""
        index = {name: number for number, name in enumerate(self.classes)}
        found = np.zeros((len(rows), len(self.classes)), np.uint8)
        for row, labels in enumerate(rows["labels"]):
            found[row, [index[name] for name in labels]] = 1
        return found

    def about(self) -> Json:
        """Return what the Parquet file says about itself."""
        names = ("dataset", "lineage", "layout", "task", "channels", "split_seed", "digest")
        lists = ("classes", "train_only", "bridging")
        colours = None if self.colours is None else [list(colour) for colour in self.colours]
        return {
            "schema": 1,
            "colours": colours,
            **{name: getattr(self, name) for name in names},
            **{name: list(getattr(self, name)) for name in lists},
            "painted": dict(self.painted),
        }


def build_manifest(
    settings: Settings, dataset: str, previous: Manifest | None = None, *, folder: Path | None = None
) -> Manifest:
    """Look at every image of a data set and return its manifest, which is not written yet.

    Bad images are set aside with their reason; so are all copies of an image that has two labels, since none of them
    can be trusted.

    Args:
        settings: where data and state are.
        dataset: the data set's name.
        previous: the last manifest; its splits are kept if it is of the same lineage.
        folder: where the images are looked at; None: under `data/`, where the manifest says that they are.

    Raises:
        DataError: there is no such data set, its description is malformed, or no image of it is good.
        LayoutError: the folder is not laid out as its description says.
    """
    folder = folder or settings.data / dataset
    if not folder.is_dir():
        known = sorted(path.name for path in settings.data.iterdir() if path.is_dir()) if settings.data.is_dir() else []
        raise DataError(
            f"no data set {dataset!r} under {settings.data}; there: {', '.join(known) or 'none'}; "
            "run `drillcore data sample` or `drillcore data import`"
        )
    description = read_description(folder)
    layout = get_layout(description.layout)
    found = layout.items(folder)
    items = {item.source.relative_to(folder).as_posix(): item for item in found if item.fault is None}
    targets = sorted({_under(folder, item.target) for item in items.values() if item.target is not None})
    facts = probe_folder(settings, layout, folder, sorted(items), targets)
    good, bad = sort_out(layout, folder, items, facts)
    bad += [unopened(item.path, *item.fault) for item in found if item.fault is not None]
    bad += [unopened(**row) for row in read_left_out(folder)]
    if not good:
        first = f"{bad[0]['path']}: {bad[0]['reason']}, {bad[0]['detail']}" if bad else "it is empty"
        raise DataError(f"all {len(bad)} images of data set {dataset} were set aside, the first {first}")
    named = tuple(sorted({name for row in good for name in _names(row)}))
    values = _values(good, facts)
    given = {name: item.split for name, item in items.items() if item.split is not None}
    seen = {} if layout.task != "dense" else {row.path: facts[row.target_path or ""].labels or [] for row in good}
    del found, items, facts  # of a million images: what the rows hold is let go of before more is made of them
    carried = previous.table if previous is not None and previous.lineage == description.lineage else None
    split = _split(given, good, carried, layout, description.split_seed)
    for row, name in zip(good, split.splits, strict=True):
        row.split = name
    channels = layout.channels or max(row.channels for row in good)
    table = to_frame(good, ROWS)
    return Manifest(
        dataset=dataset,
        lineage=description.lineage,
        layout=layout.name,
        task=layout.task,
        classes=named if layout.classes is None else layout.classes,
        colours=layout.colours,
        channels=channels,
        split_seed=description.split_seed,
        folder=settings.data / dataset,
        table=table,
        quarantine=to_frame(bad, QUARANTINE),
        digest=data_digest(table),
        train_only=tuple(split.train_only),
        bridging=tuple(split.bridging),
        values=values,
        painted=_painted(layout, good, seen),
    )


def _values(good: Sequence[Row], facts: Mapping[str, Facts]) -> dict[str, tuple[int, str]]:
    shared: dict[tuple[int, str], tuple[int, str]] = {}
    found = {}
    for row in good:
        value = facts[row.path].levels or 0, facts[row.path].looks_like or ""
        found[row.path] = shared.setdefault(value, value)
    return found


def _names(row: Row) -> list[str]:
    return [str(row.label)] if row.labels is None else row.labels


def _painted(layout: DatasetLayout, good: Sequence[Row], seen: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Return in how many training images of a dense data set each class is; `seen` has the labels of each image."""
    if not seen:
        return {}
    counts = Counter(label for row in good if row.split == TRAIN for label in seen[row.path])
    return {name: counts[index] for index, name in enumerate(layout.classes or ())}


def write_manifest(settings: Settings, manifest: Manifest) -> Path:
    """Write manifest and quarantine, each atomically; return the manifest's path. Raises OSError."""
    path = _path(settings, manifest.dataset, manifest.digest)
    write_table(_quarantine_path(path), manifest.quarantine, QUARANTINE, {"digest": manifest.digest})
    write_table(path, manifest.table, ROWS, manifest.about())
    return path


def read_manifest(settings: Settings, dataset: str, digest: str, *, quarantine: bool = True) -> Manifest:
    """Read a manifest back, without its quarantine where that is not asked for.

    Raises:
        DataError: it is missing or malformed.
        IntegrityError: its rows do not have the digest in its name.
    """
    if not _DIGEST.fullmatch(digest):
        raise DataError(f"{digest[:80]!r} is no digest of a manifest: 64 hexadecimal digits are expected")
    path = _path(settings, dataset, digest)
    table, about = read_table(path, ROWS)
    check_rows(table, path)
    if data_digest(table) != digest or about.get("digest") != digest or about.get("dataset") != dataset:
        raise IntegrityError(f"{path} is not what its name says; build it again: drillcore data check {dataset}")
    bad = read_table(_quarantine_path(path), QUARANTINE)[0] if quarantine else to_frame([], QUARANTINE)
    try:
        return Manifest(
            dataset=dataset,
            lineage=about["lineage"],
            layout=about["layout"],
            task=about["task"],
            channels=about["channels"],
            split_seed=about["split_seed"],
            classes=tuple(about["classes"]),
            train_only=tuple(about["train_only"]),
            bridging=tuple(about["bridging"]),
            painted=about.get("painted", {}),  # earlier versions of drillcore did not count them
            colours=None if about["colours"] is None else tuple((r, g, b) for r, g, b in about["colours"]),
            folder=settings.data / dataset,
            table=table,
            quarantine=bad,
            digest=digest,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} says too little about itself ({error}); build it again") from None


def _path(settings: Settings, dataset: str, digest: str) -> Path:
    return settings.manifests / dataset / f"{digest}.parquet"


def _quarantine_path(path: Path) -> Path:
    return path.with_suffix(".quarantine.parquet")


def _under(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _split(
    given: Mapping[str, str], good: Sequence[Row], carried: pd.DataFrame | None, layout: DatasetLayout, seed: int
) -> Assignment:
    """Return the splits of good rows: those given by path, those that the last manifest had, and new ones."""
    common = Counter(name for row in good for name in row.labels or ())
    rows = [
        SplitRow(
            path=row.path,
            sha256=row.sha256,
            group=row.group,
            # Of several labels the rarest: common ones are in every split anyway.
            label=row.label or min(row.labels or ("",), key=lambda name: (common[name], name)),
            split=given.get(row.path),
        )
        for row in good
    ]
    if layout.carves_val:
        rows = carve_val(rows, layout.fractions, seed)
    previous = []
    if carried is not None:
        columns = (carried[name].tolist() for name in ("path", "sha256", "group", "split"))
        previous = [  # classes decide on new rows only
            SplitRow(path=path, sha256=digest, group=group, label="", split=split)
            for path, digest, group, split in zip(*columns, strict=True)
        ]
    return assign_splits(rows, previous, fractions=layout.fractions, seed=seed)
