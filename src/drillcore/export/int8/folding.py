"""Layers folded into the convolution beside them, so that each is rounded to eight bits once.

A convolution followed by a batch normalisation is a convolution with other weights (Jacob et al. 2018, section 3.2);
one behind a padding with zeros has more padding of its own. onnxruntime folds both in a float graph, and neither where
roundings stand between them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from drillcore.arrays import Array
from drillcore.json_types import Json


def fold_layers(graph: onnx.GraphProto) -> None:
    """Fold batch normalisations and paddings with zeros into convolutions, in place; outputs keep their names."""
    weights = {item.name: item for item in graph.initializer}
    readers: dict[str, list[NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    outputs = {item.name for item in graph.output}
    gone: list[NodeProto] = []
    for node in graph.node:
        follower = _only_reader(node, readers, outputs)
        if follower is None:
            continue
        if node.op_type == "Conv" and follower.op_type == "BatchNormalization" and _known(node, follower, weights):
            graph.initializer.extend(_normalised(node, follower, weights))
            node.output[0] = follower.output[0]
            gone.append(follower)
        elif node.op_type == "Pad" and follower.op_type == "Conv" and _take_padding(node, follower, weights):
            gone.append(node)
    for node in gone:
        graph.node.remove(node)
    drop_unread(graph)


def drop_unread(graph: onnx.GraphProto) -> None:
    """Remove the weights that no node reads any more."""
    read = {name for node in graph.node for name in node.input}
    kept = [item for item in graph.initializer if item.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _only_reader(node: NodeProto, readers: Mapping[str, list[NodeProto]], outputs: Collection[str]) -> NodeProto | None:
    found = readers[node.output[0]]
    return found[0] if len(found) == 1 and node.output[0] not in outputs else None


def _known(convolution: NodeProto, norm: NodeProto, weights: Mapping[str, onnx.TensorProto]) -> bool:
    return all(name in weights for name in (*convolution.input[1:], *norm.input[1:5]))


def _normalised(
    convolution: NodeProto, norm: NodeProto, weights: Mapping[str, onnx.TensorProto]
) -> list[onnx.TensorProto]:
    """Give a convolution the weights that it has with its normalisation; returns the tensors."""

    def read(name: str) -> Array:
        found: Array = numpy_helper.to_array(weights[name]).astype(np.float64)
        return found

    kernel, bias = read(convolution.input[1]), read(convolution.input[2]) if len(convolution.input) > 2 else 0.0
    scale, offset, mean, variance = (read(name) for name in norm.input[1:5])
    factor = scale / np.sqrt(variance + _attributes(norm).get("epsilon", 1e-5))
    made = {
        f"{norm.name}/kernel": kernel * factor.reshape(-1, *[1] * (kernel.ndim - 1)),
        f"{norm.name}/bias": (bias - mean) * factor + offset,
    }
    del convolution.input[1:]
    convolution.input.extend(made)
    return [numpy_helper.from_array(value.astype(np.float32), name) for name, value in made.items()]


def _take_padding(padding: NodeProto, convolution: NodeProto, weights: Mapping[str, onnx.TensorProto]) -> bool:
    """Move a padding of rows and columns with zeros into a convolution; whether it could be."""
    about = _attributes(convolution)
    plain = _attributes(padding).get("mode", b"constant") == b"constant" and len(padding.input) < 4
    if not plain or about.get("auto_pad", b"NOTSET") != b"NOTSET" or any(n not in weights for n in padding.input[1:]):
        return False
    sides = numpy_helper.to_array(weights[padding.input[1]])
    value = numpy_helper.to_array(weights[padding.input[2]]) if len(padding.input) > 2 else np.zeros(1)
    if len(sides) != 8 or sides[[0, 1, 4, 5]].any() or sides.min() < 0 or value.any():
        return False
    own = about.get("pads", [0, 0, 0, 0])
    kept = [item for item in convolution.attribute if item.name != "pads"]
    del convolution.attribute[:]
    convolution.attribute.extend(kept)
    pads = [int(side) + more for side, more in zip(sides[[2, 3, 6, 7]], own, strict=True)]
    convolution.attribute.append(helper.make_attribute("pads", pads))
    convolution.input[0] = padding.input[0]
    return True


def _attributes(node: NodeProto) -> Json:
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}
