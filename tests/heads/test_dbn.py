from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score

from drillcore.errors import DrillcoreError, InputError, IntegrityError
from drillcore.heads import dbn_stages, row_source
from drillcore.heads.base import load_head, load_regressor, save_head
from drillcore.heads.catalogue import build_head, head_class
from drillcore.heads.class_weights import class_weights
from drillcore.heads.dbn import DbnHead, DbnRegressor

SMALL: dict[str, Any] = {"hidden": (24, 12), "epochs": 4, "batch": 32, "device": "cpu", "threads": 1}


def table(rows: int = 600, features: int = 20, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    centres = np.random.default_rng(9).normal(size=(classes, features)) * 2
    return (centres[labels] + rng.normal(size=(rows, features)) + 5).astype(np.float16), labels


def digits() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float16), y


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few batches, so that a small table has many."""
    monkeypatch.setattr(row_source, "BLOCK_VALUES", 20 * 128)
    monkeypatch.setattr(row_source, "_SLICE_VALUES", 20 * 100)
    monkeypatch.setattr(row_source, "RUN", 16)
    monkeypatch.setattr(dbn_stages, "CHECKPOINT_SECONDS", 0.0)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"activation": "sigmoid", "learning_rate": 0.01},
        {"pretrain_epochs": 3},
        {"activation": "sigmoid", "pretrain_epochs": 3, "learning_rate": 0.01},
        {"optimizer": "sgd", "learning_rate": 0.05, "schedule": "step"},
        {"precision": "bfloat16"},
        {"dropout": 0.3, "label_smoothing": 0.1, "l2": 0.01, "schedule": "constant"},
        {"hidden": (), "learning_rate": 0.01},
    ],
)
def test_digits_are_learnt(params: dict[str, Any]) -> None:
    X, y = digits()
    head = DbnHead(**{**SMALL, "hidden": (128, 64), "epochs": 12, **params}).fit(X[:1400], y[:1400])
    assert head.score(X[1400:], y[1400:]) > 0.86
    probabilities = head.predict_proba(X[1400:])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), head.predict(X[1400:]))
    losses = [record["loss"] for record in head.curve_]
    assert len(losses) == 12
    assert losses[-1] < losses[0]
    assert len(head.pretraining_curve_) == 2 * params.get("pretrain_epochs", 0)


def test_layers_answer_as_written() -> None:
    """What an exporter relies on: x' = (x - mean) / scale, then weight and bias of each layer."""
    X, y = table()
    head = DbnHead(**SMALL, pretrain_epochs=1).fit(X, y)
    rows = X.astype(np.float64)
    np.testing.assert_allclose(head.mean_, rows.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(head.scale_, rows.std(axis=0), rtol=1e-6)
    values = (rows - head.mean_) / head.scale_
    for weight, bias in head.layers_[:-1]:
        values = np.maximum(values @ weight + bias, 0)
    weight, bias = head.layers_[-1]
    logits = values @ weight + bias
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(head.predict_proba(X), shares / shares.sum(axis=1, keepdims=True), atol=1e-5)
    assert {part.dtype for layer in head.layers_ for part in layer} == {np.dtype(np.float32)}


def test_constant_features_change_nothing_in_the_answers() -> None:
    X, y = table()
    X[:, 3] = 7
    head = DbnHead(**SMALL).fit(X, y)
    assert head.scale_[3] == 1
    moved = X.copy()
    moved[:, 3] = 7.5
    assert np.isfinite(head.predict_proba(moved)).all()


@pytest.mark.usefixtures("small_blocks")
def test_the_kind_of_source_changes_no_bit(tmp_path: Path) -> None:
    X, y = table()

    class Source:
        shape = X.shape
        largest = 0

        def __getitem__(self, indices: Any) -> np.ndarray:
            found = X[indices]
            Source.largest = max(Source.largest, len(found))
            return found

    np.save(tmp_path / "rows.npy", X)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    heads = [DbnHead(**SMALL, pretrain_epochs=1, dropout=0.2).fit(rows, y) for rows in (X, mapped, Source())]
    for head in heads[1:]:
        for one, other in zip(heads[0].layers_, head.layers_, strict=True):
            np.testing.assert_array_equal(one[0], other[0])
            np.testing.assert_array_equal(one[1], other[1])
        np.testing.assert_array_equal(head.predict_proba(mapped), heads[0].predict_proba(X))
    assert Source.largest < len(X), "no whole copy"


def test_seeds_and_weights_matter_and_repeat() -> None:
    X, y = table()
    first = DbnHead(**SMALL).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(DbnHead(**SMALL).fit(X, y).predict_proba(X), first)
    np.testing.assert_array_equal(DbnHead(**SMALL).fit(X, y, np.full(len(y), 3.0)).predict_proba(X), first)
    assert not np.array_equal(DbnHead(**SMALL, seed=1).fit(X, y).predict_proba(X), first)
    favoured = DbnHead(**SMALL).fit(X, y, np.where(y == 2, 50.0, 1.0)).predict_proba(X)
    assert favoured[:, 2].mean() > first[:, 2].mean()


def test_sample_weight_of_zero_is_a_row_that_is_not_there() -> None:
    X, y = table(classes=2)
    wrong = y.copy()
    wrong[:300] = 1 - wrong[:300]
    weights = np.where(np.arange(600) < 300, 0.0, 1.0)
    head = DbnHead(**{**SMALL, "epochs": 8}).fit(X, wrong, weights)
    assert head.score(X, y) > 0.97


def test_dropout_keeps_the_expectation_and_l1_makes_zeros_and_l2_shrinks() -> None:
    from drillcore.heads.perceptron import forward, forward_with_dropout

    drawn = torch.Generator().manual_seed(0)
    layers = [(torch.randn(6, 400, generator=drawn), torch.zeros(400)), (torch.ones(400, 1), torch.zeros(1))]
    rows = torch.randn(1, 6, generator=drawn)
    wanted = forward(rows, layers, "relu")
    found = torch.cat([forward_with_dropout(rows, layers, "relu", 0.25, drawn) for _ in range(4000)])
    assert float(found.mean()) == pytest.approx(float(wanted), rel=0.01)
    assert float(found.std()) > 1
    hidden = [(torch.eye(4), torch.ones(4)), (torch.eye(4), torch.zeros(4))]
    dropped = forward_with_dropout(torch.zeros(5000, 4), hidden, "relu", 0.5, drawn)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert float((dropped == 0).float().mean()) == pytest.approx(0.5, abs=0.01)

    X, y = table()
    plain, sparse, small = (
        DbnHead(**{**SMALL, "epochs": 8, "learning_rate": 0.01, **params}).fit(X, y)
        for params in ({}, {"l1": 0.5}, {"l2": 2.0})
    )

    def weights(head: DbnHead) -> np.ndarray:
        return np.concatenate([weight.ravel() for weight, _ in head.layers_])

    assert (weights(plain) == 0).mean() == 0
    assert (weights(sparse) == 0).mean() > 0.3
    assert np.square(weights(small)).sum() < 0.5 * np.square(weights(plain)).sum()
    assert sparse.score(X, y) > 0.95


def test_class_weights() -> None:
    counts = np.array([100, 400, 0, 25])
    np.testing.assert_allclose(class_weights(None, counts, "dbn"), [1, 1, 0, 1])
    np.testing.assert_allclose(class_weights("balanced", counts, "dbn"), [525 / 300, 525 / 1200, 0, 525 / 75])
    np.testing.assert_allclose(class_weights("sqrt_median_frequency", counts, "dbn"), [1, 0.5, 0, 2])
    np.testing.assert_allclose(class_weights({1: 3, "3": 0.5}, counts, "dbn"), [1, 3, 0, 0.5])
    for wrong in ("heavy", 3, {7: 1}, {0: -1}, {"a": 1}, {0: float("nan")}):
        with pytest.raises(InputError, match="class_weight"):
            class_weights(wrong, counts, "dbn")


def test_balancing_lifts_a_rare_class() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(2000) < 0.03).astype(int)
    X = (rng.normal(size=(2000, 5)) + 1.2 * y[:, None]).astype(np.float32)
    recalls = [
        (DbnHead(**SMALL, class_weight=weight).fit(X, y).predict(X)[y == 1] == 1).mean()
        for weight in (None, "sqrt_median_frequency", "balanced")
    ]
    assert recalls[0] < recalls[1] < recalls[2]


