"""The proof that a dense model file answers every pixel as the trained parts do (CONTRACTS, PARITY).

Mode exact is held to it: probabilities within 1e-4 (predicted values: within 1e-4 of the largest), the same label
wherever the two best differ by more than 1e-5. Refined and fast are approximations by their nature: for them the graph
of mode exact, built of the same parts, is proven, and how many labels of the file are the exact ones is reported;
refined has to reach 99.99 %.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from drillcore.arrays import Array, Floats
from drillcore.errors import InputError, ParityError
from drillcore.export.dense.assembly import LOGITS, VALUE, logits_model
from drillcore.export.dense.every_pixel import LEAST, ROWS, pixel_rows_model
from drillcore.export.dense.modes import MODES, is_layered, outputs_of
from drillcore.export.graph import IMAGES
from drillcore.export.parity import TIE, TOLERANCE, odd_images
from drillcore.export.sessions import cpu_session
from drillcore.json_types import Json
from drillcore.representations.core_samples.auto_context import AutoContext, last_layer, read_plane
from drillcore.representations.core_samples.core import CoreNetwork
from drillcore.representations.core_samples.pixel_answers import Answers
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.runtime.model.pruning import pruned
from drillcore.tasks import get_task

if TYPE_CHECKING:
    import onnxruntime as ort

REFINED_AGREEMENT = 0.9999
BATCHES = (1, 3)
# Height and width of images made up here: a point, lines, primes, a usual size and one beside it.
ODD_SIZES = ((1, 1), (1, 37), (53, 1), (7, 5), (64, 64), (321, 481))
_CROP = 128  # side of the part of an image whose rows are compared, where a head is given rows
_ROWS = 4096  # core samples at a time: 25 MB at 1,507 features

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class DenseParityReport:
    """What was compared and how near it came.

    Attributes:
        mode: of the file.
        images: different images, made-up ones included.
        pixels: compared, over all batch sizes.
        batches: the batch sizes.
        max_difference: largest difference of a probability, or of a value as a share of the largest, in mode exact.
        label_disagreements: other labels than the trained parts', ties left out, in mode exact; 0, or it is an error.
        ties: pixels whose two best differ by at most 1e-5 and that have another label.
        label_agreement: share of the pixels where the file's label is the trained parts'; None for a regression.
        mean_difference: mean difference between the file's values and the trained parts'; None for labels.
    """

    mode: str
    images: int
    pixels: int
    batches: list[int]
    max_difference: float
    label_disagreements: int
    ties: int
    label_agreement: float | None
    mean_difference: float | None

    def to_dict(self) -> Json:
        """Return plain values for JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class DenseReference:
    """The trained parts: a core sample of every pixel through the head, in float32, and what is made of its values.

    Attributes:
        core: frozen.
        head: fitted; one of layers has `mean_, scale_, layers_, activation`.
        answers: how the last layer's values become answers.
        context: the first stage, where the head is the second of two.
        dtype: of the stored samples, for a head that is no layers.
    """

    core: CoreNetwork
    head: Any
    answers: Answers = field(default_factory=Answers)
    context: AutoContext | None = None
    dtype: str = "float32"

    def values(self, image: Image) -> Iterator[tuple[int, Floats]]:
        """Yield the number of a first pixel in row order, and the answers' values from there, float32 [P, K]."""
        if self.answers.plain:
            yield from self._last_layer(image)
            return
        # A mean over a window needs the whole image's values: a few numbers for each pixel.
        whole = np.concatenate([values for _, values in self._last_layer(image)])
        whole = self.answers.of(whole.reshape(*image.shape[:2], -1)).reshape(whole.shape)
        for first in range(0, len(whole), _ROWS):
            yield first, whole[first : first + _ROWS]

    def _last_layer(self, image: Image) -> Iterator[tuple[int, Floats]]:
        if not is_layered(self.head):
            yield from self._each_pixel(image)
            return
        device = self.core.backbone.device
        height, width = image.shape[:2]
        values = last_layer(self.head, device)
        with torch.no_grad():
            maps = self.core(torch.from_numpy(image).to(device).permute(2, 0, 1)[None].float())
            around = None if self.context is None else self.context.map_of(self.core, maps, (height, width))
            for first in range(0, height * width, _ROWS):
                ys, xs = np.divmod(np.arange(first, min(first + _ROWS, height * width)), width)
                rows = self.core.sample(maps, (height, width), ys, xs)
                if around is not None:
                    rows = torch.cat([rows, read_plane(around, (height, width), ys, xs)], dim=1)
                yield first, values(rows).cpu().numpy()

    def _each_pixel(self, image: Image) -> Iterator[tuple[int, Floats]]:
        """Yield logarithms of the head's probabilities of the rows that the file computes, once those are proven ours.

        A value that rounding carries over a head's threshold is answered otherwise; so the head is asked about the
        file's own rows, and the rows are compared with ours.
        """
        height, width = image.shape[:2]
        given = self._rows_session.run([ROWS], {IMAGES: image[None]})[0].reshape(height * width, -1)
        with torch.no_grad():
            maps = self.core(torch.from_numpy(image).to(self.core.backbone.device).permute(2, 0, 1)[None].float())
            for first in range(0, height * width, _ROWS):
                ys, xs = np.divmod(np.arange(first, min(first + _ROWS, height * width)), width)
                own = self.core.sample(maps, (height, width), ys, xs).cpu().numpy()
                rows = given[first : first + len(own)]
                _check_rows(rows, own, self.dtype)
                found = np.maximum(self.head.predict_proba(rows), LEAST)
                yield first, np.log(found).astype(np.float32)

    @functools.cached_property
    def _rows_session(self) -> ort.InferenceSession:
        return cpu_session(pixel_rows_model(self.core, self.dtype), 1)


