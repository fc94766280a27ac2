"""Figures of a model that labels pixels, by the names they have everywhere; void pixels are left out.

Each image leaves a confusion matrix, and everything else follows from their sums: figures, classes, and the paired
bootstrap, which draws images. Shares are fractions from 0 to 1, 0 where they are undefined.

Conventions, SegNet's (Badrinarayanan, Kendall and Cipolla 2017, section 4.1), whose CamVid figures ours stand beside:
sums over all images, then per class; averages over the classes present in the truth. A class that is answered and never
true adds no term, but each of its pixels is missing from the class it should have been.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from drillcore.arrays import Array, Doubles, Ints
from drillcore.errors import InputError, UnknownNameError
from drillcore.json_types import Json

FIGURES = ("class_average", "global_average", "mean_iou")
_BLOCK = 2**22  # pixels counted at a time: 32 MB of indices


class ImageConfusions:
    """Confusion matrices of images, one after the other.

    Args:
        classes: names of the truth's classes; a value beyond them is void.
        answers: names of the model's classes in the order of its labels; None: the same as `classes`.

    Attributes:
        axes: names of both axes of every matrix: the truth's classes, then those only the model knows.

    Example:
        >>> confusions = ImageConfusions(["sea", "ship"])
        >>> confusions.add(np.array([[0, 1, 2]]), np.array([[0, 0, 1]]))
        array([[1, 0],
               [1, 0]])
        >>> dense_figures(confusions.counts, confusions.axes)["class_average"]
        0.5
    """

    def __init__(self, classes: Sequence[str], answers: Sequence[str] | None = None) -> None:
        self.axes = confusion_axes(classes, classes if answers is None else answers)
        self._true = len(classes)
        position = {name: index for index, name in enumerate(self.axes)}
        self._columns = np.array([position[name] for name in (classes if answers is None else answers)], dtype=np.int64)
        self._counts: list[Ints] = []

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, truth: Array, predicted: Array) -> Ints:
        """Count one image and return its matrix, int64 [K,K]: row = true class, column = answered class.

        Args:
            truth: integers [H,W]; void where not below the number of classes.
            predicted: integers [H,W], indices into the model's classes, below void too.

        Raises:
            InputError: shapes differ, no integers, or a label the model does not have.
        """
        counts = count_pixels(truth, predicted, self._true, self._columns, len(self.axes))
        self._counts.append(counts)
        return counts

    @property
    def counts(self) -> Ints:
        """All matrices in the order they came, int64 [M,K,K]."""
        size = len(self.axes)
        return np.stack(self._counts) if self._counts else np.zeros((0, size, size), np.int64)


def confusion_axes(classes: Sequence[str], answers: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a confusion matrix's axes: the truth's classes, then those only the model knows."""
    return (*classes, *(name for name in answers if name not in set(classes)))