def test_classes_without_rows_have_probability_zero() -> None:
    X, y = table(classes=3)
    labels = np.array([1, 2, 4])[y]
    head = DbnHead(**{**SMALL, "epochs": 12}, n_classes=6).fit(X, labels, validation=(X[:50], np.arange(50) % 6))
    probabilities = head.predict_proba(X)
    assert probabilities.shape == (600, 6)
    assert not probabilities[:, [0, 3, 5]].any()
    assert (head.predict(X) == labels).mean() > 0.95
    assert np.isfinite(head.curve_[-1]["val_loss"])
    assert head.curve_[-1]["val_accuracy"] <= 0.6, "rows of unseen classes count as wrong"


def test_one_class_only() -> None:
    X, _ = table()
    head = DbnHead(**SMALL, n_classes=2).fit(X, np.ones(len(X), int))
    np.testing.assert_array_equal(head.predict_proba(X[:2]), [[0, 1], [0, 1]])


def test_one_row_only() -> None:
    X, y = table()
    for activation in ("relu", "sigmoid"):
        head = DbnHead(**SMALL, pretrain_epochs=1, activation=activation).fit(X[:1], y[:1])
        assert head.predict(X[:1]) == y[:1]


def test_rows_without_labels_are_pretrained_on(tmp_path: Path) -> None:
    X, y = table()
    few = np.arange(0, 600, 60)
    params = {**SMALL, "pretrain_epochs": 2}
    counts: list[int] = []
    head = DbnHead(**params).fit(X[few], y[few], unlabelled=X, advance=counts.append)
    np.testing.assert_allclose(head.mean_, X.astype(np.float64).mean(axis=0), rtol=1e-6)
    assert sum(counts) == head.work(10, 600) == 2 * 2 * 600 + 4 * 10
    kept = DbnHead(**params).fit(X[few], y[few], unlabelled=X, checkpoint=tmp_path)
    np.testing.assert_array_equal(kept.layers_[0][0], head.layers_[0][0])
    alone = DbnHead(**params).fit(X[few], y[few])
    assert not np.array_equal(alone.layers_[0][0], head.layers_[0][0])
    with pytest.raises(InputError, match="no row without a label"):
        DbnHead(**params).fit(X, y, unlabelled=X[:0])
    bad = X[few].copy()
    bad[3, 3] = np.nan
    with pytest.raises(InputError, match="row 3 "):
        DbnHead(**params).fit(bad, y[few], unlabelled=X)


