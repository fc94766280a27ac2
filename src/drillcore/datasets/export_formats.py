"""A data set out of here, in the form that other tools read: folders of classes or masks, a CSV file, COCO's JSON.

Every form names the splits, so that whoever reads it learns from the same images and judges by the same ones. Images
keep their bytes and names; those that belong to no split are left out.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from drillcore.datasets.base import TEST, TRAIN, VAL
from drillcore.datasets.manifest import Manifest
from drillcore.datasets.targets import label_reader
from drillcore.errors import DataError, InputError
from drillcore.files import atomic_folder
from drillcore.json_types import Json
from drillcore.progress import progress
from drillcore.settings import Settings

BACKGROUND = "background"
Row = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written: images by split, and how many belong to none and were left out."""

    dataset: str
    form: str
    folder: str
    splits: Mapping[str, int]
    left_out: int

    def to_dict(self) -> Json:
        """Return plain values for JSON."""
        return asdict(self)


def export_dataset(settings: Settings, manifest: Manifest, folder: Path, form: str = "") -> Exported:
    """Write a data set for other tools: whole, or not at all.

    Args:
        settings: the largest image.
        manifest: the data set as it was last found good.
        folder: made; it must not be there, or be empty.
        form: "classes" or "csv" for labels of images, "masks" or "coco" for those of pixels; "": the first that fits.

    Raises:
        InputError: the form does not fit the data set, or something is in the folder already.
        DataError: nothing can be written there.
    """
    dense = manifest.task == "dense"
    allowed = ("masks", "coco") if dense else ("csv",) if manifest.task == "multilabel" else ("classes", "csv")
    form = form or allowed[0]
    if form not in allowed:
        labels = "pixels" if dense else "images"
        raise InputError(
            f"{manifest.dataset} has labels of {labels}: it is exported as {' or '.join(allowed)}, not {form}"
        )
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; name a new folder")
    counts = manifest.table["split"].value_counts()
    splits = {name: int(counts.get(name, 0)) for name in (TRAIN, VAL, TEST)}
    rows: list[Row] = [{str(key): value for key, value in row.items()} for row in manifest.rows().to_dict("records")]
    try:
        with atomic_folder(folder) as partial, progress("exporting", len(rows)) as advance:
            _FORMS[form](settings, manifest, rows, partial, advance)
    except OSError as error:
        raise DataError(f"nothing was exported to {folder}: {error.strerror or error}") from None
    left = len(manifest.table) - len(rows)
    return Exported(dataset=manifest.dataset, form=form, folder=str(folder), splits=splits, left_out=left)


Writer = Callable[[Settings, Manifest, list[Row], Path, Callable[[int], object]], None]


def _classes(_: Settings, manifest: Manifest, rows: list[Row], folder: Path, advance: Callable[[int], object]) -> None:
    for row in rows:
        _copy(manifest, row, folder / str(row["split"]) / str(row["label"]))
        advance(1)


def _csv(_: Settings, manifest: Manifest, rows: list[Row], folder: Path, advance: Callable[[int], object]) -> None:
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("path", "label", "split", "group"))
        for row in rows:
            place = _copy(manifest, row, folder / "images" / PurePosixPath(str(row["path"])).parent)
            labels = row.get("labels")
            several = labels is not None and not isinstance(labels, str | float)
            label = "|".join(str(name) for name in labels) if several else row["label"]  # type: ignore[attr-defined]
            writer.writerow((place.relative_to(folder).as_posix(), label, row["split"], row["group"] or ""))
            advance(1)


def _masks(
    settings: Settings, manifest: Manifest, rows: list[Row], folder: Path, advance: Callable[[int], object]
) -> None:
    read = label_reader(settings, manifest)
    colours = manifest.colours or tuple((number, number, number) for number in range(len(manifest.classes)))
    lines = [f"{name} {red} {green} {blue}" for name, (red, green, blue) in zip(manifest.classes, colours, strict=True)]
    (folder / "classes.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for row in rows:
        root = folder / str(row["split"])
        place = _copy(manifest, row, root / "images")
        target = root / "masks" / f"{place.stem}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        labels = read(row)
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(colours)] = colours
        palette[len(colours) :] = 255
        image = Image.fromarray(np.where(labels < len(colours), labels, 255).astype(np.uint8))
        image.putpalette(palette.reshape(-1).tolist())
        image.save(target)
        advance(1)


def _coco(
    settings: Settings, manifest: Manifest, rows: list[Row], folder: Path, advance: Callable[[int], object]
) -> None:
    read = label_reader(settings, manifest)
    names = [name for name in manifest.classes if name != BACKGROUND]  # the rest of an image, in this form
    content = {
        split: {"images": [], "annotations": [], "categories": _categories(names)}
        for split in sorted({str(row["split"]) for row in rows})
    }
    for number, row in enumerate(rows, 1):
        split = str(row["split"])
        place, labels = _copy(manifest, row, folder / split), read(row)
        height, width = labels.shape
        found = {"id": number, "file_name": place.name, "height": height, "width": width}
        content[split]["images"].append(found)
        for index, name in enumerate(manifest.classes):
            if name != BACKGROUND and (mask := labels == index).any():
                known = content[split]["annotations"]
                known.append({"id": len(known) + 1, "image_id": number, **_region(mask, 1 + names.index(name))})
        advance(1)
    (folder / "annotations").mkdir()
    for split, told in content.items():
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(told), encoding="utf-8")


def _categories(names: list[str]) -> list[Json]:
    return [{"id": number, "name": name} for number, name in enumerate(names, 1)]


def _region(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], category: int) -> Json:
    """Return all pixels of one class as one crowd, in run lengths column by column."""
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate(([0], edges, [flat.size]))).tolist()
    rows, columns = np.nonzero(mask)
    x, y = int(columns.min()), int(rows.min())
    return {
        "category_id": category,
        "iscrowd": 1,
        "area": int(mask.sum()),
        "bbox": [x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y],
        "segmentation": {"counts": [0, *runs] if flat[0] else runs, "size": list(mask.shape)},
    }


def _copy(manifest: Manifest, row: Row, folder: Path) -> Path:
    """Copy an image; where another one of that name is there already, its digest tells them apart."""
    source = manifest.path_of(str(row["path"]))
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / source.name
    if place.exists():
        place = folder / f"{source.stem}-{str(row['sha256'])[:8]}{source.suffix}"
    shutil.copyfile(source, place)
    return place


_FORMS: Mapping[str, Writer] = {"classes": _classes, "csv": _csv, "masks": _masks, "coco": _coco}
