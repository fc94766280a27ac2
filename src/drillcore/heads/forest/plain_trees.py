"""Trees grown by scikit-learn: of random splits, and on small tables, before numba has compiled `tree_growth`.

The trees are the same, node for node, where the rows weigh alike: `tests/heads/test_forest_head.py` compares them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from drillcore.heads.forest.row_draw import RowDraw
from drillcore.heads.forest.trees import NO_LIMIT, Trees, tree_arrays

if TYPE_CHECKING:
    from drillcore.heads.forest.growth import GrowthPlan

# Rows times features tried times classes times trees that take scikit-learn about as long as compiling takes: its
# search goes over all classes at each position of a split.
SMALL = 3e8


def is_small(rows: int, plan: GrowthPlan, trees: int) -> bool:
    """Say whether scikit-learn grows `trees` trees of a plan sooner, and the same."""
    return _weigh_alike(plan.draw) and rows * plan.rules.tried * plan.draw.classes * trees < SMALL


def grow_plain(rows: npt.NDArray[np.float32], plan: GrowthPlan, seed: int) -> Trees:
    """Return the tree of a seed.

    Args:
        rows: C-contiguous [N, D], finite.
        plan: how.
        seed: of the tree.
    """
    from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier

    rules, draw = plan.rules, plan.draw
    tree = (DecisionTreeClassifier if plan.split == "best" else ExtraTreeClassifier)(
        max_features=min(rules.tried, rows.shape[1]),
        min_samples_leaf=rules.min_leaf,
        max_depth=None if rules.max_depth == NO_LIMIT else rules.max_depth,
        random_state=seed,
    )
    counts = draw.counts(seed)
    tree.fit(rows, draw.labels, sample_weight=counts * draw.weights(counts)[draw.labels], check_input=False)
    return tree_arrays(tree.tree_, tree.classes_)


def _weigh_alike(draw: RowDraw) -> bool:
    # Other weights round: scikit-learn then splits nodes that are pure but for rounding.
    return not draw.subsample and bool((draw.unit == 1).all())
