"""Is one model better than another, or was it luck? A paired bootstrap over the images both have answered.

Efron and Tibshirani 1993, chapter 13 (percentile interval); paired as in Koehn 2004: each resample draws the same
images for both models, so that what is hard about an image cancels out. Where images come in groups (cuts of one scene,
frames of one sequence) whole groups are drawn: their images are not independent. Fewer than MIN_GROUPS say too little
about how groups differ, and images are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drillcore.arrays import Doubles, Ints
from drillcore.errors import InputError, UnknownNameError
from drillcore.evaluation.figures.metrics import checked, log_losses, predictions, true_ranks

# metric -> +1 where more is better, -1 where less is
METRICS = {"accuracy": 1, "top5_accuracy": 1, "macro_f1": 1, "log_loss": -1}
MIN_GROUPS = 10
_CELLS = 8_000_000  # counts held at a time: 64 MB

Score = Callable[[NDArray[np.float64]], Doubles]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the bootstrap found; a difference above 0 always means the challenger is better.

    Attributes:
        metric: the figure compared.
        challenger: its value on all images.
        champion: its value on all images.
        difference: challenger minus champion, turned so that more is better.
        low: lower end of the two-sided interval of the difference at `confidence`.
        high: upper end.
        share_better: share of the resamples whose difference is above `margin`.
        margin: what the difference must exceed.
        confidence: from 0 to 1.
        images: images both answered.
        resamples: how many were drawn.
        identical: the two give the same score on every image.
        groups: whole groups drawn; None where single images were.
    """

    metric: str
    challenger: float
    champion: float
    difference: float
    low: float
    high: float
    share_better: float
    margin: float
    confidence: float
    images: int
    resamples: int
    identical: bool
    groups: int | None = None

    @property
    def better(self) -> bool:
        """Better by more than the margin in at least `confidence` of the resamples, and not merely equal."""
        return not self.identical and self.difference > self.margin and self.share_better >= self.confidence

    def as_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return asdict(self)


