from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.model_selection import GridSearchCV

from drillcore.errors import InputError, IntegrityError, UnknownNameError
from drillcore.heads.base import FitRun
from drillcore.heads.catalogue import build_head, head_class
from drillcore.heads.forest import growth, plain_trees, ranks
from drillcore.heads.forest.extra_trees import ExtraTreesHead
from drillcore.heads.forest.forest import ForestHead
from drillcore.heads.forest.row_draw import RowDraw, tree_seeds
from drillcore.heads.forest.trees import LEAF, concatenate, float32_below, tree_arrays
from drillcore.heads.saving import ARRAYS_FILE, META_FILE, load_head, save_head

KINDS = [(ForestHead, RandomForestClassifier), (ExtraTreesHead, ExtraTreesClassifier)]


@pytest.fixture(autouse=True)
def _own_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """No table is so small that scikit-learn grows its trees: ours are what is tested."""
    monkeypatch.setattr(plain_trees, "SMALL", 0)


def table(seed: int = 0, rows: int = 300, features: int = 9, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    centres = rng.normal(size=(classes, features))
    # Few distinct values, so that rows lie exactly on thresholds and equal rows carry different labels.
    return np.round(centres[labels] + rng.normal(size=(rows, features)), 1).astype(np.float16), labels


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"max_depth": 3},
        {"min_samples_leaf": 4, "max_features": 0.5},
        {"class_weight": "balanced", "bootstrap": True},
        {"bootstrap": False, "max_features": None},
        {"bootstrap": True, "class_weight": {0: 4.0, 1: 0.5}},
        {"bootstrap": False, "class_weight": {0: 4.0, 1: 0.5, 2: 0.0}},  # powers of two: sums stay exact
    ],
)
@pytest.mark.parametrize(("kind", "reference"), KINDS)
def test_the_trees_are_those_of_scikit_learn(kind: type[ForestHead], reference: Any, params: dict) -> None:
    X, y = table()
    head = kind(n_estimators=19, seed=3, **params).fit(X, y)  # 19: three portions, the last one shorter
    theirs = reference(19, random_state=3, **params).fit(X.astype(np.float32), y)
    grown = concatenate([tree_arrays(member.tree_, theirs.classes_) for member in theirs.estimators_])
    for name, array in grown.arrays().items():
        if array.dtype.kind == "f":
            np.testing.assert_allclose(getattr(head.trees_, name), array, rtol=1e-6, atol=1e-7, err_msg=name)
        else:
            np.testing.assert_array_equal(getattr(head.trees_, name), array, err_msg=name)
    np.testing.assert_allclose(head.feature_importances_, theirs.feature_importances_, atol=1e-7)
    other, _ = table(1)
    for rows in (X, other):
        np.testing.assert_allclose(head.predict_proba(rows), theirs.predict_proba(rows.astype(np.float32)), atol=1e-12)


