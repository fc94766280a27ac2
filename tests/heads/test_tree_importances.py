"""Importances of a forest kept without impurities, beside scikit-learn's own."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from drillcore.heads.forest import ForestHead
from drillcore.heads.tree_importances import tree_importances


def case() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(300, 6)).astype(np.float32)
    return rows, (rows[:, 1] + 0.5 * rows[:, 4] > 0).astype(np.int64) + 2 * (rows[:, 4] > 0.5)


def test_they_are_scikit_learns() -> None:
    rows, labels = case()
    head = ForestHead(n_estimators=8, bootstrap=False, seed=3, n_classes=5).fit(rows, labels)
    stream = np.random.RandomState(3)
    stream.randint(np.iinfo(np.int32).max, size=0)
    plain = RandomForestClassifier(8, bootstrap=False, random_state=stream).fit(rows, labels)
    found = tree_importances(head.trees_, rows, labels, 5)
    np.testing.assert_allclose(found, plain.feature_importances_, rtol=1e-9)
    assert found.argmax() in (1, 4)


def test_some_trees_tell_nearly_the_same() -> None:
    rows, labels = case()
    head = ForestHead(n_estimators=40, seed=1).fit(rows, labels)
    steps: list[int] = []
    some = tree_importances(head.trees_, rows, labels, 4, most=10, advance=steps.append)
    assert sum(steps) == 10
    assert some.sum() == pytest.approx(1)
    assert np.abs(some - tree_importances(head.trees_, rows, labels, 4)).max() < 0.1


def test_trees_that_never_split_tell_nothing() -> None:
    rows, _ = case()
    head = ForestHead(n_estimators=2, n_classes=2).fit(rows, np.zeros(300, np.int64))
    assert tree_importances(head.trees_, rows, np.zeros(300, np.int64), 2).tolist() == [0.0] * 6