def paired_bootstrap(
    challenger: ArrayLike,
    champion: ArrayLike,
    *,
    metric: str = "score",
    confidence: float = 0.95,
    margin: float = 0.0,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare the means of two models' scores on the same images.

    Args:
        challenger: one score per image, float [N], more is better.
        champion: the same images in the same order.
        metric: what the scores are called in the result.
        confidence: from 0.5 to 1, exclusive.
        margin: the difference must exceed it.
        resamples: how many draws.
        seed: of the draws.

    Raises:
        InputError: shapes differ, no image, values that are not finite, or a confidence out of range.
    """
    a, b = np.asarray(challenger, dtype=np.float64), np.asarray(champion, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise InputError(f"two scores for each image are expected, [N] and [N]; got {list(a.shape)}, {list(b.shape)}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError("scores must be finite")
    gap = a - b
    identical = bool((gap == 0).all())
    drawn = _resample(lambda counts: counts @ gap / len(gap), len(gap), resamples, seed, confidence)
    return _comparison(
        metric, float(a.mean()), float(b.mean()), float(gap.mean()), drawn, identical, confidence, margin, len(gap)
    )


def compare_classifiers(
    labels: ArrayLike,
    challenger: ArrayLike,
    champion: ArrayLike,
    *,
    metric: str = "macro_f1",
    confidence: float = 0.95,
    margin: float = 0.0,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare two classifiers' probabilities on the same labelled images by one figure of `METRICS`.

    Args:
        labels: true class indices, int [N].
        challenger: probabilities, float [N,K].
        champion: probabilities over the same classes, float [N,K]; `metrics.align_columns` brings them there.
        metric: one of `METRICS`.
        confidence: from 0.5 to 1, exclusive.
        margin: the difference must exceed it.
        resamples: how many draws.
        seed: of the draws.

    Raises:
        UnknownNameError: no such metric.
        InputError: shapes or ranges that do not fit.
    """
    if metric not in METRICS:
        raise UnknownNameError("gate metric", metric, METRICS)
    rows_a = np.asarray(challenger, dtype=np.float64)
    n_classes = rows_a.shape[1] if rows_a.ndim == 2 else 0
    truth, rows_a = checked(labels, rows_a, n_classes)
    _, rows_b = checked(labels, champion, n_classes)
    if metric != "macro_f1":
        sign = METRICS[metric]
        scores = [sign * _per_image(metric, truth, rows) for rows in (rows_a, rows_b)]
        found = paired_bootstrap(
            *scores, metric=metric, confidence=confidence, margin=margin, resamples=resamples, seed=seed
        )
        values = asdict(found) | {"challenger": sign * found.challenger, "champion": sign * found.champion}
        return Comparison(**values)
    answers = [predictions(rows) for rows in (rows_a, rows_b)]
    return compare_scores(
        _macro_f1(truth, answers[0], n_classes),
        _macro_f1(truth, answers[1], n_classes),
        len(truth),
        metric=metric,
        identical=bool((answers[0] == answers[1]).all()),
        confidence=confidence,
        margin=margin,
        resamples=resamples,
        seed=seed,
    )


def compare_scores(
    challenger: Score,
    champion: Score,
    images: int,
    *,
    metric: str,
    identical: bool,
    groups: Sequence[str] | None = None,
    confidence: float = 0.95,
    margin: float = 0.0,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare two models by a figure that is no sum over images; more is better.

    Args:
        challenger: from how often each image was drawn, float64 [B,N], to the figure [B].
        champion: the same.
        images: N.
        metric: what it is called in the result.
        identical: whether both answer all images alike.
        groups: of each image; None where every image stands alone.
        confidence: from 0.5 to 1, exclusive.
        margin: the difference must exceed it.
        resamples: how many draws.
        seed: of the draws.

    Raises:
        InputError: a group that is missing, or a confidence out of range.
    """
    places, drawn_groups = _membership(groups, images)
    drawn = _resample(lambda counts: challenger(counts) - champion(counts), images, resamples, seed, confidence, places)
    once = np.ones((1, images))
    a, b = float(challenger(once)[0]), float(champion(once)[0])
    found = _comparison(metric, a, b, a - b, drawn, identical, confidence, margin, images)
    return replace(found, groups=drawn_groups)


def compare_totals(
    challenger: ArrayLike,
    champion: ArrayLike,
    figure: Score,
    *,
    metric: str,
    sign: int = 1,
    groups: Sequence[str] | None = None,
    confidence: float = 0.95,
    margin: float = 0.0,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare two models by a figure of sums over images: pixels of confusion matrices, squared errors.

    Args:
        challenger: what each image adds, numbers [N,...].
        champion: the same images in the same order.
        figure: from summed images, float64 [B,...], to the figure [B].
        metric: what it is called in the result.
        sign: +1 where more is better, -1 where less is.
        groups: of each image; None where every image stands alone.
        confidence: from 0.5 to 1, exclusive.
        margin: the difference must exceed it.
        resamples: how many draws.
        seed: of the draws.

    Raises:
        InputError: shapes differ, no image, values that are not finite, or a confidence out of range.
    """
    a, b = np.asarray(challenger, dtype=np.float64), np.asarray(champion, dtype=np.float64)
    if a.ndim < 2 or a.shape != b.shape or not len(a):
        raise InputError(f"sums of each image are expected, twice [N,...]; got {list(a.shape)} and {list(b.shape)}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError("sums of images must be finite")
    shape, flat_a, flat_b = a.shape[1:], a.reshape(len(a), -1), b.reshape(len(b), -1)

    def difference(counts: NDArray[np.float64]) -> Doubles:
        sums = [(counts @ flat).reshape(len(counts), *shape) for flat in (flat_a, flat_b)]
        return sign * (figure(sums[0]) - figure(sums[1]))

    places, drawn_groups = _membership(groups, len(a))
    drawn = _resample(difference, len(a), resamples, seed, confidence, places, cells=max(len(a), flat_a.shape[1]))
    values = [float(figure(one.sum(axis=0)[None])[0]) for one in (a, b)]
    gap = sign * (values[0] - values[1])
    identical = bool((flat_a == flat_b).all())
    found = _comparison(metric, values[0], values[1], gap, drawn, identical, confidence, margin, len(a))
    return replace(found, groups=drawn_groups)


def _membership(groups: Sequence[str] | None, images: int) -> tuple[Ints | None, int | None]:
    """Return each image's group as an index and how many there are; None where single images are drawn."""
    if groups is None:
        return None, None
    if len(groups) != images:
        raise InputError(f"a group for each of {images} images is expected; got {len(groups)}")
    names, places = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(names) < MIN_GROUPS or len(names) == images:
        return None, None
    return places.astype(np.int64), len(names)


def _per_image(metric: str, truth: Ints, rows: Doubles) -> Doubles:
    if metric == "log_loss":
        return log_losses(truth, rows)
    hits = predictions(rows) == truth if metric == "accuracy" else true_ranks(truth, rows) < 5
    return hits.astype(np.float64)


def _macro_f1(truth: Ints, predicted: Ints, n_classes: int) -> Score:
    """Return a function from how often each image was drawn, [B,N], to macro F1, [B]."""
    hits = np.flatnonzero(truth == predicted)

    def score(counts: NDArray[np.float64]) -> Doubles:
        support = _group_sums(counts, truth, n_classes)
        answered = _group_sums(counts, predicted, n_classes)
        right = _group_sums(counts[:, hits], truth[hits], n_classes)
        f1 = 2 * right / np.maximum(support + answered, 1)
        present = support > 0
        return np.asarray((f1 * present).sum(axis=1) / present.sum(axis=1), dtype=np.float64)

    return score


def _group_sums(counts: NDArray[np.float64], groups: Ints, n_groups: int) -> Doubles:
    """Sum the columns of `counts` [B,N] that share a group: float64 [B,n_groups]."""
    sums = np.zeros((len(counts), n_groups))
    if len(groups):
        order = np.argsort(groups, kind="stable")
        found, starts = np.unique(groups[order], return_index=True)
        sums[:, found] = np.add.reduceat(counts[:, order], starts, axis=1)
    return sums


def _resample(
    score: Score,
    images: int,
    resamples: int,
    seed: int,
    confidence: float,
    places: Ints | None = None,
    cells: int = 0,
) -> Doubles:
    """Return the score of each resample of images, or of whole groups where `places` says which group an image is in.

    `cells` are the numbers a score holds per resample, where they are more than the images.
    """
    if not 0.5 < confidence < 1:
        raise InputError(f"confidence is {confidence}; between 0.5 and 1 is expected, 0.95 for instance")
    if resamples < 100:
        raise InputError(f"{resamples} resamples are too few; 100 or more are expected")
    rng = np.random.default_rng(seed)
    drawn: list[Doubles] = []
    # One row at a time from the generator, so that the draws do not depend on the size of a chunk.
    chunk = max(1, min(resamples, _CELLS // max(images, cells)))
    units = images if places is None else int(places.max()) + 1
    for start in range(0, resamples, chunk):
        rows = [
            np.bincount(rng.integers(0, units, units), minlength=units) for _ in range(min(chunk, resamples - start))
        ]
        counts = np.asarray(rows, dtype=np.float64)
        drawn.append(score(counts if places is None else counts[:, places]))
    return np.concatenate(drawn)


def _comparison(
    metric: str,
    challenger: float,
    champion: float,
    difference: float,
    drawn: Doubles,
    identical: bool,
    confidence: float,
    margin: float,
    images: int,
) -> Comparison:
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    # Sums of equal terms in another order differ in the last bits; that is no difference.
    share = float(np.mean(drawn > margin + 1e-12))
    return Comparison(
        metric=metric,
        challenger=challenger,
        champion=champion,
        difference=difference,
        low=float(low),
        high=float(high),
        share_better=share,
        margin=margin,
        confidence=confidence,
        images=images,
        resamples=len(drawn),
        identical=identical,
    )
