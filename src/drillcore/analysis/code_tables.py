"""What is kept of the segments of images, so that they are found again: tables of the feature store, by a model's file.

codes    a row for each segment: its code, `nearest.padded`
places   beside it its area and box, five int32
images   one row for each image: its code, the bits that most of its area has

An image is added by writing its rows; nothing is built anew. Its codes are written last: an image that has codes has
the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from types import TracebackType

import numpy as np

from drillcore.analysis.nearest import padded
from drillcore.arrays import Bytes, Ints
from drillcore.runtime.segments.segmenting import Segment
from drillcore.settings import Settings
from drillcore.store import FeatureSpec, FeatureStore
from drillcore.store.spec import BYTES
from drillcore.store.writer import StoreWriter

_TABLES = ("images", "places", "codes")  # in the order in which they are written
_PLACE_BYTES = 20


class CodeTables:
    """The tables of one model.

    Args:
        settings: where they are.
        model_sha256: of the model's file; codes of another one cannot be compared.
    """

    def __init__(self, settings: Settings, model_sha256: str) -> None:
        self.images, self.places, self.codes = (
            FeatureStore.of(settings, _spec(model_sha256, name)) for name in _TABLES
        )

    def missing(self, images: Sequence[str]) -> Ints:
        """Return the positions of images (SHA-256 of their files) that have to be added, int64 [n]."""
        stores = (self.images, self.places, self.codes)
        return np.flatnonzero(np.any([store.missing(store.spec.keys(images)) for store in stores], axis=0))

    def place(self, image: str, segment: int) -> tuple[int, tuple[int, int, int, int]]:
        """Return area and box of a segment of an image. Raises StoreError: it is not there."""
        row = self.places.read(self.places.spec.keys([image]))[segment]
        area, *box = np.frombuffer(row.tobytes(), "<i4").tolist()
        return area, (box[0], box[1], box[2], box[3])


class CodeWriter:
    """Adds images to the tables; a context manager that holds their locks.

    Args:
        tables: of a model.
        step: images that a kill may lose.

    Raises:
        StoreError: another process is at it, or the disk is full.
    """

    def __init__(self, tables: CodeTables, step: int = 256) -> None:
        self.tables, self._step, self._exit = tables, step, contextlib.ExitStack()

    def __enter__(self) -> CodeWriter:
        with contextlib.ExitStack() as entered:  # the last one entered is closed, and so written, first
            self._writers = {
                name: entered.enter_context(StoreWriter(getattr(self.tables, name))) for name in reversed(_TABLES)
            }
            self._exit = entered.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.__exit__(kind, error, trace)

    def add(self, image: str, segments: Sequence[Segment]) -> None:
        """Add the segments of an image (SHA-256 of its file), in the order of their ids. Raises StoreError."""
        places = np.array([(one.area, *one.box) for one in segments], "<i4")
        codes = np.array([np.frombuffer(one.code, np.uint8) for one in segments])
        rows = {
            "images": padded(image_code(codes, places[:, 0])[None]),
            "places": places.view(np.uint8).reshape(len(segments), _PLACE_BYTES),
            "codes": padded(codes),
        }
        for name in _TABLES:
            writer, values = self._writers[name], rows[name]
            writer.add(writer.store.spec.keys([image]), values, np.array([len(values)]))
        if self._writers["codes"].pending >= self._step:
            for name in _TABLES:
                self._writers[name].commit()


def image_code(codes: Bytes, areas: Ints) -> Bytes:
    """Return the bits that most of an image's area has, uint8 [bytes]; a tie is 0.

    Args:
        codes: of its segments, uint8 [S, bytes].
        areas: of them in pixels, [S].
    """
    shares = areas @ np.unpackbits(codes, axis=1).astype(np.int64)
    return np.packbits(2 * shares > areas.sum())


def _spec(model_sha256: str, table: str) -> FeatureSpec:
    return FeatureSpec(weights=model_sha256, taps=("segments",), preprocessing={}, dtype=BYTES, sampling={"of": table})
