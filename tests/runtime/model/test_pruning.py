"""A pruned model gives the same answer without what the answer does not need."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from drillcore.errors import InputError
from drillcore.runtime.model.pruning import pruned


def model_bytes() -> bytes:
    """Return a model whose output a scans rows with a weight of the outer graph, and b is something else."""
    body = helper.make_graph(
        [helper.make_node("Mul", ["row", "factor"], ["y"])],
        "body",
        [helper.make_tensor_value_info("row", TensorProto.FLOAT, [3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Scan", ["x"], ["a"], body=body, num_scan_inputs=1),
            helper.make_node("Add", ["x", "other"], ["b"]),
        ],
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in ("a", "b")],
        [numpy_helper.from_array(np.full(3, value, np.float32), name) for name, value in (("factor", 2), ("other", 7))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    data: bytes = model.SerializeToString()
    return data


def test_what_an_output_needs_is_kept() -> None:
    data = pruned(model_bytes(), ["a"])
    graph = onnx.ModelProto.FromString(data).graph
    assert [node.op_type for node in graph.node] == ["Scan"]
    assert [item.name for item in graph.initializer] == ["factor"]
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(session.run(["a"], {"x": x})[0], 2 * x)


def test_an_unknown_output_is_named() -> None:
    with pytest.raises(InputError, match="'c'"):
        pruned(model_bytes(), ["c"])
