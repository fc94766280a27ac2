"""A sketch of answers: what of many of them is kept to compare them with others later, without their images.

A sample of the answers is kept, by the smallest digests of their images (a bottom-k sketch; Cohen and Kaplan,
Summarizing data using bottom-k sketches, PODC 2007): a uniform sample of the distinct images, in which one that is sent
again and again is one. Sketches of parts merge to exactly the sketch of the whole, in any order, so neither a kill nor
the number of shards changes them.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drillcore.arrays import Array, Bools, Floats, Ints
from drillcore.errors import DataError, first_line
from drillcore.runtime.model.ranking import TOP, ranked
from drillcore.tasks import CLASSIFICATION, MULTILABEL

SAMPLE = 2_000  # answers that are kept
BINS = 20  # of the top probability, equal ones from 0 to 1
SKETCHED = (CLASSIFICATION, MULTILABEL)  # tasks whose answers can be sketched
_ARRAYS = {"digests": np.uint64, "vectors": np.float16}


@dataclass(frozen=True, slots=True, eq=False)
class Sketch:
    """What is kept of answers to images.

    Attributes:
        model_sha256: of the file that answered.
        classes: K names, in the order of its outputs.
        digests: uint64 [n], of the images of the sample, ascending; n is at most `SAMPLE`.
        vectors: float16 [n, K + 1], their answers, see `answer_vectors`.
        rows: how many answers it is of, those to an image that came again among them.
    """

    model_sha256: str
    classes: tuple[str, ...]
    digests: NDArray[np.uint64]
    vectors: NDArray[np.float16]
    rows: int

    @property
    def labels(self) -> Ints:
        """Images of the sample by their most probable class, int64 [K]."""
        return np.bincount(self.vectors[:, :-1].argmax(axis=1), minlength=len(self.classes))

    @property
    def confidence(self) -> Ints:
        """Images of the sample by their top probability, int64 [BINS]."""
        top = self.vectors[:, :-1].max(axis=1).astype(np.float32)
        return np.bincount(np.clip((top * BINS).astype(np.int64), 0, BINS - 1), minlength=BINS)

    def to_bytes(self) -> bytes:
        """Return it as an npz file, which a server writes without pyarrow; equal sketches give equal bytes."""
        about = {"schema": 2, "model_sha256": self.model_sha256, "classes": list(self.classes), "rows": self.rows}
        text = json.dumps(about, sort_keys=True).encode()
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        stream = io.BytesIO()
        np.savez_compressed(stream, about=np.frombuffer(text, np.uint8), **arrays)
        return stream.getvalue()


def read_sketch(source: Path | bytes, name: str = "") -> Sketch:
    """Read what `Sketch.to_bytes` gave. Raises DataError: it is no sketch."""
    try:
        data = source if isinstance(source, bytes) else source.read_bytes()
        with np.load(io.BytesIO(data), allow_pickle=False) as kept:
            about = json.loads(kept["about"].tobytes())
            arrays = {key: kept[key].astype(dtype, casting="safe") for key, dtype in _ARRAYS.items()}
        if about["schema"] != 2:
            raise ValueError("another schema")
        classes, kept_rows = tuple(about["classes"]), len(arrays["digests"])
        model, rows = str(about["model_sha256"]), int(about["rows"])
        sketch = Sketch(model_sha256=model, classes=classes, rows=rows, **arrays)
        if [array.shape for array in arrays.values()] != [(kept_rows,), (kept_rows, len(classes) + 1)]:
            raise ValueError("its arrays do not fit together")
        if not kept_rows <= min(rows, SAMPLE) or not np.isfinite(sketch.vectors).all():
            raise ValueError("too many rows, or numbers that are none")
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        where = name or (str(source) if isinstance(source, Path) else "a sketch")
        raise DataError(f"{where} cannot be read as a sketch of answers ({first_line(error)}); remove it") from None
    return sketch


def answer_vectors(probabilities: Floats, task: str) -> NDArray[np.float16]:
    """Return what is compared of answers, float16 [N, K + 1]: what a part of a scored output tells of each.

    Of one class an image: its five greatest probabilities in their places, 0 elsewhere, and last the sum of the others.
    Of several labels: all probabilities, and last a 0.

    Args:
        probabilities: float32 [N, K].
        task: one of `SKETCHED`.
    """
    kept = np.zeros((len(probabilities), probabilities.shape[1] + 1), np.float32)
    if task == MULTILABEL:
        kept[:, :-1] = probabilities
        return kept.astype(np.float16)
    best = ranked(probabilities, TOP)
    values = np.take_along_axis(probabilities, best, axis=1)
    np.put_along_axis(kept, best, values, axis=1)
    kept[:, -1] = rest_of(values)
    return kept.astype(np.float16)


def rest_of(values: Floats) -> Floats:
    """Return what probabilities [N, k] leave to the other classes, float32 [N], from 0 to 1."""
    rest: Floats = np.clip(1 - values.sum(axis=1, dtype=np.float64), 0, 1).astype(np.float32)
    return rest


def digest_number(sha256: str) -> int:
    """Return the first 64 bits of a digest in hexadecimal."""
    return int(sha256[:16], 16)


class Sketcher:
    """Makes a sketch of answers as they come; memory is that of two samples.

    Args:
        model_sha256: of the file that answers.
        classes: in the order of its outputs.
    """

    def __init__(self, model_sha256: str, classes: Sequence[str]) -> None:
        self.model_sha256, self.classes = model_sha256, tuple(classes)
        self._rows = 0
        self._digests = list[NDArray[np.uint64]]()
        self._vectors = list[NDArray[np.float16]]()
        self._held, self._limit = 0, np.uint64(2**64 - 1)

    def wanted(self, digests: NDArray[np.uint64]) -> Bools:
        """Return which images may be in the sample, bool [N]: only of those `add` is given vectors."""
        found: Bools = digests <= self._limit
        return found

    def add(self, rows: int, digests: NDArray[np.uint64], vectors: NDArray[np.float16]) -> None:
        """Add answers.

        Args:
            rows: how many they are, M and those that are not wanted.
            digests: uint64 [M], of the images that are `wanted`.
            vectors: float16 [M, K + 1], their answers.
        """
        self._rows += rows
        if len(digests):
            self._digests.append(digests)
            self._vectors.append(vectors)
            self._held += len(digests)
        if self._held > 2 * SAMPLE:
            self._compact()

    def add_answers(self, probabilities: Floats, digests: NDArray[np.uint64], task: str) -> None:
        """Add answers float32 [N, K] to images of digests uint64 [N]."""
        chosen = self.wanted(digests)
        vectors = answer_vectors(probabilities[chosen], task)
        self.add(len(probabilities), digests[chosen], vectors)

    def add_sketch(self, sketch: Sketch) -> None:
        """Add all that another sketch is of. Raises DataError: it is of another model."""
        if (sketch.model_sha256, sketch.classes) != (self.model_sha256, self.classes):
            raise DataError(f"a sketch of the file {sketch.model_sha256[:12]}, not of {self.model_sha256[:12]}")
        chosen = self.wanted(sketch.digests)
        self.add(sketch.rows, sketch.digests[chosen], sketch.vectors[chosen])

    def sketch(self) -> Sketch:
        """Return the sketch of what was added so far."""
        self._compact()
        return Sketch(self.model_sha256, self.classes, self._digests[0], self._vectors[0], self._rows)

    def _compact(self) -> None:
        """Keep the smallest digests, each once; of one that came again the first answer stays."""
        digests = np.concatenate([*self._digests, np.empty(0, np.uint64)])
        vectors = np.concatenate([*self._vectors, np.empty((0, len(self.classes) + 1), np.float16)])
        kept, places = np.unique(digests, return_index=True)
        self._digests, self._vectors = [kept[:SAMPLE]], [vectors[places[:SAMPLE]]]
        self._held = len(self._digests[0])
        if self._held == SAMPLE:
            self._limit = self._digests[0][-1]


def merged(sketches: Iterable[Sketch], model_sha256: str, classes: Sequence[str]) -> Sketch:
    """Return the sketch of all that some are of. Raises DataError: one is of another model."""
    whole = Sketcher(model_sha256, classes)
    for sketch in sketches:
        whole.add_sketch(sketch)
    return whole.sketch()


def digest_numbers(digests: Iterable[str]) -> NDArray[np.uint64]:
    """Return the first 64 bits of digests in hexadecimal, uint64 [N]."""
    return np.array([digest_number(one) for one in digests], np.uint64)


def sketch_of(
    model_sha256: str, classes: Sequence[str], task: str, probabilities: Array, digests: Iterable[str]
) -> Sketch:
    """Return the sketch of answers [N, K] to images of SHA-256 digests."""
    whole = Sketcher(model_sha256, classes)
    whole.add_answers(np.asarray(probabilities, np.float32), digest_numbers(digests), task)
    return whole.sketch()