def _check_rows(rows: Floats, own: Floats, dtype: str) -> None:
    """Raise ParityError where rows are not those of the trained path but for rounding."""
    step = float(np.finfo(dtype).eps)  # of the store: rounding may fall to the other side
    scale = np.maximum(np.abs(own).max(axis=1, keepdims=True), 1e-2)
    share = float((np.abs(rows - own) / scale).max())
    if not share <= max(TOLERANCE, step):
        raise ParityError(
            f"a pixel's row differs by {share:.2g} of its largest value, at most {max(TOLERANCE, step):.2g} is "
            "allowed; the file does not compute the core samples that were learnt from"
        )


def check_dense_parity(
    data: bytes,
    reference: DenseReference,
    images: Sequence[Image],
    *,
    mode: str,
    names: Sequence[str] | None = None,
    batches: Sequence[int] = BATCHES,
    odd_sizes: Sequence[tuple[int, int]] = ODD_SIZES,
    threads: int = 1,
    advance: Callable[[int], None] | None = None,
) -> DenseParityReport:
    """Compare a dense model file with the trained parts on every pixel of all images and of made-up ones of odd sizes.

    A batch above 1 holds an image that often, mirrored in turn, since a batch has one size.

    Args:
        data: the file's bytes.
        reference: the trained parts.
        images: uint8 [h, w, C] each, read one after the other.
        mode: in which the file was exported.
        names: of the images, for the error; default: their numbers.
        batches: batch sizes; all but the first are checked on made-up images only.
        odd_sizes: height and width of those.
        threads: of onnxruntime.
        advance: called with 1 after each image.

    Raises:
        ParityError: names the worst image and pixel.
        InputError: an unknown mode.
    """
    if mode not in MODES:
        raise InputError(f"unknown dense mode {mode!r}; known: {', '.join(MODES)}")
    checker = _Checker(data, reference, mode, threads)
    extra = odd_images(reference.core.channels, odd_sizes)
    titles = [f"a made-up image of {height}x{width}" for height, width in odd_sizes]
    if not is_layered(reference.head):  # whose rows are kept while they are compared
        extra, images = [_middle(image) for image in extra], [_middle(image) for image in images]
    for image, title in zip(extra, titles, strict=True):
        for size in batches:
            checker.compare(image, title, size)
        if advance:
            advance(1)
    for number, image in enumerate(images):
        title = str(names[number]) if names is not None else f"image {number}"
        checker.compare(image, title, batches[0])
        if advance:
            advance(1)
    return checker.report(len(images) + len(extra), batches)


