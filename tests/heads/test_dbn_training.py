"""Training of a deep belief network: from any source, on rows without labels, stopped, killed, gone on with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dbn_case import SMALL, digits, table
from sklearn.datasets import load_digits

from drillcore.errors import DrillcoreError, InputError
from drillcore.heads import row_source
from drillcore.heads.base import FitRun
from drillcore.heads.dbn.dbn import DbnHead, DbnRegressor
from drillcore.heads.saving import load_head


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


def test_rows_without_labels_are_pretrained_on(tmp_path: Path) -> None:
    X, y = table()
    few = np.arange(0, 600, 60)
    params = {**SMALL, "pretrain_epochs": 2}
    counts: list[int] = []
    head = DbnHead(**params).fit(X[few], y[few], unlabelled=X, run=FitRun(advance=counts.append))
    np.testing.assert_allclose(head.mean_, X.astype(np.float64).mean(axis=0), rtol=1e-6)
    assert sum(counts) == head.work(10, 600) == 2 * 2 * 600 + 4 * 10
    kept = DbnHead(**params).fit(X[few], y[few], unlabelled=X, run=FitRun(checkpoint=tmp_path))
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
            kind(**SMALL, **params).fit(
                X, y, run=FitRun(checkpoint=tmp_path, advance=kill), validation=(X[:99], y[:99])
            )
    counts: list[int] = []
    resumed = head.fit(X, y, run=FitRun(checkpoint=tmp_path, advance=counts.append), validation=(X[:99], y[:99]))
    assert sum(counts) == total
    assert sum(counts[:2]) > 4000, "it did not begin anew"
    for one, other in zip(whole.layers_, resumed.layers_, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    assert resumed.curve_ == whole.curve_
    assert resumed.pretraining_curve_ == whole.pretraining_curve_
    # Done, it is found done; another training sees nothing of it.
    counts.clear()
    again = kind(**SMALL, **params).fit(
        X, y, run=FitRun(checkpoint=tmp_path, advance=counts.append), validation=(X[:99], y[:99])
    )
    assert max(counts) >= total / 2
    np.testing.assert_array_equal(again.predict(X), whole.predict(X))
    counts.clear()
    kind(**SMALL, **params, seed=1).fit(X, y, run=FitRun(checkpoint=tmp_path, advance=counts.append))
    assert max(counts) <= 128
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.usefixtures("small_blocks")
def test_a_damaged_checkpoint_is_not_continued(tmp_path: Path) -> None:
    X, y = table()
    whole = DbnHead(**SMALL).fit(X, y, run=FitRun(checkpoint=tmp_path))
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    for damaged in (data[: len(data) // 2], b"", data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], b"\x80\x04."):
        path.write_bytes(damaged)
        again = DbnHead(**SMALL).fit(X, y, run=FitRun(checkpoint=tmp_path))
        np.testing.assert_array_equal(again.layers_[0][0], whole.layers_[0][0])


_PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from drillcore.heads import row_source
from drillcore.heads.dbn import stages as dbn_stages
from drillcore.heads.base import FitRun
from drillcore.heads.saving import save_head
from drillcore.heads.dbn.dbn import DbnHead
dbn_stages.CHECKPOINT_SECONDS, row_source.BLOCK_VALUES = 0.0, 20 * 256
folder = Path(sys.argv[1])
rows = np.load(folder / "rows.npy", mmap_mode="r")
def advance(count):
    print(count, flush=True)
head = DbnHead(hidden=(24, 12), epochs=6, batch=32, pretrain_epochs=2, device="cpu", threads=1)
head.fit(rows, np.load(folder / "labels.npy"), run=FitRun(checkpoint=folder / "state", advance=advance))
save_head(folder / "head", head)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
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
