"""A head of another package: one module with its class, parameters, row and ONNX writer; what it is told is checked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from drillcore import plugins
from drillcore.errors import InputError, IntegrityError, UnknownNameError
from drillcore.heads.base import Classifier
from drillcore.heads.catalogue import build_head, head_names, head_params, head_row
from drillcore.heads.saving import load_head, save_head
from drillcore.recipes.editing import editor_schema

MODULE = '''
import numpy as np
from pydantic import Field
from sklearn.base import BaseEstimator, ClassifierMixin

from drillcore.heads.base import Classifier, FitRun, check_labels, check_rows
from drillcore.heads.catalogue import HeadRow
from drillcore.schemas import Params


class MeanParams(Params):
    sharpness: float = Field(1.0, gt=0)
    n_classes: int | None = None


class NearestMean(ClassifierMixin, BaseEstimator, Classifier):
    name = "nearest_mean"
    params = MeanParams

    def __init__(self, sharpness=1.0, n_classes=None):
        self.sharpness, self.n_classes = sharpness, n_classes

    def fit(self, X, y, sample_weight=None, *, run=FitRun()):
        self.checked_params()
        rows = check_rows(X)
        labels, count = check_labels(y, len(rows), self.n_classes)
        self.means_ = np.stack([rows[labels == label].mean(axis=0) for label in range(count)])
        self.classes_, self.n_features_in_ = np.arange(count), rows.shape[1]
        return self

    def predict_proba(self, X):
        rows = check_rows(X, self.n_features_in_)
        near = np.exp(-self.sharpness * np.square(rows[:, None] - self.means_).sum(axis=2))
        return near / near.sum(axis=1, keepdims=True)

    def predict(self, X):
        return self.predict_proba(X).argmax(axis=1)

    def state(self):
        return {"means": self.means_}, {"params": self.get_params()}

    @classmethod
    def from_state(cls, arrays, meta):
        head = cls(**meta["params"])
        head.means_ = arrays["means"]
        head.classes_, head.n_features_in_ = np.arange(len(head.means_)), head.means_.shape[1]
        return head


def write_nearest(builder, head, rows, probabilities):
    """Not written in this test."""


ROW = HeadRow(
    head="nearest_of_test:NearestMean",
    params="nearest_of_test:MeanParams",
    writer="nearest_of_test:write_nearest",
    tasks=("classification",),
    weighs=False,
)
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    info = tmp_path / "nearest_of_test-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nearest-of-test\nVersion: 1\n")
    points = "[drillcore.heads]\nnearest_mean = nearest_of_test:ROW\nbroken_mean = nearest_of_test:NOTHING\n"
    (info / "entry_points.txt").write_text(points)
    (tmp_path / "nearest_of_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    plugins.found.cache_clear()
    yield
    plugins.found.cache_clear()
    sys.modules.pop("nearest_of_test", None)


def test_it_is_one_of_the_heads(package: None, tmp_path: Path) -> None:
    assert head_names()[-2:] == ["broken_mean", "nearest_mean"]
    assert head_row("nearest_mean").tasks == ("classification",)
    X = np.arange(24, dtype=np.float32).reshape(12, 2)
    head = build_head("nearest_mean", {"sharpness": 0.1}, n_classes=3, seed=5, n_jobs=2).fit(X, np.arange(12) // 4)
    assert isinstance(head, Classifier)
    save_head(tmp_path / "head", head)
    np.testing.assert_array_equal(load_head(tmp_path / "head").predict_proba(X), head.predict_proba(X))
    assert any("sharpness" in str(rule) for rule in editor_schema()["allOf"])


def test_what_it_is_told_is_checked(package: None) -> None:
    with pytest.raises(
        InputError, match=r"head 'nearest_mean': sharpness is 0; a number above 0 is expected"
    ) as caught:
        build_head("nearest_mean", {"sharpness": 0, "seed": 3})
    assert len(str(caught.value).splitlines()) == 2
    with pytest.raises(InputError, match="of the package nearest-of-test"):
        head_params("broken_mean")


def test_without_the_package_its_models_say_what_is_missing(package: None, tmp_path: Path) -> None:
    X = np.arange(24, dtype=np.float32).reshape(12, 2)
    save_head(tmp_path / "head", build_head("nearest_mean").fit(X, np.arange(12) // 4))
    sys.path.remove(str(tmp_path))
    plugins.found.cache_clear()
    with pytest.raises((UnknownNameError, IntegrityError), match="unknown head 'nearest_mean'"):
        load_head(tmp_path / "head")