class _Checker:
    """Holds the sessions and the tally."""

    def __init__(self, data: bytes, reference: DenseReference, mode: str, threads: int) -> None:
        model = onnx.ModelProto.FromString(data)
        about = ModelMetadata.of_model(model)
        self.labels = get_task(about.task).named
        self.reference, self.mode = reference, mode
        # Labels and probabilities, or values; asked for apart, as they are in use.
        names = ("label", "probabilities") if self.labels else (VALUE,)
        self._file = {name: cpu_session(pruned(data, [name]), threads) for name in names}
        self._exact = None
        if mode != "exact":
            self._exact = cpu_session(
                logits_model(
                    reference.core, reference.head, "exact", answers=reference.answers, context=reference.context
                ),
                threads,
            )
        self.pixels = self.ties = self.same = self.counted = 0
        self.max_difference = self.sum_difference = 0.0

    def compare(self, image: Image, title: str, size: int) -> None:
        """Check one image, `size` times in a batch; raises ParityError."""
        batch = np.stack([image[:, ::-1] if number % 2 else image for number in range(size)])
        found = {name: session.run([name], {IMAGES: batch})[0] for name, session in self._file.items()}
        exact = None if self._exact is None else self._exact.run([LOGITS], {IMAGES: batch})[0]
        self._check_shapes(found, batch, title)
        for number in range(size):
            where = f"{title} (batch of {size})"
            got = {name: np.moveaxis(values[number], 0, -1) if values.ndim == 4 else values[number]
                   for name, values in found.items()}  # fmt: skip
            own = None if exact is None else exact[number]
            self._check_image(batch[number], got, own, where)

    def _check_shapes(self, found: dict[str, Array], batch: Image, title: str) -> None:
        outputs = outputs_of(self.reference.head)
        for name, values in found.items():
            channels = () if name == "label" else (outputs,)
            expected = (len(batch), *channels, *batch.shape[1:3])
            if values.shape != expected:
                raise ParityError(f"{title}: {name} is {list(values.shape)}, {list(expected)} is expected")

    def _check_image(self, image: Image, got: dict[str, Array], exact: Floats | None, where: str) -> None:
        width = image.shape[1]
        flat = {name: values.reshape(-1, *values.shape[2:]) for name, values in got.items()}
        own = None if exact is None else exact.reshape(-1, exact.shape[-1])
        for first, values in self.reference.values(np.ascontiguousarray(image)):
            part = slice(first, first + len(values))
            if self.labels:
                expected = _softmax(values)
                label = flat["label"][part]
                proven = flat["probabilities"][part] if own is None else _softmax(own[part])
                given = label if own is None else proven.argmax(axis=1)
                self._check_labels(proven, given, expected, first, width, where)
                self.same += int((label == expected.argmax(axis=1)).sum())
                if (label != flat["probabilities"][part].argmax(axis=1)).any():
                    raise ParityError(f"{where}: a label is not that of the largest probability")
            else:
                proven = flat[VALUE][part] if own is None else own[part]
                scale = max(1.0, float(np.abs(values).max()))
                self._note(np.abs(proven - values).max(axis=1) / scale, first, width, where)
                self.sum_difference += float(np.abs(flat[VALUE][part] - values).mean(axis=1).sum())
            self.pixels += len(values)

    def _check_labels(
        self,
        probabilities: Floats,
        label: Array,
        expected: Floats,
        first: int,
        width: int,
        where: str,
    ) -> None:
        self._note(np.abs(probabilities - expected).max(axis=1), first, width, where)
        other = np.flatnonzero(label != expected.argmax(axis=1))
        if not other.size:
            return
        best = np.sort(expected[other], axis=1)[:, -2:]
        gap = best[:, 1] - best[:, 0]
        self.ties += int((gap <= TIE).sum())
        if (gap > TIE).any():
            worst = int(gap.argmax())
            row, column = divmod(first + int(other[worst]), width)
            raise ParityError(
                f"{where}: the pixel in row {row}, column {column} has the label {int(label[other[worst]])}, "
                f"{int(expected[other[worst]].argmax())} is expected by {gap[worst]:.2g}; {int((gap > TIE).sum())} of "
                f"{len(label)} pixels near it differ"
            )

    def _note(self, difference: Array, first: int, width: int, where: str) -> None:
        worst = int(np.nan_to_num(difference, nan=np.inf).argmax())
        if not difference[worst] <= TOLERANCE:
            row, column = divmod(first + worst, width)
            raise ParityError(
                f"{where}: the answer for the pixel in row {row}, column {column} differs by {difference[worst]:.2g}, "
                f"at most {TOLERANCE:g} is allowed; the file does not compute what was trained"
            )
        self.max_difference = max(self.max_difference, float(difference[worst]))

    def report(self, images: int, batches: Sequence[int]) -> DenseParityReport:
        """Return the tally; raises ParityError where a refined file keeps too few labels."""
        agreement = self.same / self.pixels if self.labels else None
        if self.mode == "refined" and agreement is not None and agreement < REFINED_AGREEMENT:
            raise ParityError(
                f"mode refined keeps {agreement:.4%} of the labels, {REFINED_AGREEMENT:.2%} are expected; export it "
                "with more calibration images, or exact"
            )
        return DenseParityReport(
            mode=self.mode,
            images=images,
            pixels=self.pixels,
            batches=list(batches),
            max_difference=self.max_difference,
            label_disagreements=0,
            ties=self.ties,
            label_agreement=agreement,
            mean_difference=None if self.labels else self.sum_difference / self.pixels,
        )


def _middle(image: Image) -> Image:
    top, left = (max(0, (side - _CROP) // 2) for side in image.shape[:2])
    return np.ascontiguousarray(image[top : top + _CROP, left : left + _CROP])


def _softmax(values: Floats) -> Floats:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares
