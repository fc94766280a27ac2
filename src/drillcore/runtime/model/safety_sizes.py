"""How large the tensors of a model become: worked out for three sizes of input, without running the model.

ONNX's shape inference does the layers; numbers that are computed on the way to a shape (the sides of an image, products
of constants) are worked out here and put in their place, until nothing new is known. An operator that makes a tensor of
a size named by another tensor must have a size that is known, and no tensor may outgrow its input.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import onnx
from onnx import TensorProto, helper, numpy_helper

from drillcore.errors import UnsafeModelError
from drillcore.json_types import Json
from drillcore.runtime.model.safety_scans import axis_name, scan_body, written_out
from drillcore.runtime.model.safety_values import MAX_ITEMS, Value, evaluate

MAX_ELEMENTS = 2**27  # of one tensor at the small size: half a gibibyte as float32
_SIZE_MAKERS = ("ConstantOfShape", "Expand", "Tile", "Range", "Resize", "Pad", "Reshape")
_SIDE = 128  # pixels; models are probed at this size, at four times the sides and at eight times the batch
_SLACK = 2**20  # elements a tensor may always have
_ROUNDS = 12
_FIXED_ROWS = ("TreeEnsembleRegressor", "TreeEnsembleClassifier", "SVMClassifier", "SVMRegressor",
               "LinearClassifier", "LinearRegressor")  # fmt: skip

Shapes = dict[str, tuple[int, ...]]
Typed = dict[str, tuple[tuple[int, ...], int]]  # shape and ONNX element type


def check_sizes(model: onnx.ModelProto) -> None:
    """Refuse a model with a tensor whose size is unknown, huge, or grows faster than the images.

    Args:
        model: an `onnx.ModelProto` that has passed the other checks; it is not changed.

    Raises:
        UnsafeModelError: names the tensor.
    """
    # What NonZero finds depends on the image: all, nothing, and a share that no model can have been made for.
    picky = any(node.op_type == "NonZero" for node in model.graph.node)
    for found in (1.0, 0.0, random.uniform(0.1, 0.9)) if picky else (1.0,):
        _check_growth(model, found)


def _check_growth(model: onnx.ModelProto, found: float) -> None:
    base = _shapes(model, 1, _SIDE, found)
    for shape in base.values():
        if math.prod(shape) > MAX_ELEMENTS:
            raise UnsafeModelError(f"the model makes a tensor of {math.prod(shape)} elements from one small image")
    for batch, factor in ((1, 4), (8, 1)):
        grown = _shapes(model, batch, _SIDE * factor, found)
        growth = batch * factor * factor
        for name, shape in grown.items():
            if math.prod(shape) > 1.5 * growth * math.prod(base.get(name, ())) + _SLACK:
                raise UnsafeModelError(f"the model's tensor {name[:60]!r} grows faster than the images")


def _shapes(model: onnx.ModelProto, batch: int, side: int, found: float) -> Shapes:
    """Return the shapes of all tensors that can be known for images [batch,side,side,C]; NonZero finds that share."""
    graph = model.graph
    values: dict[str, Value] = {}
    shapes: Shapes = {}
    inputs = _inputs(graph, batch, side)
    for name, (shape, _) in inputs.items():
        shapes[name] = shape
    if "sizes" in inputs:
        height, width = inputs["images"][0][1:3]
        values["sizes"] = Value.of([[height, width]] * inputs["sizes"][0][0], TensorProto.INT32)
    weights = _weights(graph, values, inputs)
    nodes = [part for node in graph.node for part in _plain(node, values, weights)]
    known = -1
    for _ in range(_ROUNDS):
        evaluate(nodes, shapes, values)
        _note_sizes(nodes, shapes, values, inputs, found)
        if known == len(shapes) + len(values):
            break
        known = len(shapes) + len(values)
        shapes.update(_infer(model, nodes, inputs, weights, values))
    for node in nodes:
        if node.op_type in _SIZE_MAKERS and any(name and name not in shapes for name in node.output):
            raise UnsafeModelError(f"the size of what {node.op_type} makes ({node.output[0][:60]!r}) cannot be known")
    return shapes


def _note_sizes(
    nodes: list[onnx.NodeProto],
    shapes: Shapes,
    values: dict[str, Value],
    inputs: Typed,
    found: float,
) -> None:
    """Add the sizes that ONNX's inference leaves open, as if their tensors were inputs.

    NonZero finds a share of the elements; the length of a Range follows from its numbers.
    """
    for node in nodes:
        name = node.output[0] if node.output else ""
        if node.op_type == "NonZero" and node.input[0] in shapes:
            shape = shapes[node.input[0]]
            inputs[name] = ((len(shape), round(found * math.prod(shape))), TensorProto.INT64)
        elif node.op_type == "Range" and name not in values and all(item in values for item in node.input):
            start, stop, step = (float(values[item].array.ravel()[0]) for item in node.input)
            length = (stop - start) / step if step else math.inf
            if not length <= MAX_ELEMENTS:  # ONNX's inference has a length for an endless one
                raise UnsafeModelError(f"the model makes a range of {length:g} elements ({name[:60]!r})")
            inputs[name] = ((max(math.ceil(length), 0),), values[node.input[0]].kind)
        else:
            continue
        shapes[name] = inputs[name][0]


def _inputs(graph: onnx.GraphProto, batch: int, side: int) -> Typed:
    result = {}
    for item in graph.input:
        dims = item.type.tensor_type.shape.dim
        nominal = (batch, side, side, 3) if item.name == "images" else (batch, 2)
        # A fixed side is taken as it stands, within reason: the tensor is the caller's, not the model's.
        shape = tuple(dim.dim_value if dim.dim_value > 0 else least for dim, least in zip(dims, nominal, strict=True))
        result[item.name] = (shape, item.type.tensor_type.elem_type)
    return result


def _weights(graph: onnx.GraphProto, values: dict[str, Value], inputs: Typed) -> Typed:
    """Small initializers become values, the others inputs of a known shape."""
    weights = {}
    bodies = [scan_body(node) for node in graph.node if node.op_type == "Scan"]
    for tensor in (tensor for part in (graph, *bodies) for tensor in part.initializer):
        if tensor.name in inputs:
            continue
        if math.prod(tensor.dims) <= MAX_ITEMS:
            values[tensor.name] = Value.of(numpy_helper.to_array(tensor), tensor.data_type)
        else:
            weights[tensor.name] = (tuple(tensor.dims), tensor.data_type)
    return weights


def _plain(node: onnx.NodeProto, values: dict[str, Value], weights: Typed) -> Iterator[onnx.NodeProto]:
    """Yield the node, or light ones that have its output's shape: heads carry megabytes of attributes."""
    attributes = {item.name: item for item in node.attribute}
    if node.op_type == "Constant" and "value" in attributes:
        tensor = attributes["value"].t
        if math.prod(tensor.dims) <= MAX_ITEMS:
            values[node.output[0]] = Value.of(numpy_helper.to_array(tensor), tensor.data_type)
        else:
            weights[node.output[0]] = (tuple(tensor.dims), tensor.data_type)
    elif node.op_type == "Scan":
        name, kind = axis_name(node)
        values[name] = Value.of([0], kind)
        for step in written_out(node):
            yield from _plain(step, values, weights)
    elif node.op_type in _FIXED_ROWS:
        yield from _rows(node, _columns(node.op_type, attributes), values)
    else:
        yield node


