"""Random forest: paper 004, section II.C, with its 400 trees; tree by tree that of scikit-learn, grown faster.

Probabilities are the mean of the leaves' class shares. Leaves are nearly all pure, so that the mean is the share of
trees that vote for a class: with many classes it is too modest, never too sure, and the order of classes is right. That
is the paper's forest and the default; `calibration: temperature` sharpens it by what trees say of rows they did not see
(out of bag, Breiman 1996).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from drillcore.arrays import Array
from drillcore.digests import sha256_bytes
from drillcore.errors import InputError, IntegrityError
from drillcore.heads.base import (
    Arrays,
    Classifier,
    FitRun,
    check_params,
    check_rows,
    kept_names,
    label_places,
    read_names,
)
from drillcore.heads.forest.growth import GrowthCheckpoint, GrowthPlan, grow, thread_count
from drillcore.heads.forest.params import MAX_CLASSES, ForestParams
from drillcore.heads.forest.row_draw import RowDraw, tree_seeds
from drillcore.heads.forest.trees import NO_LIMIT, Rules, Trees, check_trees, leaf_numbers, mean_gains
from drillcore.heads.parametrised import Parametrised
from drillcore.heads.row_source import Table
from drillcore.heads.temperature import fit_temperature, tempered
from drillcore.json_types import Json
from drillcore.schemas import Params


class ForestHead(ClassifierMixin, Parametrised, Classifier):
    """Random forest classifier; one seed gives the trees of scikit-learn's `RandomForestClassifier`.

    Args:
        n_estimators: trees.
        max_features: features tried at each split: "sqrt", "log2", a share, a count, or None for all.
        min_samples_leaf: rows, or a share, that a leaf keeps at least.
        max_depth: None: until leaves are pure.
        class_weight: None, "balanced_subsample", or what `class_weights` takes: "balanced", "sqrt_median_frequency", a
            power, weights by class.
        bootstrap: each tree on rows drawn with replacement.
        calibration: None: shares as they are; "temperature": sharpened or softened by the rows each tree did not see.
        n_classes: length of the model's class list; None: one more than the highest label seen.
        seed: of everything random.
        n_jobs: threads; -1: all cores. The result does not depend on it.
    """

    name: ClassVar[str] = "forest"
    params: ClassVar[type[Params]] = ForestParams
    split: ClassVar[str] = "best"
    n_estimators: int
    max_features: str | float | None
    min_samples_leaf: int | float
    max_depth: int | None
    class_weight: str | float | Mapping[int, float] | None
    bootstrap: bool
    calibration: str | None
    n_classes: int | None
    seed: int
    n_jobs: int | None

    def fit(
        self, X: Table, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None, *, run: FitRun = FitRun()
    ) -> Self:
        """Grow the trees, some at a time; killed and called again with the same arguments it goes on.

        Args:
            X: rows [N, D], float16 or float32.
            y: class indices [N].
            sample_weight: how often each row is drawn beside others, [N]; None: 1. Only where trees draw rows evenly
                or by their class's weight.
            run: how; it advances by trees.

        Raises:
            InputError: rows, labels or a parameter that cannot be used; weights of rows.
        """
        self.checked_params()
        rows = check_rows(X)
        labels, names = label_places(y, len(rows), self.n_classes)
        count = len(names)
        if count > MAX_CLASSES:
            raise InputError(f"head {self.name!r} takes up to {MAX_CLASSES} classes, {count} came")
        threads = thread_count(self.n_jobs if run.threads is None else run.threads or -1)
        draw = RowDraw.of(labels, count, self.bootstrap, self.class_weight, self.name, sample_weight)
        plan = GrowthPlan(self.n_estimators, self.seed, self.split, rules_of(self, *rows.shape), draw)
        given = {name: value for name, value in self.get_params().items() if name not in ("n_jobs", "calibration")}
        described = {**given, "head": self.name, "n_classes": count}
        described |= {} if draw.shares is None else {"sample_weight": sha256_bytes(draw.shares.tobytes())}
        kept = GrowthCheckpoint.of(run.checkpoint, rows, labels, described) if run.checkpoint else None
        self.set_trees(grow(rows, plan, threads, kept, run.advance), rows.shape[1], names)
        if self.calibration == "temperature":
            self.temperature_ = self._fit_temperature(rows, plan, threads)
        return self

    def work(self, rows: int) -> int:
        """Return how many trees there will be."""
        return self.n_estimators

    def importances(self) -> npt.NDArray[np.float64]:
        """Return `feature_importances_`."""
        return self.feature_importances_

    def predict_proba(self, X: Table) -> npt.NDArray[np.float64]:
        """Return probabilities float64 [N, K] of rows [N, D]; raises InputError on rows of another width."""
        check_is_fitted(self, "trees_")
        rows = check_rows(X, self.n_features_in_)
        shares = self._summed_shares(rows, thread_count(self.n_jobs)) / self.trees_.count
        return tempered(shares, self.temperature_)

    @property
    def feature_importances_(self) -> npt.NDArray[np.float64]:
        """Mean decrease in Gini impurity of each feature, float64 [D], summing to 1 (all 0 where no tree splits)."""
        check_is_fitted(self, "trees_")
        return mean_gains(self.trees_, self.n_features_in_)

    def predict(self, X: Table) -> Array:
        """Return the most probable label, [N], int64 for class indices; of equals the first."""
        return self.named(self.predict_proba(X).argmax(axis=1))

    def state(self) -> tuple[Arrays, Json]:
        """Return the trees' arrays, and JSON with parameters, width and number of classes."""
        check_is_fitted(self, "trees_")
        meta = {"params": self.get_params(), "features": self.n_features_in_, "classes": len(self.classes_)}
        meta["temperature"] = self.temperature_
        return self.trees_.arrays(), meta | kept_names(self.classes_)

    @classmethod
    def from_state(cls, arrays: Mapping[str, Array], meta: Json) -> Self:
        """Make the fitted forest again; it predicts the same bits.

        Raises:
            IntegrityError: the parts do not fit together.
        """
        try:
            check_params(cls, meta["params"])
            head = cls(**meta["params"])
            trees = Trees(**arrays)
            width, count, temperature = int(meta["features"]), int(meta["classes"]), float(meta["temperature"])
            names = read_names(meta, count)
        except (KeyError, TypeError, ValueError, InputError):
            raise IntegrityError(f"the state is not one of a head {cls.name!r}; fit the head again") from None
        if not 1 <= count <= MAX_CLASSES or not 0 < temperature < np.inf:
            raise IntegrityError(f"the state is of {count} classes at temperature {temperature}; fit the head again")
        check_trees(trees, width, count)
        head.set_trees(trees, width, names)
        head.temperature_ = temperature
        return head

    def set_trees(self, trees: Trees, width: int, classes: Array) -> None:
        """Take trees as the fitted ones, of rows of `width` features and these classes, without calibration."""
        self.trees_, self.n_features_in_, self.temperature_ = trees, width, 1.0
        self.classes_, self._leaf_numbers = classes, leaf_numbers(trees)

    def _summed_shares(
        self, rows: npt.NDArray[np.float32], threads: int, only: npt.NDArray[np.bool_] | None = None
    ) -> npt.NDArray[np.float64]:
        from drillcore.heads.forest.descent import summed_shares

        return summed_shares(self.trees_, self._leaf_numbers, rows, len(self.classes_), threads, only)

    def _fit_temperature(self, rows: npt.NDArray[np.float32], plan: GrowthPlan, threads: int) -> float:
        """Return the temperature of the least log loss on what the trees that did not see a row say of it."""
        unseen = np.stack([plan.draw.counts(int(seed)) == 0 for seed in tree_seeds(plan.seed, plan.count)], axis=1)
        some = unseen.any(axis=1)
        if not some.any():
            return 1.0
        shares = self._summed_shares(rows[some], threads, unseen[some]) / unseen[some].sum(axis=1, keepdims=True)
        return fit_temperature(shares, plan.draw.labels[some])


def rules_of(head: ForestHead, rows: int, width: int) -> Rules:
    """Return when a head with checked parameters splits a node, on `rows` rows of `width` features."""
    tried, leaf, depth = head.max_features, head.min_samples_leaf, head.max_depth
    if tried is None:
        tried = width
    elif tried in ("sqrt", "log2"):
        tried = max(1, int(np.sqrt(width) if tried == "sqrt" else np.log2(width)))
    elif isinstance(tried, float):
        tried = max(1, int(tried * width))
    if isinstance(leaf, float):
        leaf = math.ceil(leaf * rows)
    return Rules(int(tried), int(leaf), NO_LIMIT if depth is None else depth)