def test_validation_stops_and_keeps_the_best() -> None:
    X, _ = table(rows=150)
    noise = np.random.default_rng(1).integers(0, 4, 150)
    params = {**SMALL, "epochs": 60, "learning_rate": 0.01, "schedule": "constant"}
    head = DbnHead(**params, patience=3).fit(X, noise, validation=table(rows=100, seed=5))
    losses = [record["val_loss"] for record in head.curve_]
    assert len(losses) == head.best_epoch_ + 3 < 60
    assert head.best_epoch_ == 1 + int(np.argmin(losses))
    again = DbnHead(**params).fit(X, noise, validation=table(rows=100, seed=5))
    assert len(again.curve_) == again.best_epoch_ == 60
    values, labels = table(rows=100, seed=5)
    probability = head.predict_proba(values)[np.arange(100), labels]
    assert -np.log(probability).mean() == pytest.approx(min(losses), rel=1e-4)


def test_relu_pretraining_of_rows_with_rare_large_values_stays_finite() -> None:
    """Pixels that are hardly ever lit are far out once standardised: a rate too high for them is lowered."""
    X, y = load_digits(return_X_y=True)
    head = DbnHead(
        hidden=(256, 128), epochs=1, batch=32, pretrain_epochs=8, pretrain_batch=32, pretrain_learning_rate=0.05, seed=1
    )
    head.fit((X[:800] / 16).astype(np.float32), y[:800])
    assert all(np.isfinite(record["loss"]) for record in head.curve_)


@pytest.mark.parametrize("outputs", [1, 3])
def test_regression_in_the_targets_unit(outputs: int) -> None:
    X, _ = table(rows=1500)
    values = 200 + 60 * np.tanh(X[:, :outputs].astype(np.float32) - 5)
    head = DbnRegressor(**{**SMALL, "epochs": 30, "batch": 64}).fit(
        X[:1200], values[:1200], validation=(X[1200:], values[1200:])
    )
    found = head.predict(X[1200:])
    assert found.dtype == np.float32
    assert found.shape == (300, outputs)
    error = np.square(found - values[1200:]).mean()
    assert head.curve_[-1]["val_loss"] == pytest.approx(error, rel=1e-3)
    assert head.score(X[1200:], values[1200:]) > 0.7
    assert "val_accuracy" not in head.curve_[-1]


