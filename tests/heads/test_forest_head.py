from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV

from drillcore.errors import InputError, IntegrityError, UnknownNameError
from drillcore.heads import growth
from drillcore.heads.base import ARRAYS_FILE, META_FILE, load_head, save_head
from drillcore.heads.catalogue import build_head, head_class
from drillcore.heads.forest import ForestHead
from drillcore.heads.trees import LEAF, float32_below


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
        {"class_weight": "balanced"},
        {"class_weight": "balanced_subsample"},
        {"bootstrap": False, "max_features": None},
    ],
)
def test_answers_as_scikit_learn_grown_in_one_go(params: dict) -> None:
    X, y = table()
    other, _ = table(1)
    head = ForestHead(n_estimators=19, seed=3, **params).fit(X, y)  # 19: three portions, the last one shorter
    forest = RandomForestClassifier(19, random_state=3, **params).fit(X.astype(np.float32), y)
    for rows in (X, other):
        np.testing.assert_allclose(head.predict_proba(rows), forest.predict_proba(rows.astype(np.float32)), atol=1e-12)


def test_threads_and_neighbours_change_nothing() -> None:
    X, y = table()
    one, two = ForestHead(9, n_jobs=1).fit(X, y), ForestHead(9, n_jobs=2).fit(X, y)
    together = one.predict_proba(X)
    np.testing.assert_array_equal(together, two.predict_proba(X))
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
    [("right", 10**6), ("right", 0), ("feature", 99), ("leaf_class", 99), ("leaf_starts", 3)],
)
def test_forged_state_is_refused(name: str, value: int) -> None:
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
        ForestHead(30).fit(X, y, checkpoint=tmp_path, advance=kill_in_third)
    kept = sorted(tmp_path.iterdir())
    assert len(kept) == 3
    kept[1].write_bytes(kept[1].read_bytes()[:-5])  # a damaged portion is grown again
    grown = []
    original = growth._grow_portion
    monkeypatch.setattr(growth, "_grow_portion", lambda *args: grown.append(args[2]) or original(*args))
    resumed = ForestHead(30).fit(X, y, checkpoint=tmp_path)
    assert grown == [8, 24]
    np.testing.assert_array_equal(resumed.predict_proba(X), undisturbed.predict_proba(X))
    grown.clear()
    ForestHead(30, seed=1).fit(X, y, checkpoint=tmp_path)  # other parameters see none of it
    assert len(grown) == 4


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_estimators": 0}, "n_estimators"),
        ({"max_features": "all"}, "max_features"),
        ({"min_samples_leaf": -1}, "min_samples_leaf"),
        ({"seed": -1}, "seed"),
        ({"class_weight": "heavy"}, "class_weight"),
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
    with pytest.raises(InputError, match="9 features are expected, 8 came"):
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
    with pytest.raises(UnknownNameError, match="did you mean forest"):
        head_class("forrest")
    with pytest.raises(InputError, match="no parameter 'trees'; known: bootstrap"):
        build_head("forest", {"trees": 3})
