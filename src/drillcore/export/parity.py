"""The proof that a model file answers as the trained parts do (CONTRACTS, PARITY), before it is registered.

Probabilities may differ by 1e-4. Beyond that a row has to be explained: the activations the file computed differ from
ours by no more than rounding, and our head, given the file's own rows, answers as the file does. Then rounding carried
the row over a threshold of the head, and nothing is wrong.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch

from drillcore.arrays import Array
from drillcore.backbones.base import Backbone
from drillcore.errors import ParityError
from drillcore.export.assemble import ACTIVATIONS, LABEL, PROBABILITIES, ROWS, rows_model
from drillcore.export.graph import IMAGES, SIZES
from drillcore.export.sessions import cpu_session
from drillcore.heads.base import Classifier
from drillcore.json_types import Json
from drillcore.runtime.batch.planning import pad_batch
from drillcore.store.spec import SIGN2

TOLERANCE, TIE = 1e-4, 1e-5
ROW_TOLERANCE = 1e-4  # of a row's largest activation: float32 rounding through a deep network
BATCHES = (1, 3, 64)
# Height and width of the images made up here: a point, lines, primes, larger and smaller than any input.
ODD_SIZES = ((1, 1), (1, 37), (31, 7), (513, 2), (2, 257), (64, 64), (97, 211), (331, 149))
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """What was compared and how near it came.

    Attributes:
        images: different images, made-up ones included.
        rows: answers compared, over all batch sizes.
        batches: the batch sizes.
        max_difference: largest difference of a probability, crossings left out.
        max_row_difference: largest difference of an activation, as a share of its row's largest.
        label_disagreements: other labels that neither a tie nor a crossing explains; 0, or it is an error.
        ties: answers with another label whose two best differ by at most 1e-5.
        crossings: answers that differ since rounding crossed a threshold, each proven.
    """

    images: int
    rows: int
    batches: list[int]
    max_difference: float
    max_row_difference: float
    label_disagreements: int
    ties: int
    crossings: int

    def to_dict(self) -> Json:
        """Return plain values for JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Reference:
    """The trained parts, on the path the head was fitted through.

    Attributes:
        backbone: frozen.
        taps: in the head's order.
        head: fitted.
        dtype: of the stored rows.
        transform: what becomes of activations before they are stored; None: nothing.
        per_image: rows of an image, which stand side by side in the store.
        gather: (answers to rows [N, K], number of each row's image) to one answer for each image; None: as they are.
        exact: whether the file makes the same rows to the last bit of the same activations.
        agree: (the file's rows, its activations) to whether they belong together; None: as near as rounding is.
    """

    backbone: Backbone
    taps: Sequence[str]
    head: Classifier
    dtype: str
    transform: Callable[[Array], Array] | None = None
    per_image: int = 1
    gather: Callable[[Array, npt.NDArray[np.int64]], Array] | None = None
    exact: bool = True
    agree: Callable[[Array, Array], bool] | None = None

    @property
    def width(self) -> int:
        """Features of a row."""
        width = self.backbone.flat_width(self.taps)
        found: int = self.stored(np.zeros((1, width), np.float32)).shape[1]
        return found

    def activations(self, images: Sequence[Image]) -> Array:
        """Return the rows before they are stored, float32 [N, D]."""
        batch = np.stack([self.backbone.prepare(image) for image in images])
        rows = self.backbone.rows(torch.from_numpy(batch).to(self.backbone.device), self.taps)
        return rows.cpu().numpy().astype(np.float32)

    def stored(self, activations: Array) -> Array:
        """Return rows as the store gives them back, float32 [N * per_image, D]."""
        rows = activations if self.transform is None else self.transform(activations)
        kept = rows if self.dtype == SIGN2 else rows.astype(self.dtype)
        return kept.astype(np.float32).reshape(len(activations) * self.per_image, -1)

    def probabilities(self, rows: Array) -> Array:
        """Return the probabilities of images by the head's of their stored rows, float64 [N, K]."""
        found = self.head.predict_proba(rows)
        numbers = np.repeat(np.arange(len(rows) // self.per_image), self.per_image)
        return found if self.gather is None else self.gather(found, numbers)


def odd_images(channels: int, sizes: Sequence[tuple[int, int]] = ODD_SIZES, seed: int = 0) -> list[Image]:
    """Return made-up images of some heights and widths, uint8 [h, w, channels], noise over a slope."""
    rng = np.random.default_rng(seed)
    images = []
    for height, width in sizes:
        slope = np.linspace(0, 200, height * width).reshape(height, width, 1)
        images.append((slope + rng.integers(0, 56, (height, width, channels))).astype(np.uint8))
    return images


def check_parity(
    model: bytes | Path | onnx.ModelProto,
    reference: Reference,
    images: Sequence[Image],
    *,
    names: Sequence[str] | None = None,
    batches: Sequence[int] = BATCHES,
    threads: int = 1,
    advance: Callable[[int], None] | None = None,
) -> ParityReport:
    """Compare a model file with the trained parts on all images and on made-up ones of odd sizes.

    Args:
        model: the file's bytes or path, or the model.
        reference: the trained parts.
        images: uint8 [h, w, C] each, read one after the other, once for each batch size.
        names: of the images, for the error; default: their numbers.
        batches: images of one batch are padded together.
        threads: of onnxruntime.
        advance: called with the number of answers compared.

    Raises:
        ParityError: names the worst image and its figures.
    """
    checker = _Checker(model, reference, threads)
    extra = odd_images(reference.backbone.channels)
    titles = [str(name) for name in names] if names is not None else [f"image {i}" for i in range(len(images))]
    titles += [f"a made-up image of {height}x{width}" for height, width in ODD_SIZES]
    total = len(images) + len(extra)
    # Made-up images come first and last of the batches of 64: they are padded together with each other and with ours.
    order = [*range(len(images), total), *range(len(images))]
    window = max(batches)
    for first in range(0, total, window):
        numbers = order[first : first + window]
        loaded = [images[i] if i < len(images) else extra[i - len(images)] for i in numbers]
        checker.expect(loaded, [titles[i] for i in numbers])
        for size in batches:
            for start in range(0, len(loaded), size):
                checker.compare(slice(start, start + size))
                if advance:
                    advance(min(size, len(loaded) - start))
    return checker.report(total, batches)


class _Checker:
    """Holds the sessions and the tally."""

    def __init__(self, model: bytes | Path | onnx.ModelProto, reference: Reference, threads: int) -> None:
        data, proto = _both_forms(model)
        self.reference = reference
        self._answers = cpu_session(data, threads)
        # Of several labels none is the answer, and their order is nobody's.
        self._labelled = any(item.name == LABEL for item in proto.graph.output)
        self._rows = cpu_session(rows_model(proto).SerializeToString(), threads)
        self.compared = self.ties = self.crossings = 0
        self.max_difference = self.max_row_difference = 0.0

    def expect(self, images: Sequence[Image], titles: Sequence[str]) -> None:
        """Compute what the trained parts say of some images."""
        self.images, self.titles = images, titles
        self.activations = self.reference.activations(images)
        self.expected = self.reference.probabilities(self.reference.stored(self.activations))

    def compare(self, part: slice) -> None:
        """Run one batch; raises ParityError."""
        canvas, sizes = pad_batch(self.images[part])
        feeds = {IMAGES: canvas, SIZES: sizes}
        *label_first, got = self._answers.run([*([LABEL] if self._labelled else []), PROBABILITIES], feeds)
        activations, rows = self._rows.run([ACTIVATIONS, ROWS], feeds)
        titles, size = self.titles[part], len(canvas)
        expected = self.expected[part]
        if got.shape != expected.shape or not np.isfinite(got).all():
            raise ParityError(f"the file answers {list(got.shape)} for {titles[0]}, {list(expected.shape)} is expected")
        self._check_rows(activations, rows, self.activations[part], titles)
        difference = np.abs(got - expected).max(axis=1)
        wanted = expected.argmax(axis=1)
        label = label_first[0] if self._labelled else wanted
        best = np.sort(expected, axis=1)[:, -2:]
        tie = best[:, -1] - best[:, 0] <= TIE if expected.shape[1] > 1 else np.zeros(size, bool)
        other = ((label != wanted) | (got.argmax(axis=1) != label)) & self._labelled
        far = difference > TOLERANCE
        doubtful = np.flatnonzero(far | (other & ~tie))
        if doubtful.size:
            self._explain(doubtful, got, label, rows, difference, titles, size)
        near = np.ones(size, bool)
        near[doubtful] = False
        self.crossings += int(doubtful.size)
        self.ties += int((other & tie & near).sum())
        self.max_difference = max(self.max_difference, float(difference[near].max(initial=0.0)))
        self.compared += size

    def _check_rows(self, activations: Array, rows: Array, own: Array, titles: Sequence[str]) -> None:
        scale = np.maximum(np.abs(own).max(axis=1), 1e-6)
        # Rounding is a share of a row's largest activation; what is all but zero is held to an absolute 1e-6.
        share = np.abs(activations - own).max(axis=1) / np.maximum(scale, 1e-2)
        worst = int(share.argmax())
        if not share[worst] <= ROW_TOLERANCE:
            raise ParityError(
                f"activations of {titles[worst]} (batch of {len(titles)}) differ by {share[worst]:.2g} of the largest, "
                f"at most {ROW_TOLERANCE:g} is allowed; preprocessing or backbone of the file are not the trained ones"
            )
        if not self._belong_together(activations, rows):
            raise ParityError(
                f"the file does not store rows as {self.reference.dtype}, as the head was fitted (seen at {titles[0]})"
            )
        self.max_row_difference = max(self.max_row_difference, float(share[worst]))

    def _belong_together(self, activations: Array, rows: Array) -> bool:
        if self.reference.agree is not None:
            return self.reference.agree(rows, activations)
        stored = self.reference.stored(activations)
        if self.reference.exact:
            return np.array_equal(rows, stored)
        return np.allclose(rows, stored, 1e-3, np.abs(stored).max(initial=1e-2) * ROW_TOLERANCE)

    def _explain(
        self,
        doubtful: npt.NDArray[np.intp],
        got: Array,
        label: Array,
        rows: Array,
        difference: Array,
        titles: Sequence[str],
        size: int,
    ) -> None:
        """Accept rows whose answer our head gives too, on the file's own rows; raises ParityError at any other."""
        again = self.reference.probabilities(rows)[doubtful]
        left = np.abs(again - got[doubtful]).max(axis=1)
        best = np.sort(again, axis=1)[:, -2:]
        same = (again.argmax(axis=1) == label[doubtful]) | (best[:, -1] - best[:, 0] <= TIE)
        named = same & (got[doubtful].argmax(axis=1) == label[doubtful])
        wrong = np.flatnonzero((left > TOLERANCE) | (~named & self._labelled))
        if wrong.size:
            worst = wrong[np.argmax(difference[doubtful[wrong]])]
            row = int(doubtful[worst])
            raise ParityError(
                f"{titles[row]} (batch of {size}): probabilities differ by {difference[row]:.2g} (label "
                f"{int(label[row])}), by {left[worst]:.2g} on the file's own rows, {TOLERANCE:g} is allowed and no "
                f"threshold explains it; {wrong.size} of the batch's {size} answers are wrong"
            )

    def report(self, images: int, batches: Sequence[int]) -> ParityReport:
        """Return the tally."""
        return ParityReport(
            images=images,
            rows=self.compared,
            batches=list(batches),
            max_difference=self.max_difference,
            max_row_difference=self.max_row_difference,
            label_disagreements=0,
            ties=self.ties,
            crossings=self.crossings,
        )


def _both_forms(model: bytes | Path | onnx.ModelProto) -> tuple[bytes, onnx.ModelProto]:
    if isinstance(model, onnx.ModelProto):
        return model.SerializeToString(deterministic=True), model
    data = model.read_bytes() if isinstance(model, Path) else model
    proto = onnx.ModelProto()
    proto.ParseFromString(data)
    return data, proto