def test_regression_of_one_axis_and_of_a_constant() -> None:
    X, _ = table()
    head = DbnRegressor(**SMALL).fit(X, np.full(len(X), 3))
    np.testing.assert_allclose(head.predict(X[:4]), 3, atol=0.6)
    assert head.n_outputs_ == 1


@pytest.mark.parametrize("kind", [DbnHead, DbnRegressor])
def test_saved_and_loaded_predicts_the_same_bits(kind: type, tmp_path: Path) -> None:
    X, y = table()
    extra = {"n_classes": 6, "class_weight": {1: 2.0}} if kind is DbnHead else {}
    head = kind(**SMALL, pretrain_epochs=1, **extra).fit(X, y)
    digest = save_head(tmp_path / "head", head)
    again = (load_head if kind is DbnHead else load_regressor)(tmp_path / "head")
    assert type(again) is kind
    assert again.get_params() == head.get_params()
    assert (again.curve_, again.pretraining_curve_) == (head.curve_, head.pretraining_curve_)
    np.testing.assert_array_equal(again.predict(X), head.predict(X))
    if kind is DbnHead:
        np.testing.assert_array_equal(again.predict_proba(X), head.predict_proba(X))
        np.testing.assert_array_equal(again.classes_, np.arange(6))
    assert save_head(tmp_path / "other", again) == digest
    with pytest.raises(InputError, match="is expected"):
        (load_regressor if kind is DbnHead else load_head)(tmp_path / "head")


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


def test_scikit_learn_manners() -> None:
    X, y = table(rows=200)
    head = DbnHead(**SMALL)
    assert clone(head).get_params() == head.get_params()
    search = GridSearchCV(head, {"epochs": [1, 10], "learning_rate": [1e-5, 0.01]}, cv=2).fit(X, y)
    assert search.best_params_ == {"epochs": 10, "learning_rate": 0.01}
    assert cross_val_score(DbnRegressor(**SMALL), X.astype(np.float64), X[:, :2], cv=2).shape == (2,)
    assert build_head("dbn", {"hidden": [8], "epochs": 1}, n_classes=5, seed=3, n_jobs=2).seed == 3
    assert isinstance(build_head("dbn_regressor", {}, n_classes=5, threads=1), DbnRegressor)
    assert head_class("dbn") is DbnHead


