"""Random forest: paper 004, section II.C, with its 400 trees; grown by scikit-learn, kept as flat arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from drillcore.digests import Json
from drillcore.errors import InputError, IntegrityError
from drillcore.heads import trees as tree_format
from drillcore.heads.base import Arrays, check_labels, check_params, check_rows
from drillcore.heads.growth import GrowthCheckpoint, grow
from drillcore.heads.trees import Trees

_MAX_CLASSES = 1 << 16  # leaf classes are uint16


class ForestHead(ClassifierMixin, BaseEstimator):
    """Random forest classifier; probabilities as scikit-learn's, the mean of the leaves' class shares.

    Args:
        n_estimators: trees.
        max_features: features tried at each split: "sqrt", "log2", a share, a count, or None for all.
        min_samples_leaf: rows, or a share, that a leaf keeps at least.
        max_depth: None: until leaves are pure.
        class_weight: None, "balanced" or "balanced_subsample".
        bootstrap: each tree on rows drawn with replacement.
        n_classes: length of the model's class list; None: one more than the highest label seen.
        seed: of everything random.
        n_jobs: threads; -1: all cores. The result does not depend on it.
    """

    name: ClassVar[str] = "forest"

    def __init__(
        self,
        n_estimators: int = 400,
        max_features: str | float | None = "sqrt",
        min_samples_leaf: int | float = 1,
        max_depth: int | None = None,
        class_weight: str | None = None,
        bootstrap: bool = True,
        n_classes: int | None = None,
        seed: int = 0,
        n_jobs: int | None = None,
    ) -> None:
        self.n_estimators = n_estimators
        self.max_features = max_features
        self.min_samples_leaf = min_samples_leaf
        self.max_depth = max_depth
        self.class_weight = class_weight
        self.bootstrap = bootstrap
        self.n_classes = n_classes
        self.seed = seed
        self.n_jobs = n_jobs

    def fit(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        checkpoint: Path | None = None,
        advance: Callable[[int], None] | None = None,
    ) -> Self:
        """Grow the trees, some at a time; killed and called again with the same arguments it goes on.

        Args:
            X: rows [N, D], float16 or float32.
            y: class indices [N].
            checkpoint: folder for what is grown; None: none is kept. Removing it afterwards is the caller's.
            advance: called with the number of trees that came.

        Raises:
            InputError: rows, labels or a parameter that cannot be used.
        """
        rows = check_rows(X)
        labels, count = check_labels(y, len(rows), self.n_classes)
        self._check_values(count)
        options = {
            "max_features": self.max_features,
            "min_samples_leaf": self.min_samples_leaf,
            "max_depth": self.max_depth,
            "class_weight": self.class_weight,
            "bootstrap": self.bootstrap,
        }
        kept = GrowthCheckpoint.of(checkpoint, rows, labels, {**options, "seed": self.seed}) if checkpoint else None
        try:
            self.trees_ = grow(rows, labels, self.n_estimators, self.seed, options, self.n_jobs, kept, advance)
        except (ValueError, TypeError) as error:  # scikit-learn's own checks of its parameters
            raise InputError(f"head 'forest': {' '.join(str(error).split())}") from error
        self.classes_ = np.arange(count, dtype=np.int64)
        self.n_features_in_ = rows.shape[1]
        return self

    def predict_proba(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return probabilities float64 [N, K] of rows [N, D]; raises InputError on rows of another width."""
        check_is_fitted(self, "trees_")
        rows = check_rows(X, self.n_features_in_)
        return tree_format.summed_shares(self.trees_, rows, len(self.classes_)) / self.trees_.count

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the most probable label, int64 [N]; of equals the lowest."""
        return self.predict_proba(X).argmax(axis=1).astype(np.int64)

    def state(self) -> tuple[Arrays, Json]:
        """Return the trees' arrays, and JSON with parameters, width and number of classes."""
        check_is_fitted(self, "trees_")
        meta = {"params": self.get_params(), "features": self.n_features_in_, "classes": len(self.classes_)}
        return self.trees_.arrays(), meta

    @classmethod
    def from_state(cls, arrays: Mapping[str, npt.NDArray[Any]], meta: Json) -> Self:
        """Make the fitted forest again; it predicts the same bits.

        Raises:
            IntegrityError: the parts do not fit together.
        """
        try:
            check_params(cls, meta["params"])
            head = cls(**meta["params"])
            head.trees_ = Trees(**arrays)
            head.n_features_in_, count = int(meta["features"]), int(meta["classes"])
        except (KeyError, TypeError, ValueError, InputError):
            raise IntegrityError("the state is not one of a forest; fit the head again") from None
        if not 1 <= count <= _MAX_CLASSES:
            raise IntegrityError(f"the state is of a forest of {count} classes; fit the head again")
        tree_format.check_trees(head.trees_, head.n_features_in_, count)
        head.classes_ = np.arange(count, dtype=np.int64)
        return head

    def _check_values(self, count: int) -> None:
        if not isinstance(self.n_estimators, int) or self.n_estimators < 1:
            raise InputError(f"head 'forest': n_estimators is {self.n_estimators!r}; 1 or more trees are expected")
        if not isinstance(self.seed, int) or not 0 <= self.seed < 2**32:
            raise InputError(f"head 'forest': seed is {self.seed!r}; an integer from 0 to 2**32 - 1 is expected")
        if count > _MAX_CLASSES:
            raise InputError(f"head 'forest' takes up to {_MAX_CLASSES} classes, {count} came")
