"""The softmax of logits: the temperature with the lowest log loss, its state, its ONNX nodes, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from drillcore.errors import InputError, IntegrityError
from drillcore.export.builder import GraphBuilder
from drillcore.export.heads.softmax_nodes import write_softmax
from drillcore.heads.saving import load_head, save_head
from drillcore.heads.softmax import SoftmaxHead


def drawn(factor: float, count: int = 4000, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from the softmax of logits, which come multiplied by `factor`: the best temperature is that."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (count, classes))
    noisy = logits + rng.gumbel(size=logits.shape)
    return (factor * logits).astype(np.float32), noisy.argmax(axis=1)


def log_loss(head: SoftmaxHead, rows: np.ndarray, labels: np.ndarray) -> float:
    return -float(np.log(head.predict_proba(rows)[np.arange(len(labels)), labels]).mean())


@pytest.mark.parametrize("factor", [0.2, 1.0, 4.0])
def test_the_temperature_puts_certainty_right(factor: float) -> None:
    rows, labels = drawn(factor)
    head = SoftmaxHead().fit(rows, labels)
    assert head.temperature_ == pytest.approx(factor, rel=0.05)
    losses = [log_loss(SoftmaxHead(head.temperature_ * other).fit(rows, labels), rows, labels) for other in (0.9, 1.1)]
    assert min(losses) > log_loss(head, rows, labels)
    np.testing.assert_array_equal(head.predict(rows), rows.argmax(axis=1))
    np.testing.assert_allclose(head.predict_proba(rows).sum(axis=1), 1.0)


def test_always_right_is_as_certain_as_it_may_be() -> None:
    head = SoftmaxHead().fit(np.eye(4, dtype=np.float32), np.arange(4))
    assert head.temperature_ == pytest.approx(0.05, rel=1e-3)


def test_kept_and_read_again(tmp_path: Path) -> None:
    rows, labels = drawn(2.0, 200)
    head = SoftmaxHead(n_classes=5).fit(rows, labels)
    save_head(tmp_path / "head", head)
    again = load_head(tmp_path / "head")
    np.testing.assert_array_equal(again.predict_proba(rows), head.predict_proba(rows))
    assert again.get_params() == head.get_params()
    arrays, meta = head.state()
    for broken in ({}, {"temperature": np.zeros(1)}, {"temperature": np.zeros(0)}):
        with pytest.raises(IntegrityError):
            SoftmaxHead.from_state(broken, meta)
    with pytest.raises(IntegrityError):
        SoftmaxHead.from_state(arrays, {})


def test_its_nodes_answer_as_it_does() -> None:
    rows, labels = drawn(3.0, 300)
    rows[0] = 300.0
    rows[1] = [-300.0, 300.0, 0.0, 0.0, 0.0]
    head = SoftmaxHead().fit(rows, labels)
    model = onnx.ModelProto(ir_version=10)
    model.opset_import.append(helper.make_opsetid("", 20))
    model.graph.name = "head"
    model.graph.input.append(helper.make_tensor_value_info("rows", 1, ["N", 5]))
    model.graph.output.append(helper.make_tensor_value_info("p", 1, ["N", 5]))
    write_softmax(GraphBuilder(model.graph), head, "rows", "p")
    onnx.checker.check_model(model, full_check=True)
    (found,) = ort.InferenceSession(model.SerializeToString()).run(None, {"rows": rows})
    np.testing.assert_allclose(found, head.predict_proba(rows), atol=1e-6)


def test_what_is_refused() -> None:
    rows, labels = drawn(1.0, 50)
    with pytest.raises(InputError, match="tap logits"):
        SoftmaxHead(n_classes=7).fit(rows, labels)
    for temperature in (0.0, -1.0, "cold", float("nan"), 1e9):
        with pytest.raises(InputError, match=r"0\.05 to 20"):
            SoftmaxHead(temperature).fit(rows, labels)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="features"):
        SoftmaxHead().fit(rows, labels).predict_proba(rows[:, :3])