def _rows(node: onnx.NodeProto, columns: int, values: dict[str, Value]) -> Iterator[onnx.NodeProto]:
    scores = node.output[-1]
    values[f"{scores}/axis"] = Value.of([1], TensorProto.INT64)
    values[f"{scores}/columns"] = Value.of([1, columns], TensorProto.INT64)
    yield helper.make_node("Cast", [node.input[0]], [f"{scores}/float"], to=TensorProto.FLOAT)
    yield helper.make_node("ReduceMax", [f"{scores}/float", f"{scores}/axis"], [f"{scores}/one"], keepdims=1)
    yield helper.make_node("Expand", [f"{scores}/one", f"{scores}/columns"], [scores])
    if len(node.output) == 2:
        yield helper.make_node("ArgMax", [f"{scores}/one"], [node.output[0]], axis=1, keepdims=0)


def _columns(kind: str, attributes: Json) -> int:
    if "n_targets" in attributes:
        return int(attributes["n_targets"].i)
    if "targets" in attributes:
        return int(attributes["targets"].i)
    names = ("classlabels_int64s", "classlabels_ints", "classlabels_strings")
    labels = [attributes[name] for name in names if name in attributes]
    count = max((len(item.ints) or len(item.strings) for item in labels), default=1)
    return max(count, count * (count - 1) // 2) if kind == "SVMClassifier" else count


def _infer(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], inputs: Typed, weights: Typed, values: dict[str, Value]
) -> Shapes:
    """Run ONNX's shape inference on a graph without weights."""
    todo = [n for n in nodes if n.output[0] not in inputs and any(name not in values for name in n.output)]
    made = {name for node in todo for name in node.output}
    typed = [
        helper.make_tensor_value_info(name, kind, shape)
        for name, (shape, kind) in {**inputs, **weights}.items()
        if name not in values
    ]
    constants = [value.tensor(name) for name, value in values.items() if name not in made]
    graph = helper.make_graph(todo, "sizes", typed, [], constants)
    skeleton = helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
    try:
        # Without data_prop, which a few doublings of a list fill all memory with; values are worked out here anyway.
        inferred = onnx.shape_inference.infer_shapes(skeleton)
    except Exception as error:  # noqa: BLE001 - onnx raises RuntimeError, ValueError and types of its own
        line = str(error).strip().splitlines()
        raise UnsafeModelError(f"the model's shapes contradict each other: {(line or ['?'])[0][:160]}") from None
    shapes: Shapes = {}
    for item in inferred.graph.value_info:
        tensor = item.type.tensor_type
        if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            shapes[item.name] = tuple(dim.dim_value for dim in tensor.shape.dim)
    return shapes
