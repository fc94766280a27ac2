"""Models whose tensors would grow out of proportion are refused before anything is allocated."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from safety_case import Model, refused


def add(model: Model, nodes: list[Any], **constants: Any) -> None:
    """Put nodes before the model's own, so that what they make would be computed."""
    own = [type(node).FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *own])
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items())
    # As an output nothing of it is pruned.
    name = nodes[-1].output[0]
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))


def giant_fill(m: Model) -> None:
    add(m, [helper.make_node("ConstantOfShape", ["big"], ["x"])], big=np.array([2**20, 2**20]))


def giant_expand(m: Model) -> None:
    add(m, [helper.make_node("Expand", ["small", "big"], ["x"])], small=np.ones(1, np.float32), big=np.array([2**40]))


def giant_tile(m: Model) -> None:
    add(m, [helper.make_node("Tile", ["small", "big"], ["x"])], small=np.ones(9, np.float32), big=np.array([2**36]))


def giant_range(m: Model) -> None:
    names = ["from", "till", "by"]
    constants = dict(zip(names, (np.float32(0), np.float32(1e12), np.float32(1)), strict=True))
    add(m, [helper.make_node("Range", names, ["x"])], **constants)


def endless_range(m: Model) -> None:
    names = ["from", "till", "by"]
    constants = dict(zip(names, (np.float32(0), np.float32(1), np.float32(0)), strict=True))
    add(m, [helper.make_node("Range", names, ["x"])], **constants)


def giant_by_product(m: Model) -> None:
    nodes = [helper.make_node("Mul", ["side", "side"], ["big"]), helper.make_node("ConstantOfShape", ["big"], ["x"])]
    add(m, nodes, side=np.array([2**20]))


def giant_by_the_image(m: Model) -> None:
    nodes = [
        helper.make_node("Shape", ["images"], ["shape"], start=1, end=3),
        helper.make_node("Mul", ["shape", "many"], ["big"]),
        helper.make_node("ConstantOfShape", ["big"], ["x"]),
    ]
    add(m, nodes, many=np.array([2**12]))


def growing_with_the_image(m: Model) -> None:
    nodes = [
        helper.make_node("Shape", ["images"], ["shape"], start=1, end=3),
        helper.make_node("Concat", ["shape", "shape"], ["fourfold"], axis=0),
        helper.make_node("Div", ["fourfold", "few"], ["big"]),
        helper.make_node("ConstantOfShape", ["big"], ["x"]),
    ]
    add(m, nodes, few=np.array([1, 1, 2, 2]))


def doubling(m: Model) -> None:
    nodes = [helper.make_node("Concat", [f"d{i}", f"d{i}"], [f"d{i + 1}"], axis=0) for i in range(40)]
    add(m, nodes, d0=np.ones(4, np.float32))


def outer_product(m: Model) -> None:
    nodes = [helper.make_node("Mul", ["row", "column"], ["x"])]
    add(m, nodes, row=np.ones((1, 20_000), np.float32), column=np.ones((20_000, 1), np.float32))


def giant_pad(m: Model) -> None:
    add(m, [helper.make_node("Pad", ["row", "pads"], ["x"])], row=np.ones(3, np.float32), pads=np.array([2**40, 0]))


def giant_by_the_pixels(m: Model) -> None:
    nodes = [
        helper.make_node("Cast", ["images"], ["whole"], to=TensorProto.INT64),
        helper.make_node("ReduceSum", ["whole"], ["sum"], keepdims=0),
        helper.make_node("Reshape", ["sum", "minus"], ["big"]),
        helper.make_node("ConstantOfShape", ["big"], ["x"]),
    ]
    add(m, nodes, minus=np.array([-1]))


@pytest.mark.parametrize(
    "grow",
    [
        *(giant_fill, giant_expand, giant_tile, giant_range, endless_range, giant_by_product, giant_by_the_image),
        *(growing_with_the_image, doubling, outer_product, giant_pad, giant_by_the_pixels),
    ],
)
def test_tensors_out_of_proportion_are_refused(model: Model, tmp_path: Path, grow: Callable[[Model], None]) -> None:
    grow(model)
    tracemalloc.start()
    refused(model, tmp_path, r"elements|cannot be known|grows faster|contradict")
    assert tracemalloc.get_traced_memory()[1] < 2**27
    tracemalloc.stop()


def test_a_number_is_no_list_of_one() -> None:
    from drillcore.runtime.model.safety_values import Value

    assert list(Value.of(3, TensorProto.INT64).tensor("index").dims) == []  # Gather by it drops an axis
    assert list(Value.of([3], TensorProto.INT64).tensor("index").dims) == [1]
