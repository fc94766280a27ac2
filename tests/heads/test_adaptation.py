"""Adaptation layers: what they learn, how their rounds end, going on after a kill, and their ONNX form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from drillcore.errors import InputError, IntegrityError
from drillcore.export.builder import GraphBuilder
from drillcore.export.heads.adaptation_nodes import write_adaptation, write_aggregation
from drillcore.heads.adaptation.head import AdaptationHead
from drillcore.heads.base import FitRun
from drillcore.heads.saving import load_head, save_head
from drillcore.representations.patches.scores import aggregated

SMALL = {"hidden": [24], "epochs": 4, "batch": 32, "threads": 1, "device": "cpu"}


def table(rows: int = 400, *, several: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Rows of 6 features; the first three classes lie in directions of their own, the rest is background."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, 6)).astype(np.float32)
    Y = X[:, :3] > 0.5
    if not several:
        Y &= (X[:, :3].argmax(axis=1)[:, None] == np.arange(3)) & (Y.sum(axis=1) == 1)[:, None]
    return X, Y.astype(np.uint8)


def test_it_learns_classes_and_background() -> None:
    X, Y = table(1200)
    head = AdaptationHead(**{**SMALL, "epochs": 15}, dropout=0.1).fit(X[:900], Y[:900], validation=(X[900:], Y[900:]))
    found = head.predict_proba(X[900:])
    assert head.softmax_
    assert found.shape == (300, 3)
    assert (found.sum(axis=1) < 1).all()
    assert (head.predict(X[900:]) == Y[900:]).all(axis=1).mean() > 0.75
    curve = head.learning_curve()
    assert curve[-1]["loss"] < curve[0]["loss"]
    assert curve[-1]["val_loss"] < curve[0]["val_loss"]
    assert [row["round"] for row in curve] == sorted(row["round"] for row in curve)
    assert curve[-1]["round"] == 3


def test_rows_of_several_labels_have_sigmoids() -> None:
    X, Y = table(1200, several=True)
    head = AdaptationHead(**SMALL, dropout=0.0).fit(X, Y)
    assert not head.softmax_
    assert head.predict_proba(X).sum(axis=1).max() > 1.5
    assert (head.predict(X) == Y).mean() > 0.9


def test_a_round_ends_once_the_loss_is_stable() -> None:
    X, Y = table()
    head = AdaptationHead(**{**SMALL, "epochs": 50}, stable=0.9, rounds=2).fit(X, Y)
    assert [row["round"] for row in head.learning_curve()] == [1, 1, 2, 2]


def test_a_killed_fit_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    X, Y = table()
    whole = AdaptationHead(**SMALL).fit(X, Y)

    class KilledError(Exception):
        pass

    done = []

    def advance(count: int) -> None:
        done.append(count)
        if len(done) == 5:
            raise KilledError

    with pytest.raises(KilledError):
        AdaptationHead(**SMALL).fit(X, Y, run=FitRun(checkpoint=tmp_path, advance=advance))
    again = AdaptationHead(**SMALL).fit(X, Y, run=FitRun(checkpoint=tmp_path, advance=advance))
    assert len(done) == len(whole.curve_)
    for (weight, bias), (other, shift) in zip(again.layers_, whole.layers_, strict=True):
        np.testing.assert_array_equal(weight, other)
        np.testing.assert_array_equal(bias, shift)


@pytest.mark.parametrize("hidden", [[], [16], [16, 8]])
@pytest.mark.parametrize("several", [False, True])
def test_it_is_kept_and_exported(tmp_path: Path, hidden: list[int], several: bool) -> None:
    X, Y = table(several=several)
    head = AdaptationHead(**{**SMALL, "hidden": hidden, "epochs": 2}).fit(X.astype(np.float16), Y)
    head.settle(3, np.array([[1.5, 0.2], [0.7, 1.0], [2.0, -0.5]]))
    save_head(tmp_path / "head", head)
    again = load_head(tmp_path / "head")
    assert isinstance(again, AdaptationHead)
    np.testing.assert_array_equal(again.predict_proba(X), head.predict_proba(X))
    graph = onnx.GraphProto(name="adaptation")
    graph.input.append(helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", 6]))
    builder = GraphBuilder(graph)
    write_adaptation(builder, again, "rows", "answers")
    builder.add("Reshape", ["answers", builder.constant("shape", [4, -1, 3], np.int64)], "of_images")
    write_aggregation(builder, again, "of_images", "probabilities")
    graph.output.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [4, 3]))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"rows": X})
    scores = aggregated(head.predict_proba(X), np.repeat(np.arange(4), 100), head.power_)
    np.testing.assert_allclose(got, head.probabilities_of(scores), atol=1e-5)


def test_probabilities_keep_the_order_of_scores() -> None:
    X, Y = table()
    head = AdaptationHead(**{**SMALL, "epochs": 1, "rounds": 1}).fit(X, Y)
    head.settle(5, np.array([[0.4, 2.0], [1.0, 0.0], [3.0, -1.0]]))
    scores = np.sort(np.random.default_rng(1).random((50, 3)) ** 4, axis=0)
    assert (np.diff(head.probabilities_of(scores), axis=0) >= 0).all()


def test_what_cannot_be_learnt_is_refused() -> None:
    X, Y = table(several=True)
    with pytest.raises(InputError, match="one label a row at most"):
        AdaptationHead(**SMALL, answers="softmax").fit(X, Y)
    with pytest.raises(InputError, match="no row has a label"):
        AdaptationHead(**SMALL).fit(X, Y * 0)
    with pytest.raises(InputError, match="weights of 0 or more"):
        AdaptationHead(**SMALL).fit(X, Y, -np.ones(len(X)))
    with pytest.raises(InputError, match="hidden"):
        AdaptationHead(hidden=[0]).fit(X, Y)


def test_a_state_that_does_not_fit_is_refused() -> None:
    X, Y = table()
    arrays, meta = AdaptationHead(**{**SMALL, "epochs": 1, "rounds": 1}).fit(X, Y).state()
    for change in ({"weight1": arrays["weight1"][:-1]}, {"slopes": -arrays["slopes"]}, {"scale": arrays["scale"][:2]}):
        with pytest.raises(IntegrityError):
            AdaptationHead.from_state({**arrays, **change}, meta)
    with pytest.raises(IntegrityError):
        AdaptationHead.from_state(arrays, {**meta, "power": 0})
