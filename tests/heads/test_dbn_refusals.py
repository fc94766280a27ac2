"""What a deep belief network refuses, in one line each."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from dbn_case import SMALL, table

from drillcore.errors import InputError, IntegrityError
from drillcore.heads.dbn.dbn import DbnHead, DbnRegressor


def forged(head: DbnHead, **changes: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    arrays, meta = head.state()
    return {**arrays, **changes}, json.loads(json.dumps(meta))


def test_forged_state_is_refused() -> None:
    X, y = table()
    head = DbnHead(**SMALL).fit(X, y)
    DbnHead.from_state(*forged(head))
    for changes in (
        {"weight0": np.zeros((19, 24), np.float32)},
        {"weight1": np.full((24, 12), np.nan, np.float32)},
        {"bias2": np.zeros(3, np.float32)},
        {"mean": np.zeros(20)},
        {"scale": np.zeros(20, np.float32)},
        {"more": np.zeros(1, np.float32)},
    ):
        with pytest.raises(IntegrityError, match="deep belief network"):
            DbnHead.from_state(*forged(head, **changes))
    for key, value in (("layers", 2), ("params", {"hidden": [24, 12], "x": 1}), ("curve", 3), ("best_epoch", "no")):
        arrays, meta = forged(head)
        with pytest.raises(IntegrityError):
            DbnHead.from_state(arrays, {**meta, key: value})
    with pytest.raises(IntegrityError):
        DbnHead.from_state({}, {})


def test_rows_and_labels_that_cannot_be_used() -> None:
    X, y = table()
    head = DbnHead(**SMALL).fit(X, y)
    with pytest.raises(InputError, match="X has 19 features, but head is expecting 20"):
        head.predict_proba(X[:, :19])
    bad = X.astype(np.float32)
    bad[123, 7] = np.nan
    for attempt in (lambda: head.predict(bad), lambda: DbnHead(**SMALL).fit(bad, y)):
        with pytest.raises(InputError, match="row 123 "):
            attempt()
    with pytest.raises(InputError, match="row 123 "):
        DbnRegressor(**SMALL).fit(bad, X[:, :2])
    with pytest.raises(InputError, match="labels from 0 to 2 are expected, 3 came"):
        DbnHead(**SMALL, n_classes=3).fit(X, y)
    with pytest.raises(InputError, match="-1 came"):
        DbnHead(**SMALL, n_classes=12).fit(X, y - 1)
    with pytest.raises(InputError, match="one label"):
        DbnHead(**SMALL).fit(X[:0], y[:0])
    for weights in (np.ones(3), -np.ones(600), np.full(600, np.nan), np.zeros(600)):
        with pytest.raises(InputError, match="weight"):
            DbnHead(**SMALL).fit(X, y, weights)
    with pytest.raises(InputError, match="numbers of row 5 are not finite"):
        DbnRegressor(**SMALL).fit(X, np.where(np.arange(600) == 5, np.inf, 0))
    with pytest.raises(InputError, match=r"numbers \[N, outputs\]"):
        DbnRegressor(**SMALL).fit(X, X[:9])
    with pytest.raises(InputError, match="2 numbers for each validation row"):
        DbnRegressor(**SMALL).fit(X, X[:, :2], validation=(X, X[:, :3]))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"hidden": 3}, "hidden is 3"),
        ({"hidden": (0,)}, "hidden"),
        ({"hidden": "12"}, "hidden"),
        ({"activation": "tanh"}, "activation is 'tanh'; allowed: relu, sigmoid"),
        ({"epochs": 0}, "epochs"),
        ({"pretrain_epochs": -1}, "pretrain_epochs"),
        ({"batch": 1.5}, "batch"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"pretrain_learning_rate": "fast"}, "pretrain_learning_rate"),
        ({"schedule": "linear"}, "schedule"),
        ({"optimizer": "lion"}, "optimizer"),
        ({"dropout": 1}, "dropout is 1; a number from 0, below 1"),
        ({"l1": -1}, "l1"),
        ({"l2": float("nan")}, "l2"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"precision": "float16"}, "precision"),
        ({"class_weight": "heavy"}, "class_weight"),
        ({"seed": -1}, "seed"),
        ({"device": "tpu"}, "device"),
        ({"threads": -2}, "threads"),
    ],
)
def test_bad_parameters_are_one_line(params: dict[str, Any], message: str) -> None:
    X, y = table(rows=40)
    with pytest.raises(InputError, match=message) as caught:
        DbnHead(**{**SMALL, **params}).fit(X, y)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("head 'dbn'")
