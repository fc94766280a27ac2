"""Which rows a tree sees and what they weigh: drawn as scikit-learn draws them, so that one seed gives one forest.

scikit-learn 1.9 draws a bootstrap sample with the class weights as probabilities, and counts each drawn row once;
"balanced_subsample" draws evenly and weighs what came. Without a bootstrap rows weigh what their class does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from drillcore.arrays import Floats, Ints
from drillcore.errors import RowsError
from drillcore.heads.class_weights import class_weights, row_weights

SUBSAMPLE = "balanced_subsample"


@dataclass(frozen=True)
class RowDraw:
    """How the rows of each tree are drawn.

    Attributes:
        labels: class of each row, int64 [N].
        classes: K.
        bootstrap: rows are drawn with replacement, as many as there are.
        unit: weight of each class, float64 [K].
        subsample: weigh the classes of what was drawn instead.
        shares: weight of each row times its class's, float32 [N]; None: its class's.
    """

    labels: npt.NDArray[np.int64]
    classes: int
    bootstrap: bool
    unit: npt.NDArray[np.float64]
    subsample: bool
    shares: Floats | None = None

    @classmethod
    def of(
        cls,
        labels: Ints,
        classes: int,
        bootstrap: bool,
        given: object,
        head: str,
        sample_weight: npt.ArrayLike | None = None,
    ) -> RowDraw:
        """Make the draw of one fit; `given` is the head's class_weight.

        Raises:
            InputError: a class_weight that is not known, or weights of rows that cannot be drawn by.
        """
        subsample = isinstance(given, str) and given == SUBSAMPLE
        counts = np.bincount(labels, minlength=classes)
        unit = class_weights("balanced" if subsample else given, counts, head)
        if not unit[labels].any():
            raise RowsError(f"head {head!r}: the weight of every row is zero; nothing can be learnt")
        shares = None
        if sample_weight is not None:
            if subsample or not bootstrap:
                raise RowsError(f"head {head!r} draws rows evenly and does not weigh them; leave sample_weight out")
            shares = row_weights(unit[labels], sample_weight, head)
        return cls(labels, classes, bootstrap, unit, subsample and bootstrap, shares)

    def counts(self, seed: int) -> npt.NDArray[np.int64]:
        """Return how often each row comes in the tree of a seed, int64 [N]."""
        rows = len(self.labels)
        if not self.bootstrap:
            return (self.unit[self.labels] > 0).astype(np.int64)
        stream = np.random.RandomState(seed)
        own = self.unit[self.labels] if self.shares is None else self.shares.astype(np.float64)
        if self.subsample or (own == own[0]).all():
            drawn = stream.randint(0, rows, rows)
        else:
            drawn = stream.choice(rows, rows, replace=True, p=own / own.sum())
        return np.bincount(drawn, minlength=rows)

    def weights(self, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return what one drawn row of each class weighs, float64 [K]."""
        if self.subsample:
            drawn = np.bincount(self.labels, counts, minlength=self.classes)
            weights = np.zeros(self.classes)
            np.divide(drawn.sum(), (drawn > 0).sum() * drawn, out=weights, where=drawn > 0)
            return weights
        return np.ones(self.classes) if self.bootstrap else self.unit


def feature_seed(seed: int) -> int:
    """Return the seed of the features that the tree of a seed draws."""
    return int(np.random.RandomState(seed).randint(0, np.iinfo(np.int32).max))


def tree_seeds(seed: int, count: int) -> npt.NDArray[np.int64]:
    """Return one seed for each tree; the first ones do not depend on how many there are."""
    return np.random.RandomState(seed).randint(np.iinfo(np.int32).max, size=count).astype(np.int64)
