from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from drillcore.export.builder import GraphBuilder
from drillcore.export.heads.forest_nodes import write_forest
from drillcore.heads.forest.extra_trees import ExtraTreesHead
from drillcore.heads.forest.forest import ForestHead


def session_of(head: ForestHead) -> ort.InferenceSession:
    model = onnx.ModelProto(ir_version=10)
    model.opset_import.extend([helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)])
    model.graph.name = "forest"
    width, classes = head.n_features_in_, len(head.classes_)
    model.graph.input.append(helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", width]))
    model.graph.output.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", classes]))
    write_forest(GraphBuilder(model.graph), head, "rows", "probabilities")
    onnx.checker.check_model(model)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def table(rows: int = 400, features: int = 7, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, rows)
    centres = rng.normal(size=(classes, features))
    return np.round(centres[labels] + rng.normal(size=(rows, features)), 1).astype(np.float16), labels


@pytest.mark.parametrize("kind", [ForestHead, ExtraTreesHead])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"max_depth": 2},
        {"min_samples_leaf": 5, "class_weight": "balanced"},
        {"calibration": "temperature", "bootstrap": True},
    ],
)
@pytest.mark.parametrize("batch", [1, 3, 400])
def test_nodes_answer_as_the_head(kind: type[ForestHead], params: dict, batch: int) -> None:
    X, y = table()
    head = kind(25, n_classes=8, **params).fit(X, y)
    expected = head.predict_proba(X)[:batch]
    (got,) = session_of(head).run(None, {"rows": X[:batch].astype(np.float32)})
    assert got.shape == (batch, 8)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_rows_on_and_beside_every_threshold_decide_alike() -> None:
    X, y = table()
    head = ForestHead(3, max_depth=4).fit(X, y)
    trees = head.trees_
    inner = np.flatnonzero(trees.feature >= 0)
    rows = np.repeat(X[:1].astype(np.float32), 3 * len(inner), axis=0)
    for i, node in enumerate(inner):
        at = trees.threshold[node]
        rows[3 * i : 3 * i + 3, trees.feature[node]] = [at, np.nextafter(at, np.inf), np.nextafter(at, -np.inf)]
    (got,) = session_of(head).run(None, {"rows": rows})
    np.testing.assert_allclose(got, head.predict_proba(rows), atol=1e-6)


def test_exact_ties_stay_ties() -> None:
    X, _ = table()
    # Pure leaves, two classes, trees that see all rows: half the trees of a pair say one, half the other.
    head = ForestHead(2, bootstrap=False, n_classes=2).fit(X[:2], np.array([0, 1]))
    mixed = (X[:1].astype(np.float32) + X[1:2].astype(np.float32)) / 2
    rows = np.concatenate([X[:2].astype(np.float32), mixed])
    (got,) = session_of(head).run(None, {"rows": rows})
    np.testing.assert_array_equal(got, head.predict_proba(rows).astype(np.float32))


def test_trees_of_one_leaf_and_one_class() -> None:
    X, _ = table()
    constant = ForestHead(4, n_classes=3).fit(X, np.full(len(X), 2))
    (got,) = session_of(constant).run(None, {"rows": X[:2].astype(np.float32)})
    np.testing.assert_array_equal(got, [[0, 0, 1]] * 2)
    alone = ForestHead(4).fit(X, np.zeros(len(X), int))
    (got,) = session_of(alone).run(None, {"rows": X[:2].astype(np.float32)})
    np.testing.assert_array_equal(got, [[1], [1]])


def test_the_larger_subtree_lies_beside_its_parent() -> None:
    X, y = table()
    head = ForestHead(5).fit(X, y)
    graph = onnx.GraphProto()
    write_forest(GraphBuilder(graph), head, "rows", "probabilities")
    (ensemble,) = [node for node in graph.node if node.op_type == "TreeEnsembleRegressor"]
    values = {item.name: item for item in ensemble.attribute}
    truth, lie = (np.array(values[f"nodes_{name}nodeids"].ints) for name in ("true", "false"))
    leaf = np.array([mode == b"LEAF" for mode in values["nodes_modes"].strings])
    trees = np.array(values["nodes_treeids"].ints)

    def nodes_below(tree: int, root: int) -> int:
        base = int(np.flatnonzero(trees == tree)[0])
        at = base + root
        return 1 if leaf[at] else 1 + nodes_below(tree, int(truth[at])) + nodes_below(tree, int(lie[at]))

    for at in np.flatnonzero(~leaf)[:60]:
        assert nodes_below(int(trees[at]), int(lie[at])) >= nodes_below(int(trees[at]), int(truth[at]))


def test_zero_thresholds_of_both_signs() -> None:
    X, y = table()
    head = ForestHead(3).fit(X, y)
    inner = head.trees_.feature >= 0
    head.trees_.threshold[inner] = np.where(np.arange(inner.sum()) % 2, np.float32(0), np.float32(-0.0))
    tiny = np.float32(1e-45)
    rows = np.random.default_rng(0).choice(np.array([0, -0.0, tiny, -tiny, 1], np.float32), (200, 7))
    (got,) = session_of(head).run(None, {"rows": rows})
    np.testing.assert_allclose(got, head.predict_proba(rows), atol=1e-6)