@pytest.mark.parametrize("params", [{}, {"max_depth": 3, "max_features": None}, {"min_samples_leaf": 4}])
@pytest.mark.parametrize("kind", [ForestHead, ExtraTreesHead])
def test_small_tables_give_the_same_trees(
    kind: type[ForestHead], params: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = table()
    ours = kind(n_estimators=9, seed=3, **params).fit(X, y).trees_.arrays()
    monkeypatch.setattr(plain_trees, "SMALL", 1e12)
    small = kind(n_estimators=9, seed=3, n_jobs=2, **params).fit(X, y).trees_.arrays()
    for name, array in small.items():
        np.testing.assert_allclose(ours[name], array, rtol=1e-6, atol=1e-7, err_msg=name)


@pytest.mark.parametrize(("kind", "reference"), KINDS)
def test_weights_that_round_give_a_forest_as_good(kind: type[ForestHead], reference: Any) -> None:
    X, y = table(rows=1500, classes=8)
    params = {"class_weight": "balanced_subsample", "bootstrap": True}
    head = kind(60, seed=1, **params).fit(X[:1000], y[:1000])
    theirs = reference(60, random_state=1, **params).fit(X[:1000].astype(np.float32), y[:1000])
    ours, other = head.predict_proba(X[1000:]), theirs.predict_proba(X[1000:].astype(np.float32))
    # scikit-learn splits pure nodes whose impurity is not 0 for rounding, and draws other features from there on: two
    # forests of one kind, no larger than theirs.
    assert abs((ours.argmax(axis=1) == y[1000:]).mean() - (other.argmax(axis=1) == y[1000:]).mean()) < 0.03
    brier = [((found - np.eye(8)[y[1000:]]) ** 2).sum(axis=1).mean() for found in (ours, other)]
    assert abs(brier[0] - brier[1]) < 0.02
    assert len(head.trees_.feature) < 1.02 * sum(member.tree_.node_count for member in theirs.estimators_)


def test_large_nodes_and_many_values() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 4000)
    rows = (labels[:, None] + rng.normal(size=(4000, 6))).astype(
        np.float32
    )  # 4,000 values a column, whole columns read
    rows[:, 1] *= 1e-7  # values nearer than scikit-learn tells apart
    rows[:, 2] = 3  # constant
    rows[::2, 3] = -0.0
    rows[1::4, 3] = 0.0
    for kind, reference in KINDS:
        head = kind(4, seed=2, min_samples_leaf=2).fit(rows, labels)
        theirs = reference(4, random_state=2, min_samples_leaf=2).fit(rows, labels)
        np.testing.assert_allclose(head.predict_proba(rows), theirs.predict_proba(rows), atol=1e-12)


def test_wide_ranks_grow_the_same_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = table(rows=2500)
    narrow = ForestHead(3).fit(X, y)
    ranked = []
    original = ranks.rank_table
    monkeypatch.setattr(ranks, "_RANKS", 100)
    monkeypatch.setattr(ranks, "_few_values", lambda rows: False)
    monkeypatch.setattr(growth, "rank_table", lambda *given: ranked.append(original(*given)) or ranked[0])
    wide = ForestHead(3).fit(X, y)
    assert ranked[0].columns.dtype == np.uint32
    for name, array in narrow.trees_.arrays().items():
        np.testing.assert_array_equal(array, getattr(wide.trees_, name))


def test_calibration_lowers_the_log_loss_and_keeps_the_labels() -> None:
    X, y = table(rows=1500, classes=8)
    plain, tempered = (ForestHead(40, calibration=given).fit(X[:1000], y[:1000]) for given in (None, "temperature"))
    before, after = plain.predict_proba(X[1000:]), tempered.predict_proba(X[1000:])
    assert tempered.temperature_ < 1  # shares of votes are too modest

    def loss(probabilities: np.ndarray) -> float:
        return float(-np.log(np.maximum(probabilities[np.arange(500), y[1000:]], 1e-3)).mean())

    assert loss(after) < loss(before) - 0.02
    np.testing.assert_allclose(after.sum(axis=1), 1)
    np.testing.assert_array_equal(before.argmax(axis=1), after.argmax(axis=1))
    again = ForestHead.from_state(*tempered.state())
    np.testing.assert_array_equal(again.predict_proba(X), tempered.predict_proba(X))


@pytest.mark.filterwarnings("ignore:Some inputs do not have OOB scores")
def test_out_of_bag_is_what_a_tree_did_not_see() -> None:
    X, y = table()
    head = ForestHead(6, calibration="temperature").fit(X, y)
    theirs = RandomForestClassifier(6, random_state=0, oob_score=True).fit(X.astype(np.float32), y)
    draw = RowDraw.of(y, 5, True, None, "forest")
    unseen = np.stack([draw.counts(int(seed)) == 0 for seed in tree_seeds(0, 6)], axis=1)
    some = unseen.any(axis=1)
    shares = head._summed_shares(X.astype(np.float32)[some], 1, unseen[some]) / unseen[some].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, theirs.oob_decision_function_[some], atol=1e-12)


