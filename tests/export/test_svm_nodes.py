from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from drillcore.export.assemble import head_writer
from drillcore.export.builder import GraphBuilder
from drillcore.heads.catalogue import build_head
from drillcore.heads.svm.estimator import SvmEstimator
from drillcore.heads.svm.kernel_svm import KernelSvmHead
from drillcore.runtime.model import safety

HEADS = [
    (name, {"scheme": scheme}) for name in ("linear_svm", "kernel_svm") for scheme in ("one_vs_rest", "one_vs_one")
] + [("logistic", {})]


def model_of(head: SvmEstimator) -> onnx.ModelProto:
    model = onnx.ModelProto(ir_version=10)
    model.opset_import.extend([helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)])
    model.graph.name = "svm"
    width, classes = head.n_features_in_, len(head.classes_)
    model.graph.input.append(helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", width]))
    model.graph.output.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", classes]))
    head_writer(head.name)(GraphBuilder(model.graph), head, "rows", "probabilities")
    onnx.checker.check_model(model, full_check=True)
    return model


def answer(head: SvmEstimator, rows: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model_of(head).SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"rows": rows.astype(np.float32)})[0]


def table(rows: int = 400, features: int = 30, classes: int = 11, spread: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, rows - classes)])
    centres = rng.normal(size=(classes, features))
    values = (centres[labels] + spread * rng.normal(size=(rows, features))) * np.logspace(-2, 2, features) + 5
    return values.astype(np.float16), labels


@pytest.mark.parametrize(("name", "params"), HEADS)
@pytest.mark.parametrize("classes", [11, 14])  # all with rows, and three without
def test_nodes_answer_as_the_head(name: str, params: dict, classes: int) -> None:
    X, y = table()
    head = build_head(name, params, n_classes=classes, threads=1).fit(X, y * (classes - 1) // 10)
    rng = np.random.default_rng(1)
    # Rows learnt from, rows nowhere near, and rows on the way between two classes.
    far = np.concatenate([X[:40] * 50, -X[:40] * 50, np.zeros((1, 30)), rng.normal(size=(40, 30)) * 1e4])
    rows = np.concatenate([X, far, (X[:100] + X[100:200]) / 2]).astype(np.float32)
    expected, got = head.predict_proba(rows), answer(head, rows)
    np.testing.assert_allclose(got, expected, atol=2e-5)
    best = np.sort(expected, axis=1)
    clear = best[:, -1] - best[:, -2] > 1e-5
    np.testing.assert_array_equal(got.argmax(axis=1)[clear], expected.argmax(axis=1)[clear])
    absent = np.setdiff1d(np.arange(classes), head.present_)
    assert not got[:, absent].any()
    for batch in (1, 3):
        np.testing.assert_allclose(answer(head, rows[:batch]), expected[:batch], atol=2e-5)


@pytest.mark.parametrize(("name", "params"), HEADS)
def test_one_class_two_classes_and_a_constant_feature(name: str, params: dict) -> None:
    X, _ = table()
    X[:, 3] = 9
    alone = build_head(name, {**params, "n_classes": 3}).fit(X, np.full(len(X), 2))
    np.testing.assert_array_equal(answer(alone, X[:2]), [[0, 0, 1]] * 2)
    two = build_head(name, params).fit(X, np.arange(len(X)) % 2)
    rows = X.astype(np.float32)
    rows[::2, 3] = 4e4
    np.testing.assert_allclose(answer(two, rows), two.predict_proba(rows), atol=2e-5)


@pytest.mark.parametrize(("name", "params"), HEADS)
def test_the_file_is_one_that_may_be_loaded(name: str, params: dict) -> None:
    X, y = table()
    model = model_of(build_head(name, params).fit(X, y))
    allowed = {"", "ai.onnx.ml"}
    assert {node.domain for node in model.graph.node} <= allowed
    operators = {node.op_type for node in model.graph.node}
    assert operators <= safety._ALLOWED[""]
    again = model_of(build_head(name, params).fit(X, y))
    assert again.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


def test_vectors_of_float16_rows_take_half_the_file() -> None:
    X, y = table()
    narrow, wide = KernelSvmHead().fit(X, y), KernelSvmHead().fit(X.astype(np.float32) * np.float32(1.0001), y)
    saved = wide.vectors_.nbytes - narrow.vectors_.nbytes
    assert saved > 0
    assert model_of(wide).ByteSize() - model_of(narrow).ByteSize() == pytest.approx(saved, rel=0.1)
