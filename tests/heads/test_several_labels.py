"""Linear SVMs of rows with several labels: one hyperplane for each, a probability of its own, an ONNX form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from sklearn.svm import LinearSVC

from drillcore.errors import InputError
from drillcore.export.builder import GraphBuilder
from drillcore.export.heads.linear_svm_nodes import write_linear_svm
from drillcore.heads.saving import load_head, save_head
from drillcore.heads.svm.linear_svm import LinearSvmHead


def table(rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Rows of 8 features; each of 4 labels depends on two of them, the fifth no row has."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, 8)).astype(np.float32)
    truth = X[:, 0:8:2] + X[:, 1:8:2] + 0.3 * rng.normal(size=(rows, 4)) > 0.4
    return X, np.concatenate([truth, np.zeros((rows, 1), bool)], axis=1).astype(int)


def test_each_label_has_the_plane_of_liblinear() -> None:
    X, Y = table()
    head = LinearSvmHead(c=0.1, tol=1e-6).fit(X, Y)
    rows = (X - head.mean_) * head.inverse_
    theirs = [LinearSVC(C=0.1, tol=1e-8, max_iter=100_000).fit(rows, Y[:, label]) for label in range(4)]
    found = np.stack([one.decision_function(rows) for one in theirs], axis=1)
    np.testing.assert_allclose(head.decision_function(X)[:, :4], found, atol=2e-3)
    assert list(head.present_) == [0, 1, 2, 3]


def test_probabilities_are_independent_and_calibrated() -> None:
    X, Y = table(2000)
    head = LinearSvmHead(seed=3).fit(X[:1200], Y[:1200])
    found = head.predict_proba(X[1200:])
    assert found.shape == (800, 5)
    assert (found[:, 4] == 0).all()
    assert found.sum(axis=1).max() > 2  # they share nothing
    assert (head.predict(X[1200:]) == (found >= 0.5)).all()
    assert (head.predict(X[1200:])[:, :4] == Y[1200:, :4]).mean() > 0.85
    for low in (0.1, 0.4, 0.7):
        part = (found[:, :4] >= low) & (found[:, :4] < low + 0.2)
        assert abs(Y[1200:, :4][part].mean() - found[:, :4][part].mean()) < 0.1


def test_it_is_kept_and_exported(tmp_path: Path) -> None:
    X, Y = table()
    head = LinearSvmHead(n_classes=5, calibration_folds=2).fit(X, Y, np.where(np.arange(300) < 280, 1, 0))
    save_head(tmp_path / "head", head)
    again = load_head(tmp_path / "head")
    np.testing.assert_array_equal(again.predict_proba(X), head.predict_proba(X))
    graph = onnx.GraphProto(name="several")
    graph.input.append(helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", 8]))
    write_linear_svm(GraphBuilder(graph), head, "rows", "probabilities")
    graph.output.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 5]))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (answers,) = session.run(None, {"rows": X})
    np.testing.assert_allclose(answers, head.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "labels", "message"),
    [
        ({"scheme": "one_vs_one"}, 1, "several labels are for one_vs_rest"),
        ({"class_weight": "balanced"}, 1, "several labels are for one_vs_rest"),
        ({"n_classes": 4}, 1, r"\[300, 4\] is expected"),
        ({}, 2, "0 and 1 only"),
        ({}, 0, "no row has a label"),
    ],
)
def test_what_cannot_be_learnt_is_refused(change: dict[str, object], labels: int, message: str) -> None:
    X, Y = table()
    with pytest.raises(InputError, match=message):
        LinearSvmHead(**change).fit(X, Y * labels)  # type: ignore[arg-type]