def test_importances_find_the_features_that_tell() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 600)
    rows = rng.normal(size=(600, 10)).astype(np.float32)
    rows[:, 3] += 3 * (labels % 2)
    rows[:, 7] += 3 * (labels // 2)
    head = ForestHead(30).fit(rows, labels)
    assert set(np.argsort(head.feature_importances_)[-2:]) == {3, 7}
    assert head.feature_importances_.sum() == pytest.approx(1)
    alone = ForestHead(3, n_classes=2).fit(rows, np.ones(600, int))
    assert not alone.feature_importances_.any()


def test_threads_and_neighbours_change_nothing() -> None:
    X, y = table()
    one, two = ForestHead(9, n_jobs=1).fit(X, y), ForestHead(9, n_jobs=3).fit(X, y)
    together = one.predict_proba(np.tile(X, (3, 1)))[:300]
    np.testing.assert_array_equal(together, two.predict_proba(np.tile(X, (3, 1)))[:300])
    np.testing.assert_array_equal(together[7:8], one.predict_proba(X[7:8]))


def test_classes_without_rows_have_probability_zero() -> None:
    X, y = table(classes=3)
    head = ForestHead(5, n_classes=6).fit(X, np.array([1, 2, 4])[y])
    probabilities = head.predict_proba(X)
    assert probabilities.shape == (300, 6)
    assert not probabilities[:, [0, 3, 5]].any()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert set(head.predict(X)) <= {1, 2, 4}


def test_one_class_only_grows_single_leaves() -> None:
    X, _ = table()
    head = ForestHead(3, n_classes=2).fit(X, np.ones(len(X), int))
    assert (head.trees_.feature == LEAF).all()
    np.testing.assert_array_equal(head.predict_proba(X[:2]), [[0, 1], [0, 1]])


def test_scikit_learn_manners() -> None:
    X, y = table()
    head = ForestHead(5, max_depth=2)
    assert clone(head).get_params() == head.get_params()
    search = GridSearchCV(head, {"max_depth": [1, 8]}, cv=2).fit(X, y)
    assert search.best_params_ == {"max_depth": 8}
    assert head.score is not None


def test_float32_below_keeps_every_decision() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=1000).astype(np.float32)
    thresholds = np.concatenate(
        [points.astype(np.float64), points + 1e-12, points - 1e-12, (points[1:].astype(np.float64) + points[:-1]) / 2]
    )
    below = float32_below(thresholds)
    for x in (points, np.nextafter(points, np.float32(9)), np.nextafter(points, np.float32(-9))):
        wanted = x[:, None].astype(np.float64) <= thresholds[None]
        np.testing.assert_array_equal(x[:, None] <= below[None], wanted)


def test_saved_and_loaded_predicts_the_same_bits(tmp_path: Path) -> None:
    X, y = table()
    head = ForestHead(9, seed=5, n_classes=7).fit(X, y)
    digest = save_head(tmp_path / "head", head)
    again = load_head(tmp_path / "head")
    assert isinstance(again, ForestHead)
    assert again.get_params() == head.get_params()
    np.testing.assert_array_equal(again.predict_proba(X), head.predict_proba(X))
    assert save_head(tmp_path / "other", again) == digest
    assert sorted(path.name for path in (tmp_path / "head").iterdir()) == [META_FILE, ARRAYS_FILE]


def test_damage_is_noticed(tmp_path: Path) -> None:
    X, y = table()
    save_head(tmp_path / "h", ForestHead(2).fit(X, y))
    arrays = tmp_path / "h" / ARRAYS_FILE
    data = bytearray(arrays.read_bytes())
    data[-1] ^= 1
    arrays.write_bytes(data)
    with pytest.raises(IntegrityError, match="digest"):
        load_head(tmp_path / "h")
    (tmp_path / "h" / META_FILE).write_text(json.dumps({"head": "forest"}))
    with pytest.raises(IntegrityError, match="does not describe"):
        load_head(tmp_path / "h")
    with pytest.raises(InputError, match="no fitted head"):
        load_head(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("name", "value"),
    [("gain", np.nan), ("right", 10**6), ("right", 0), ("feature", 99), ("leaf_class", 99), ("leaf_starts", 3)],
)
def test_forged_state_is_refused(name: str, value: float) -> None:
    X, y = table()
    arrays, meta = ForestHead(2).fit(X, y).state()
    arrays = {key: array.copy() for key, array in arrays.items()}
    arrays[name][0] = value
    with pytest.raises(IntegrityError):
        ForestHead.from_state(arrays, meta)


