"""A Scan is let in where it runs once per row of a tensor, over plain operators whose sizes are known; else refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from drillcore.errors import UnsafeModelError
from drillcore.runtime.model.safety import check_model


def scan_model(nodes: list[Any] | None = None, outer: list[Any] | None = None, **changes: Any) -> Any:
    """Return a model that scans the rows of its images; `nodes` make `y` of `row` float32 [H, W, 3] in each step."""
    nodes = nodes if nodes is not None else [helper.make_node("Relu", ["row"], ["y"])]
    body = helper.make_graph(
        nodes,
        "body",
        [helper.make_tensor_value_info("row", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([10**6], np.int64), "many")],
    )
    given = [helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT), *(outer or [])]
    scan = helper.make_node("Scan", ["pixels"], ["z"], **{"body": body, "num_scan_inputs": 1, **changes})
    graph = helper.make_graph(
        [*given, scan],
        "model",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def refused(model: Any, reason: str) -> None:
    with pytest.raises(UnsafeModelError, match=reason):
        check_model(model)


def test_a_bounded_scan_is_let_in() -> None:
    check_model(scan_model())


def test_a_state_is_refused() -> None:
    refused(scan_model(num_scan_inputs=0), "carries a state")


@pytest.mark.parametrize("field", ["scan_input_axes", "scan_input_directions", "scan_output_directions"])
def test_axes_and_directions_are_refused(field: str) -> None:
    refused(scan_model(**{field: [0]}), "axes and directions")


def test_a_scan_without_a_body_is_refused() -> None:
    model = scan_model()
    del model.graph.node[-1].attribute[:]
    refused(model, "axes and directions|no body")


@pytest.mark.parametrize("operator", ["Loop", "If", "Scan", "SequenceMap"])
def test_loops_within_a_scan_are_refused(operator: str) -> None:
    refused(scan_model([helper.make_node(operator, ["row"], ["y"])]), "within a Scan")


def test_operators_off_the_list_are_refused_within_a_scan() -> None:
    refused(scan_model([helper.make_node("RandomNormalLike", ["row"], ["y"])]), "not among those")
    refused(scan_model([helper.make_node("Relu", ["row"], ["y"], domain="ai.onnx.ml")]), "not among those")


def test_a_graph_hidden_within_a_scan_is_refused() -> None:
    hidden = helper.make_node("Relu", ["row"], ["y"], body=helper.make_graph([], "hidden", [], []))
    refused(scan_model([hidden]), "graph of its own")


def test_names_defined_twice_are_refused() -> None:
    twice = [helper.make_node("Relu", ["row"], ["pixels"]), helper.make_node("Relu", ["pixels"], ["y"])]
    refused(scan_model(twice), "there already")


def test_external_data_within_a_scan_is_refused() -> None:
    model = scan_model()
    body = next(item.g for item in model.graph.node[-1].attribute if item.name == "body")
    tensor = body.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    refused(model, "another file")


def test_a_step_that_makes_too_much_is_refused() -> None:
    grow = [
        helper.make_node("Expand", ["row", "shape"], ["y"]),
    ]
    outer = [helper.make_node("Constant", [], ["shape"], value=numpy_helper.from_array(np.array([10**6, 1, 1, 1])))]
    refused(scan_model(grow, outer), "elements from one small image")


def test_sizes_read_from_a_row_are_refused() -> None:
    """Each step has numbers of its own, none of which is known beforehand."""
    nodes = [
        helper.make_node("Cast", ["row"], ["size"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["size", "flat"], ["sizes"]),
        helper.make_node("ConstantOfShape", ["sizes"], ["y"]),
    ]
    outer = [helper.make_node("Constant", [], ["flat"], value=numpy_helper.from_array(np.array([-1], np.int64)))]
    refused(scan_model(nodes, outer), "cannot be known")


@pytest.mark.parametrize("formula", ["count", "rest", "product"])
def test_sizes_made_of_what_nonzero_finds_are_bounded(formula: str) -> None:
    """Large where all is found, where nothing is, or only between the two: each is noticed."""
    pieces = {
        "count": [helper.make_node("Mul", ["count", "many"], ["size"])],
        "rest": [helper.make_node("Sub", ["all", "count"], ["rest"]),
                 helper.make_node("Mul", ["rest", "many"], ["size"])],
        "product": [helper.make_node("Sub", ["all", "count"], ["rest"]),
                    helper.make_node("Mul", ["rest", "count"], ["square"]),
                    helper.make_node("Mul", ["square", "many"], ["size"])],
    }  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("NonZero", ["pixels"], ["found"]),
        helper.make_node("Shape", ["found"], ["count"], start=1, end=2),
        helper.make_node("Size", ["pixels"], ["all_scalar"]),
        helper.make_node("Reshape", ["all_scalar", "one"], ["all"]),
        *pieces[formula],
        helper.make_node("ConstantOfShape", ["size"], ["z"]),
    ]
    constants = {"many": 10**4, "one": 1}
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([value], np.int64), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    refused(model, "elements from one small image|grows faster|cannot be known")