def count_pixels(truth: Array, predicted: Array, n_true: int, columns: Ints, size: int) -> Ints:
    """Return the confusion matrix of one image, int64 [size,size]; see `ImageConfusions.add`.

    Args:
        truth: integers [H,W], void where not below `n_true`.
        predicted: integers [H,W], below len(columns).
        n_true: classes of the truth.
        columns: column of each of the model's labels, int64 [A].
        size: rows and columns.

    Raises:
        InputError: shapes differ, no integers, or a label the model does not have.
    """
    if truth.shape != predicted.shape or truth.ndim != 2:
        raise InputError(
            f"a label for each pixel is expected, truth and answer [H,W]; got {list(truth.shape)} and "
            f"{list(predicted.shape)}"
        )
    if truth.dtype.kind not in "iu" or predicted.dtype.kind not in "iu":
        raise InputError(f"labels must be integers; got {truth.dtype} and {predicted.dtype}")
    if predicted.size and (predicted.min() < 0 or predicted.max() >= len(columns)):
        raise InputError(
            f"answered labels must be from 0 to {len(columns) - 1}; got {predicted.min()} to {predicted.max()}"
        )
    flat = np.zeros(size * size, np.int64)
    rows = max(1, _BLOCK // max(1, truth.shape[1]))
    for start in range(0, len(truth), rows):
        true, answered = truth[start : start + rows], predicted[start : start + rows]
        judged = (true >= 0) & (true < n_true)
        flat += np.bincount(true[judged].astype(np.int64) * size + columns[answered[judged]], minlength=size * size)
    return flat.reshape(size, size)


def dense_figures(counts: ArrayLike, classes: Sequence[str]) -> Json:
    """Return the figures of a model that labels pixels.

    Args:
        counts: confusion matrices, integers [M,K,K] or one [K,K]: row = true class, column = answered class.
        classes: names of the K classes.

    Returns:
        `class_average` (mean accuracy per class), `global_average` (share of all pixels), `mean_iou` and `per_class`:
        name -> `accuracy` (of its own pixels, the share found), `precision`, `iou`, `support` (its pixels) and
        `images` (those that have such a pixel).

    Raises:
        InputError: shapes that do not fit, or no labelled pixel.
    """
    matrices = checked_counts(counts, len(classes))
    total = matrices.sum(axis=0)
    if not total.sum():
        raise InputError("there is no labelled pixel to evaluate on")
    hits, support, answered = np.diag(total).astype(np.float64), total.sum(axis=1), total.sum(axis=0)
    images = images_of_class(matrices)
    figures: Json = {name: float(POOLED[name](total[None].astype(np.float64))[0]) for name in FIGURES}
    figures["per_class"] = {
        name: {
            "accuracy": float(hits[index] / max(support[index], 1)),
            "iou": float(hits[index] / max(support[index] + answered[index] - hits[index], 1)),
            "precision": float(hits[index] / max(answered[index], 1)),
            "support": int(support[index]),
            "images": int(images[index]),
        }
        for index, name in enumerate(classes)
    }
    return figures


def checked_counts(counts: ArrayLike, n_classes: int) -> Ints:
    """Return confusion matrices as int64 [M,K,K], or raise InputError."""
    found = np.asarray(counts)
    found = found[None] if found.ndim == 2 else found
    if found.ndim != 3 or found.shape[1:] != (n_classes, n_classes) or found.dtype.kind not in "iu":
        raise InputError(
            f"confusion matrices of shape [M,{n_classes},{n_classes}] with integers are expected; got {found.dtype} "
            f"of shape {list(found.shape)}"
        )
    if found.size and found.min() < 0:
        raise InputError("confusion matrices hold counts; a negative one came")
    return found.astype(np.int64)


def align_counts(counts: ArrayLike, classes: Sequence[str], wanted: Sequence[str]) -> Ints:
    """Return confusion matrices of `classes` with the axes `wanted`, int64 [M,W,W].

    Raises:
        InputError: a class with pixels is not wanted, or the shape does not fit.
    """
    found = checked_counts(counts, len(classes))
    position = {name: index for index, name in enumerate(wanted)}
    kept = [index for index, name in enumerate(classes) if name in position]
    aligned = np.zeros((len(found), len(wanted), len(wanted)), np.int64)
    places = [position[classes[index]] for index in kept]
    aligned[:, np.array(places)[:, None], places] = found[:, np.array(kept)[:, None], kept]
    if aligned.sum() != found.sum():
        gone = sorted(set(classes) - set(wanted))
        raise InputError(f"pixels of classes without a place: {', '.join(gone[:5])}")
    return aligned


def images_of_class(counts: Ints) -> Ints:
    """Return in how many images each class has a pixel, int64 [K], from [M,K,K]."""
    return np.asarray((counts.sum(axis=2) > 0).sum(axis=0), dtype=np.int64)


def pooled_figure(metric: str) -> Callable[[Doubles], Doubles]:
    """Return a figure as a function of summed confusion matrices, float64 [B,K,K] -> [B].

    Raises:
        UnknownNameError: no such figure.
    """
    if metric not in POOLED:
        raise UnknownNameError("figure of labelled pixels", metric, POOLED)
    return POOLED[metric]


def _shares(part: Doubles, whole: Doubles) -> Doubles:
    """Return part / whole, 0 where there is no whole."""
    return np.divide(part, whole, out=np.zeros_like(part, dtype=np.float64), where=whole > 0)


def _over_present(values: Doubles, total: Doubles) -> Doubles:
    """Return the mean of [B,K] over the classes with a true pixel, [B]."""
    present = total.sum(axis=2) > 0
    return _shares((values * present).sum(axis=1), present.sum(axis=1).astype(np.float64))


def _class_average(total: Doubles) -> Doubles:
    return _over_present(_shares(np.einsum("bkk->bk", total), total.sum(axis=2)), total)


def _global_average(total: Doubles) -> Doubles:
    return _shares(np.einsum("bkk->b", total), total.sum(axis=(1, 2)))


def class_ious(total: Doubles) -> Doubles:
    """Return intersection over union of every class, [B,K], from summed matrices [B,K,K]."""
    hits = np.einsum("bkk->bk", total)
    return _shares(hits, total.sum(axis=2) + total.sum(axis=1) - hits)


def _mean_iou(total: Doubles) -> Doubles:
    return _over_present(class_ious(total), total)


def _ship_iou(total: Doubles) -> Doubles:
    return class_ious(total)[:, _ship(total)]


def _ship_f1(total: Doubles) -> Doubles:
    ship = _ship(total)
    hits = total[:, ship, ship]
    return _shares(2 * hits, total[:, ship].sum(axis=1) + total[:, :, ship].sum(axis=1))


def _ship(total: Doubles) -> int:
    if total.shape[1] != 2:
        raise InputError(f"figures of ships need two classes, background and ship; there are {total.shape[1]}")
    return 1


# All are better where they are higher.
POOLED: Mapping[str, Callable[[Doubles], Doubles]] = {
    "class_average": _class_average,
    "global_average": _global_average,
    "mean_iou": _mean_iou,
    "accuracy": _global_average,
    "ship_iou": _ship_iou,
    "ship_f1": _ship_f1,
}
