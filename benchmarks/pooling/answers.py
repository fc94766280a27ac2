"""A linear SVM on kernels, its answers to test pictures, and differences between methods, for `bench cross-pooling`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.pooling.features import Maps
from benchmarks.pooling.kernels import SEED, save
from benchmarks.pooling.pictures import Pictures
from benchmarks.report import facts
from drillcore.evaluation.figures.voc_precision import PRESENT, figure_of
from drillcore.files import write_json
from drillcore.heads.svm.dual_svm import DualSvmHead

CHOICES = (0.1, 1.0, 10.0, 100.0)  # of C; rows have a mean squared length of 1
FOLDS = 4  # C is chosen by, within train
MEASURED = "measured.json"  # machine, versions and date of a piece's last answers
MANY = 2000  # training pictures: the first three choices then, and one part held out


@dataclass(frozen=True, slots=True)
class Answers:
    """What a machine said of the test pictures.

    Attributes:
        decisions: float32 [n, K]; -inf for a class without a training picture.
        truth: labels int64 [n], or int8 [n, K].
        c: chosen on rows held out of train.
        loss: on those rows, of that C: the log loss, of plankton the share of errors.
    """

    decisions: npt.NDArray[np.float32]
    truth: npt.NDArray[Any]
    c: float
    loss: float

    @property
    def score(self) -> float:
        """Accuracy, or the mean average precision where a picture has several labels."""
        return float(self.drawn(np.ones((1, len(self.truth))))[0])

    def drawn(self, counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the scores [B] of pictures drawn that often, [B, n]."""
        if self.truth.ndim == 1:
            right = self.decisions.argmax(axis=1) == self.truth
            return np.asarray(counts @ right / counts.sum(axis=1))
        ranks = self.decisions.argsort(axis=0, kind="stable").argsort(axis=0) / len(self.truth)  # of 0 to 1
        return figure_of(self.truth, ranks, "mean_average_precision")(counts)


def answers(maps: Maps, name: str, kernel_of: Callable[[], npt.NDArray[np.float64]]) -> Answers:
    """Return what a machine learnt from train says of test, kept once it was asked; it chooses C as the recipe's head.

    Args:
        maps: whose pictures.
        name: of the method.
        kernel_of: returns the products of all pictures.
    """
    pictures = maps.pictures
    asked = pictures.splits == "test"
    path = maps.folder / "answers" / f"{name}.npy"
    if not path.exists():
        save(path, _answered(kernel_of(), pictures))
        write_json(path.parent / MEASURED, facts())
    kept = np.load(path)
    return Answers(kept[1:], pictures.labels[asked], float(kept[0, 0]), float(kept[0, 1]))


def _answered(products: npt.NDArray[np.float64], pictures: Pictures) -> npt.NDArray[np.float32]:
    """Return the decisions [n, K] on test, under a row that begins with the C that was chosen and its loss."""
    learnt, asked = np.flatnonzero(pictures.splits == "train"), np.flatnonzero(pictures.splits == "test")
    labels = pictures.labels[learnt]
    labels = labels == PRESENT if pictures.several else labels
    own = products[np.ix_(learnt, learnt)]
    if len(learnt) < MANY:
        head = DualSvmHead(c=list(CHOICES), folds=FOLDS, seed=SEED).fit(own, labels)
        loss = head.tried_[head.c_]
    else:
        c, loss = chosen_on_val(own, labels)
        head = DualSvmHead(c=c, folds=0).fit(own, labels)
    found = np.full((len(asked) + 1, len(pictures.classes)), -np.inf, np.float32)
    found[0, :2] = head.c_, loss
    found[1:, head.present_] = products[np.ix_(asked, learnt)] @ head.dual().T + head.bias_
    return found


def chosen_on_val(products: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Return the C of fewest errors on the fifth of each class that is held out of train (val), and their share.

    One part held out costs a third of what folds would, which counts with many pictures of many classes. Of plankton's
    classes most are small: the log loss, which the head goes by, wants a C that gives them up.

    Args:
        products: of training pictures, [N, N].
        labels: of them, [N]; a class of fewer than five is learnt from alone.
    """
    val = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        val[np.flatnonzero(labels == label)[4::5]] = True
    errors = {}
    for c in CHOICES[:3]:
        head = DualSvmHead(c=c, folds=0).fit(products[np.ix_(~val, ~val)], labels[~val])
        decisions = products[np.ix_(val, ~val)] @ head.dual().T + head.bias_
        errors[c] = float((head.present_[decisions.argmax(axis=1)] != labels[val]).mean())
    best = min(errors, key=lambda c: errors[c])  # of equals the smaller
    return best, errors[best]


def paired(ours: Sequence[Answers], theirs: Sequence[Answers], *, draws: int = 2_000) -> tuple[float, float, float]:
    """Return difference, lower and upper end of its 95 % interval, in points: the mean over data sets.

    Test pictures are drawn with replacement within each data set, the same for both methods.
    """
    rng = np.random.default_rng(SEED)
    drawn, whole = np.zeros(draws), []
    for a, b in zip(ours, theirs, strict=True):
        count = len(a.truth)
        counts = rng.multinomial(count, np.full(count, 1 / count), draws).astype(np.float64)
        drawn += (a.drawn(counts) - b.drawn(counts)) / len(ours)
        whole.append(a.score - b.score)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return 100 * float(np.mean(whole)), 100 * float(low), 100 * float(high)
