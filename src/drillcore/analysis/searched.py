"""Where a search looks: the images of a model's own data set, of a folder that was scored, or of a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from drillcore.datasets.manifest import Manifest, read_manifest
from drillcore.digests import sha256_file
from drillcore.errors import DataError, InputError, ReceiptError, first_line
from drillcore.json_types import Json
from drillcore.runtime.batch.receipt import RECEIPT, damaged, read_receipt
from drillcore.runtime.images.walking import walk_images
from drillcore.runtime.model.served import ServedModel
from drillcore.runtime.segments.segmenting import Segment
from drillcore.settings import Settings

_BLOCK = 256  # rows of a part read at a time: memory does not grow with the part


@dataclass(frozen=True, slots=True)
class SearchedImage:
    """An image that may be found.

    Attributes:
        path: as it is called where it comes from.
        sha256: of its file.
        file: where it is, or was.
        stand_in: a picture of it where it is gone; None: there is none.
    """

    path: str
    sha256: str
    file: Path
    stand_in: Path | None = None


@dataclass(frozen=True, slots=True)
class Searched:
    """Where is looked.

    Attributes:
        name: in words.
        images: each content once.
        scored: the folder, where `score` wrote it.
    """

    name: str
    images: list[SearchedImage]
    scored: Path | None = None


def searched_images(
    settings: Settings, served: ServedModel, data_digest: str, *, folder: Path | None, below: Path | None
) -> Searched:
    """Return where is looked.

    Args:
        settings: where things are.
        served: the model that is asked.
        data_digest: of the rows it learned from.
        folder: what `score` wrote, or a folder of images; None: the model's own data set.
        below: the folder that paths of a scored one are relative to; None: the current one.

    Raises:
        InputError: no such folder, or no image in it.
        ReceiptError: what was scored is not what its receipt says.
        DataError: the model's data set is not on this machine.
    """
    if folder is None:
        manifest = _own_manifest(settings, served, data_digest)
        table = manifest.table
        pairs = zip(table["path"], table["sha256"], strict=True)
        found = [SearchedImage(path, sha256, manifest.path_of(path)) for path, sha256 in pairs]
        return Searched(f"data set {manifest.dataset}", _once(found, served.model))
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; one that `drillcore score` wrote, or one of images, is expected")
    if (folder / RECEIPT).is_file():
        _check_parts(folder)
        at, found = below or Path(), []
        for row in _rows(folder, ["path", "sha256", "overlay"]):
            overlay = folder / row["overlay"] if row.get("overlay") else None
            found.append(SearchedImage(row["path"], row["sha256"], at / row["path"], overlay))
        return Searched(str(folder), _once(found, str(folder)), folder)
    found = [SearchedImage(path, sha256_file(folder / path), folder / path) for path in sorted(walk_images(folder))]
    return Searched(str(folder), _once(found, str(folder)))


def _own_manifest(settings: Settings, served: ServedModel, digest: str) -> Manifest:
    """Return the list of images a model learned from. Raises DataError: it is not on this machine."""
    for path in sorted(settings.manifests.glob(f"*/{digest}.parquet")):
        return read_manifest(settings, path.parent.name, digest, quarantine=False)
    raise DataError(
        f"the list of images that {served} learned from is not on this machine; --folder names a folder to search"
    )


def check_scored_by(folder: Path, served: ServedModel) -> None:
    """Refuse a scored folder of another model, whose codes say other things. Raises InputError."""
    receipt = read_receipt(folder)
    if receipt.model_sha256 != served.sha256:
        raise InputError(
            f"{folder} was scored by {receipt.model} version {receipt.version}, not by the file of {served}: codes of "
            "two models cannot be compared; score the images again"
        )


def scored_segments(folder: Path, wanted: set[str]) -> Iterator[tuple[str, list[Segment]]]:
    """Yield the segments of the wanted images (SHA-256 of their files) as they were scored, each image once."""
    left = set(wanted)
    for row in _rows(folder, ["sha256", "segments"]):
        if row["sha256"] in left:
            left.remove(row["sha256"])
            yield row["sha256"], [Segment(one["area"], one["code"], tuple(one["box"])) for one in row["segments"]]


def _rows(folder: Path, columns: list[str]) -> Iterator[Json]:
    """Yield the rows of the parts, of the columns those that are there."""
    for part in read_receipt(folder).parts:
        try:
            with pq.ParquetFile(folder / part.name) as file:
                there = [name for name in columns if name in file.schema_arrow.names]
                for batch in file.iter_batches(_BLOCK, columns=there):
                    yield from batch.to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise ReceiptError(f"{folder / part.name} cannot be read: {first_line(error)[:120]}") from None


def _check_parts(folder: Path) -> None:
    for part in read_receipt(folder).parts:
        if damaged(folder, part):
            raise ReceiptError(f"{folder / part.name} is not what the receipt says; drillcore receipt verify {folder}")


def _once(images: list[SearchedImage], where: str) -> list[SearchedImage]:
    """Return the first image of each content. Raises InputError: there is none."""
    if not images:
        raise InputError(f"no image in {where} could be found: there is none")
    first = np.unique([image.sha256 for image in images], return_index=True)[1]
    return [images[number] for number in np.sort(first).tolist()]