class KilledError(Exception):
    """Stands for kill -9: nothing after it runs."""


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("kind", [DbnHead, DbnRegressor])
@pytest.mark.parametrize(
    "params",
    [{"pretrain_epochs": 2, "dropout": 0.2}, {"activation": "sigmoid", "pretrain_epochs": 2, "optimizer": "sgd"}],
)
def test_killed_anywhere_it_goes_on_to_the_same_bits(kind: type, params: dict[str, Any], tmp_path: Path) -> None:
    X, y = table()
    head = kind(**SMALL, **params)
    total = head.work(len(X))
    assert total == len(X) * (2 * 2 + 4)
    whole = kind(**SMALL, **params).fit(X, y, validation=(X[:99], y[:99]))
    for limit in (100, 700, 1300, 1900, 2450, 3100, 4700):
        seen = 0

        def kill(count: int, limit: int = limit) -> None:
            nonlocal seen
            seen += count
            if seen > limit:
                raise KilledError

        with pytest.raises(KilledError):
            kind(**SMALL, **params).fit(X, y, checkpoint=tmp_path, advance=kill, validation=(X[:99], y[:99]))
    counts: list[int] = []
    resumed = head.fit(X, y, checkpoint=tmp_path, advance=counts.append, validation=(X[:99], y[:99]))
    assert sum(counts) == total
    assert sum(counts[:2]) > 4000, "it did not begin anew"
    for one, other in zip(whole.layers_, resumed.layers_, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    assert resumed.curve_ == whole.curve_
    assert resumed.pretraining_curve_ == whole.pretraining_curve_
    # Done, it is found done; another training sees nothing of it.
    counts.clear()
    again = kind(**SMALL, **params).fit(X, y, checkpoint=tmp_path, advance=counts.append, validation=(X[:99], y[:99]))
    assert max(counts) >= total / 2
    np.testing.assert_array_equal(again.predict(X), whole.predict(X))
    counts.clear()
    kind(**SMALL, **params, seed=1).fit(X, y, checkpoint=tmp_path, advance=counts.append)
    assert max(counts) <= 128
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.usefixtures("small_blocks")
def test_a_damaged_checkpoint_is_not_continued(tmp_path: Path) -> None:
    X, y = table()
    whole = DbnHead(**SMALL).fit(X, y, checkpoint=tmp_path)
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    for damaged in (data[: len(data) // 2], b"", data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], b"\x80\x04."):
        path.write_bytes(damaged)
        again = DbnHead(**SMALL).fit(X, y, checkpoint=tmp_path)
        np.testing.assert_array_equal(again.layers_[0][0], whole.layers_[0][0])


_PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from drillcore.heads import dbn_stages, row_source
from drillcore.heads.base import save_head
from drillcore.heads.dbn import DbnHead
dbn_stages.CHECKPOINT_SECONDS, row_source.BLOCK_VALUES = 0.0, 20 * 256
folder = Path(sys.argv[1])
rows = np.load(folder / "rows.npy", mmap_mode="r")
def advance(count):
    print(count, flush=True)
head = DbnHead(hidden=(24, 12), epochs=6, batch=32, pretrain_epochs=2, device="cpu", threads=1)
head.fit(rows, np.load(folder / "labels.npy"), checkpoint=folder / "state", advance=advance)
save_head(folder / "head", head)
"""


@pytest.mark.slow
def test_kill_9(tmp_path: Path) -> None:
    X, y = table(rows=3000)
    np.save(tmp_path / "rows.npy", X)
    np.save(tmp_path / "labels.npy", y)
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for after in (3, 20, 45):
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            for _ in range(after):
                assert process.stdout.readline()
            process.send_signal(signal.SIGKILL)
    subprocess.run(command, check=True, capture_output=True, env=environment)
    found = load_head(tmp_path / "head")
    params = {"hidden": (24, 12), "epochs": 6, "batch": 32, "pretrain_epochs": 2, "device": "cpu", "threads": 1}
    blocks = row_source.BLOCK_VALUES
    try:
        row_source.BLOCK_VALUES = 20 * 256
        whole = DbnHead(**params).fit(X, y)
    finally:
        row_source.BLOCK_VALUES = blocks
    np.testing.assert_array_equal(found.predict_proba(X), whole.predict_proba(X))


def test_rows_and_labels_that_cannot_be_used() -> None:
    X, y = table()
    head = DbnHead(**SMALL).fit(X, y)
    with pytest.raises(InputError, match="20 features are expected, 19 came"):
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
        DbnHead(**SMALL).fit(X, y - 1)
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
        ({"activation": "tanh"}, "activation is 'tanh'; one of relu, sigmoid is expected"),
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


def test_divergence_is_told() -> None:
    X, y = table()
    with pytest.raises(DrillcoreError, match=r"fine-tuning diverged in epoch \d+: the loss is .*; lower learning_rate"):
        DbnHead(**{**SMALL, "optimizer": "sgd", "learning_rate": 1e9}).fit(X, y)


@pytest.mark.gpu
@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_on_a_gpu_as_good_and_repeatable(activation: str) -> None:
    X, y = digits()
    params = {"hidden": (128, 64), "epochs": 12, "batch": 32, "pretrain_epochs": 3, "activation": activation}
    heads = [
        DbnHead(**params, learning_rate=0.01 if activation == "sigmoid" else 1e-3, dropout=0.1, device="cuda").fit(
            X[:1400], y[:1400]
        )
        for _ in range(2)
    ]
    assert heads[0].score(X[1400:], y[1400:]) > 0.86
    np.testing.assert_allclose(heads[0].predict_proba(X), heads[1].predict_proba(X), atol=1e-3)
    on_cpu = DbnHead.from_state(*heads[0].state()).set_params(device="cpu")
    np.testing.assert_allclose(on_cpu.predict_proba(X), heads[0].predict_proba(X), atol=1e-4)
