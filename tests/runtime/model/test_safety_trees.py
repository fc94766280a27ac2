"""Trees too deep, or none at all, are refused before onnxruntime walks them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from safety_case import Model, refused

from drillcore.errors import UnsafeModelError
from drillcore.runtime.model import safety_trees
from drillcore.runtime.model.safety import check_model
from drillcore.runtime.model.session import open_model


def forest(depth: int = 3, **changes: Any) -> Model:
    """A model whose head is one tree: a chain of `depth` inner nodes, each with a leaf at its other side."""
    count = 2 * depth + 1
    leaves = range(depth, count)
    tables: dict[str, Any] = {
        "nodes_treeids": [0] * count,
        "nodes_nodeids": list(range(count)),
        "nodes_featureids": [0] * count,
        "nodes_truenodeids": [depth + 1 + i for i in range(depth)] + [0] * len(leaves),
        "nodes_falsenodeids": [i + 1 for i in range(depth)] + [0] * len(leaves),
        "nodes_modes": ["BRANCH_LEQ"] * depth + ["LEAF"] * len(leaves),
        "nodes_values": [-float(i) for i in range(count)],
        "target_treeids": [0],
        "target_nodeids": [count - 1],
        "target_ids": [0],
        "target_weights": [1.0],
        "n_targets": 3,
    }
    tables |= changes
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
            helper.make_node("Unsqueeze", ["mean", "one"], ["rows"]),
            helper.make_node("TreeEnsembleRegressor", ["rows"], ["probabilities"], domain="ai.onnx.ml", **tables),
        ],
        "forest",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(np.array([1, 2, 3]), "axes"), numpy_helper.from_array(np.array([1]), "one")],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def test_forests_pass_and_deep_ones_do_not(tmp_path: Path) -> None:
    check_model(forest(3))
    check_model(forest(900))
    refused(forest(1001), tmp_path, "deeper than 1000")
    refused(forest(40_000), tmp_path, "deeper than 1000")  # would end the process in onnxruntime 1.31


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("nodes_truenodeids", [1, 2, 1, 0, 0, 0, 0], "two parents"),
        ("nodes_truenodeids", [99, 5, 6, 0, 0, 0, 0], "does not exist"),
        ("nodes_nodeids", [0, 1, 2, 3, 4, 5, 5], "numbered"),
        ("nodes_nodeids", [0, 1, 2, 3, 4, 5, -1], "out of range"),
        ("nodes_treeids", [0, 0, 0, 0, 0, 0, 2**40], "out of range"),
        ("nodes_falsenodeids", [1], "length"),
        ("nodes_falsenodeids", [1, 1, 3, 0, 0, 0, 0], "two parents"),
        ("n_targets", 2**40, "elements"),
    ],
)
def test_forests_that_are_none_are_refused(tmp_path: Path, name: str, value: Any, match: str) -> None:
    refused(forest(3, **{name: value}), tmp_path, match)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nodes_featureids", [-9, 0, 0, 0, 0, 0, 0]),
        ("target_ids", [3]),
        ("target_ids", [-1]),
        ("target_nodeids", [99]),
        ("target_weights", [1.0, 2.0]),
        ("nodes_modes", ["LEAF"]),
        ("nodes_values", [1.0]),
    ],
)
def test_what_onnxruntime_checks_in_forests_it_still_checks(
    tmp_path: Path, tiny_models: ModuleType, name: str, value: Any
) -> None:
    model = forest(3, **{name: value})
    helper.set_model_props(model, {"drillcore": tiny_models.tiny_metadata().to_json()})
    path = tmp_path / "forest.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UnsafeModelError):
        open_model(path)


@pytest.mark.parametrize("values", [[], [0], [127, 128, 300], [2**31, 5], [-1, 4], [2**40], list(range(0, 10**6, 7))])
def test_packed_ints_are_the_numbers(values: list[int]) -> None:
    attribute = helper.make_attribute("x", values or [1])
    if not values:
        attribute.ints.clear()
    np.testing.assert_array_equal(safety_trees.packed_ints(attribute), values)
