"""Extremely randomised trees (Geurts, Ernst and Wehenkel 2006): a random threshold for each feature that is tried.

The threshold is uniform between the least and the greatest value in the node, and the best of the features tried is
taken; every tree sees all rows. Trees are larger than a forest's and grow faster.
"""

from __future__ import annotations

from typing import ClassVar

from drillcore.heads.forest.forest import ForestHead
from drillcore.heads.forest.params import ExtraTreesParams
from drillcore.schemas import Params


class ExtraTreesHead(ForestHead):
    """Extremely randomised trees; one seed gives the trees of scikit-learn's `ExtraTreesClassifier`.

    Args:
        n_estimators: trees.
        max_features: as `ForestHead`; Geurts et al. call it K, and take the square root of the number of features.
        min_samples_leaf: as `ForestHead`; theirs is n_min / 2.
        max_depth: None: until leaves are pure.
        class_weight: as `ForestHead`.
        bootstrap: each tree on rows drawn with replacement; calibration needs it.
        calibration: as `ForestHead`.
        n_classes: length of the model's class list; None: one more than the highest label seen.
        seed: of everything random.
        n_jobs: threads; -1: all cores. The result does not depend on it.
    """

    name: ClassVar[str] = "extra_trees"
    params: ClassVar[type[Params]] = ExtraTreesParams
    split: ClassVar[str] = "random"