class KilledError(Exception):
    """Stands for kill -9: nothing after it runs."""


def test_a_killed_fit_goes_on_to_the_same_forest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = table()
    undisturbed = ForestHead(30).fit(X, y)

    def kill_in_third(count: int) -> None:
        kill_in_third.seen += count
        if kill_in_third.seen > 2 * growth.PORTION:
            raise KilledError

    kill_in_third.seen = 0
    with pytest.raises(KilledError):
        ForestHead(30).fit(X, y, run=FitRun(checkpoint=tmp_path, advance=kill_in_third))
    kept = sorted(tmp_path.iterdir())
    assert len(kept) == 3
    kept[1].write_bytes(kept[1].read_bytes()[:-5])  # a damaged portion is grown again
    grown = []
    original = growth._grow_one
    monkeypatch.setattr(growth, "_grow_one", lambda *args: grown.append(args[2]) or original(*args))
    resumed = ForestHead(30).fit(X, y, run=FitRun(checkpoint=tmp_path))
    assert grown == tree_seeds(0, 30)[[*range(8, 16), *range(24, 30)]].tolist()
    np.testing.assert_array_equal(resumed.predict_proba(X), undisturbed.predict_proba(X))
    grown.clear()
    ForestHead(30, seed=1).fit(X, y, run=FitRun(checkpoint=tmp_path))  # other parameters see none of it
    assert len(grown) == 30


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_estimators": 0}, "n_estimators"),
        ({"max_features": "all"}, "max_features"),
        ({"min_samples_leaf": -1}, "min_samples_leaf"),
        ({"seed": -1}, "seed"),
        ({"class_weight": "heavy"}, "class_weight"),
        ({"max_depth": 0}, "max_depth"),
        ({"bootstrap": "yes"}, "bootstrap"),
        ({"calibration": "platt"}, "calibration"),
        ({"calibration": "temperature", "bootstrap": False}, "did not see"),
        ({"n_jobs": 0}, "n_jobs"),
        ({"n_classes": 2}, "labels from 0 to 1"),
    ],
)
def test_bad_parameters_are_one_line(params: dict, message: str) -> None:
    X, y = table()
    with pytest.raises(InputError, match=message) as caught:
        ForestHead(**{"n_estimators": 2, **params}).fit(X, y)
    assert "\n" not in str(caught.value)


def test_bad_rows_and_labels() -> None:
    X, y = table()
    head = ForestHead(2).fit(X, y)
    with pytest.raises(InputError, match="X has 8 features, but head is expecting 9"):
        head.predict_proba(X[:, :8])
    with pytest.raises(InputError, match="row 1 "):
        head.predict_proba(np.array([[0.0] * 9, [np.inf] * 9]))
    with pytest.raises(InputError, match="one label"):
        ForestHead(2).fit(X, y[:-1])
    with pytest.raises(InputError, match="integers"):
        ForestHead(2).fit(X, y + 0.5)


def test_catalogue() -> None:
    head = build_head("forest", {"n_estimators": 7, "seed": 4}, seed=1, n_jobs=2)
    assert isinstance(head, ForestHead)
    assert (head.n_estimators, head.seed, head.n_jobs) == (7, 4, 2)
    assert head_class("extra_trees") is ExtraTreesHead
    with pytest.raises(UnknownNameError, match="did you mean forest"):
        head_class("forrest")
    with pytest.raises(InputError, match="trees is not a field; allowed: n_estimators, "):
        build_head("forest", {"trees": 3})
