"""The rows of a finished output once more, in the form of other tools: CSV, JSON Lines, COCO, GeoJSON.

They are made of the parts and the masks, in the order of the inputs, a few rows at a time, so that equal outputs give
equal files; the receipt has their digests.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from drillcore.digests import sha256_file
from drillcore.errors import DrillcoreError, InputError
from drillcore.files import atomic_path
from drillcore.json_types import Json
from drillcore.remote import AnyPath, parquet_source
from drillcore.runtime.batch.receipt import ANSWERS
from drillcore.runtime.dense.outlines import Region, outlines, run_lengths
from drillcore.runtime.images.decode import decode_mask_bytes
from drillcore.runtime.images.masks import class_colours
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.tasks import DENSE_LABELS
from drillcore_serving.batch.writing.dense_files import DenseOptions
from drillcore_serving.batch.writing.geotiff import ScenePlace, decode_label, read_place, require_rasterio

if TYPE_CHECKING:
    from drillcore.runtime.images.masks import Colours

_ROWS = 1024  # at a time
_OUTLINED = ("coco", "geojson")


@dataclass(frozen=True, slots=True)
class AnswerFiles:
    """Which files are wanted, and of which model the answers are.

    Attributes:
        forms: names in `ANSWERS`.
        metadata: of the model.
    """

    forms: frozenset[str]
    metadata: ModelMetadata

    def check(self, options: DenseOptions) -> None:
        """Raise InputError where a form does not fit the model's task or its masks, or needs what is not installed."""
        task = self.metadata.task
        for form in _OUTLINED:
            if form in self.forms and task != DENSE_LABELS:
                raise InputError(f"{form} is outlines of labelled pixels; this model's task is {task!r}: csv, jsonl")
        if "geojson" in self.forms:
            if options.format != "geotiff":
                raise InputError("geojson is made of masks that are geotiff: say format='geotiff'")
            require_rasterio()

    def write(self, output: AnyPath, parts: Sequence[str]) -> dict[str, str]:
        """Write them from the parts, remove what was not asked for, and return the SHA-256 of each by its name."""
        found: dict[str, str] = {}
        for form, name in ANSWERS.items():
            if form not in self.forms:
                (output / name).unlink(missing_ok=True)
                continue
            with atomic_path(output / name) as partial, partial.open("wb") as stream:
                for text in getattr(self, f"_{form}")(output, parts):
                    stream.write(text.encode())
            found[name] = sha256_file(output / name)
        return found

    def _csv(self, output: AnyPath, parts: Sequence[str]) -> Iterator[str]:
        """Lists, as those of the five best labels, are JSON in their cell."""
        for part in parts[:1]:
            with pq.ParquetFile(parquet_source(output / part)) as file:
                yield _line(file.schema_arrow.names)
        for row in _rows(output, parts):
            yield _line([_json(value) if isinstance(value, list) else value for value in row.values()])

    def _jsonl(self, output: AnyPath, parts: Sequence[str]) -> Iterator[str]:
        for row in _rows(output, parts):
            yield f"{_json(row)}\n"

    def _coco(self, output: AnyPath, parts: Sequence[str]) -> Iterator[str]:
        """Categories are numbered from 1, in the model's order; an image's id is its place in the input, from 1."""
        classes = [{"id": index + 1, "name": name} for index, name in enumerate(self.metadata.classes)]
        yield f'{{"info": {_json({"description": self.metadata.model})}, "licenses": [], '
        yield f'"categories": {_json(classes)},\n"images": ['
        for number, row in enumerate(_rows(output, parts)):
            size = {"width": row["width"], "height": row["height"]}
            image = {"id": row["input_index"] + 1, "file_name": row["path"], **size}
            yield f"{',' if number else ''}\n{_json(image)}"
        yield '],\n"annotations": ['
        count = 0
        for row in _rows(output, parts):
            label = _label(output, row)
            for region in outlines(label, self._shown()):
                count += 1
                one = {"id": count, "image_id": row["input_index"] + 1, **_annotation(label, region)}
                yield f"{',' if count > 1 else ''}\n{_json(one)}"
        yield "]}\n"

    def _geojson(self, output: AnyPath, parts: Sequence[str]) -> Iterator[str]:
        """Longitude and latitude (RFC 7946); an image that lies nowhere is one feature without a geometry."""
        yield '{"type": "FeatureCollection", "features": ['
        first = True
        for row in _rows(output, parts):
            data = (output / row["mask"]).read_bytes()
            label, place = decode_label(data), read_place(data)
            for geometry, region in self._features(label, place):
                about: Json = {"path": row["path"], "sha256": row["sha256"], "model": row["model"]}
                about["version"] = row["version"]
                if region is not None:
                    about |= {"label": self.metadata.classes[region.label], "pixels": region.area}
                feature = {"type": "Feature", "geometry": geometry, "properties": about}
                yield f"{'' if first else ','}\n{_json(feature)}"
                first = False
        yield "]}\n"

    def _features(
        self, label: npt.NDArray[np.uint8], place: ScenePlace | None
    ) -> Iterator[tuple[Json | None, Region | None]]:
        if place is None:
            yield None, None
            return
        for region in outlines(label, self._shown()):
            rings = [place.to_degrees(np.concatenate([ring, ring[:1]])) for ring in region.rings]
            # RFC 7946: the outer ring anticlockwise, whichever way the scene was turned.
            rings = [ring if (_area(ring) > 0) == (number == 0) else ring[::-1] for number, ring in enumerate(rings)]
            yield {"type": "Polygon", "coordinates": [ring.round(8).tolist() for ring in rings]}, region

    def _shown(self) -> list[int]:
        """Return the classes that have outlines: as in overlays, all but those whose colour is black."""
        colours: Colours = class_colours(self.metadata)
        return [index for index, colour in enumerate(colours) if any(colour)]


def _rows(output: AnyPath, parts: Sequence[str]) -> Iterator[Json]:
    for part in parts:
        with pq.ParquetFile(parquet_source(output / part)) as file:
            for batch in file.iter_batches(_ROWS):
                yield from batch.to_pylist()


def _label(output: AnyPath, row: Json) -> npt.NDArray[np.uint8]:
    data = (output / row["mask"]).read_bytes()
    if row["mask"].endswith(".tif"):
        return decode_label(data)
    return decode_mask_bytes(data, max_pixels=2**62, name=row["mask"]).astype(np.uint8)


def _annotation(label: npt.NDArray[np.uint8], region: Region) -> Json:
    """Return a region as COCO has it: a polygon, or runs where it has holes, which polygons cannot show."""
    x0, y0, x1, y1 = region.box
    shape: object = [region.rings[0].ravel().tolist()]
    if len(region.rings) > 1:
        inside = np.zeros(label.shape, bool)
        inside[y0:y1, x0:x1] = region.mask
        shape = {"size": list(label.shape), "counts": run_lengths(inside)}
    return {
        "category_id": region.label + 1,
        "segmentation": shape,
        "area": region.area,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "iscrowd": 0,
    }


def _area(ring: npt.NDArray[np.float64]) -> float:
    """Return twice the signed area of a closed ring, float64 [M,2]."""
    x, y = ring[:, 0], ring[:, 1]
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))


def _line(cells: Sequence[object]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(cells)
    return stream.getvalue()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    raise DrillcoreError(f"{type(value).__name__} has no place in JSON")
