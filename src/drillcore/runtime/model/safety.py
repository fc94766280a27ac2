"""Checks on a model file before anything in it runs.

A model is refused if it reads other files, brings operators or functions of its own, can loop, or can make tensors out
of proportion to its input. The file is parsed once; big attributes and weights are counted, not converted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]

from drillcore.errors import UnsafeModelError
from drillcore.runtime.model.safety_scans import check_scans
from drillcore.runtime.model.safety_sizes import check_sizes
from drillcore.runtime.model.safety_trees import check_trees

MAX_MODEL_BYTES = 2**31 - 1  # protobuf's own limit
MAX_NODES = 20_000
MAX_PARTS = 1_000_000  # messages of any kind in the file
IR_VERSIONS = range(7, 12)
OPSETS = {"": range(17, 23), "ai.onnx.ml": range(1, 4)}

_OPERATORS = """
    Abs Add And Ceil Clip Cos CumSum Div Equal Erf Exp Floor Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Log Max
    Mean Min Mod Mul Neg Not Or Pow Reciprocal Round Sign Sin Sqrt Sub Sum Where Xor
    BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor
    BatchNormalization Elu Gelu GroupNormalization HardSigmoid HardSwish InstanceNormalization LRN LayerNormalization
    LeakyRelu LogSoftmax LpNormalization Mish PRelu Relu Selu Sigmoid Softmax Softplus Tanh
    AveragePool Conv ConvTranspose Gemm GlobalAveragePool GlobalMaxPool LpPool MatMul MaxPool
    DequantizeLinear QuantizeLinear
    ArgMax ArgMin ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    ReduceSumSquare TopK
    Cast CastLike Concat Constant ConstantOfShape DepthToSpace Expand Flatten Gather GatherElements GatherND Identity
    NonZero Pad Range Reshape Resize ScatterElements ScatterND Shape Size Slice SpaceToDepth Split Squeeze Tile
    Transpose Unsqueeze
"""
_ML_OPERATORS = """
    ArrayFeatureExtractor Binarizer LinearClassifier LinearRegressor Normalizer SVMClassifier SVMRegressor Scaler
    TreeEnsembleClassifier TreeEnsembleRegressor
"""
_ALLOWED = {"": frozenset(_OPERATORS.split()), "ai.onnx.ml": frozenset(_ML_OPERATORS.split())}
_LOOPS = ("Loop", "If", "SequenceMap")
_INPUTS = {"images": (onnx.TensorProto.UINT8, 4), "sizes": (onnx.TensorProto.INT32, 2)}
_STRING = onnx.TensorProto.STRING
_ITEM_BITS = {
    **dict.fromkeys((1, 6, 12), 32),  # float, int32, uint32
    **dict.fromkeys((2, 3, 9), 8),  # uint8, int8, bool
    **dict.fromkeys((4, 5, 10, 16), 16),  # uint16, int16, float16, bfloat16
    **dict.fromkeys((7, 11, 13), 64),  # int64, double, uint64
}


def check_model_bytes(data: bytes) -> onnx.ModelProto:
    """Parse and check a model file.

    Returns:
        The parsed `onnx.ModelProto`.

    Raises:
        UnsafeModelError: the bytes are no ONNX model, or one that is refused; see `check_model`.
    """
    if not data:
        raise UnsafeModelError("the model file is empty; an ONNX model is expected")
    if len(data) > MAX_MODEL_BYTES:
        raise UnsafeModelError(f"the model has {len(data)} bytes; at most {MAX_MODEL_BYTES} are loaded")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, ValueError, RecursionError):
        raise UnsafeModelError("the file is not an ONNX model, or a damaged one") from None
    try:
        check_model(model)
    except UnsafeModelError:
        raise
    except Exception as error:  # noqa: BLE001 - a malformed model may fail a check in any way; it is refused then too
        raise UnsafeModelError(f"the model is malformed ({type(error).__name__})") from None
    return model


def check_model(model: onnx.ModelProto) -> None:
    """Refuse a model that could do more than answer images.

    Args:
        model: an `onnx.ModelProto`; it is not changed.

    Raises:
        UnsafeModelError: one line with the first reason found.
    """
    if not model.HasField("graph") or not model.graph.node:
        raise UnsafeModelError("the file is not an ONNX model, or one without nodes")
    _check_parts(model)
    if model.functions:
        raise UnsafeModelError("the model defines functions of its own; export it with them written out")
    if model.training_info:
        raise UnsafeModelError("the model carries training information; export it for inference")
    _check_versions(model)
    _check_nodes(model.graph)
    for body in check_scans(model.graph):
        _check_step(body)
    _check_inputs(model.graph)
    for node in model.graph.node:
        check_trees(node)
    check_sizes(model)


def _check_parts(model: onnx.ModelProto) -> None:
    """Look at every message, in subgraphs, functions and attributes too, for tensors that lie elsewhere or lie."""
    for part in _parts(model):
        kind = part.DESCRIPTOR.name
        if kind == "TensorProto":
            _check_tensor(part)
        elif kind == "SparseTensorProto":
            raise UnsafeModelError("the model has sparse tensors, which drillcore does not write")


def _parts(model: onnx.ModelProto) -> Iterator[Message]:
    waiting: list[Message] = [model]
    count = 0
    while waiting:
        message = waiting.pop()
        count += 1
        if count > MAX_PARTS:
            raise UnsafeModelError(f"the model consists of more than {MAX_PARTS} parts")
        children: list[Message] = []
        for field, value in message.ListFields():
            if field.message_type is not None:
                # Repeated fields are containers, single ones messages.
                children.extend((value,) if hasattr(value, "DESCRIPTOR") else value)
        # A sparse tensor is refused as such; the tensors in it first, whose reason is the graver one.
        if message.DESCRIPTOR.name == "SparseTensorProto":
            for child in children:
                _check_tensor(child)
        yield message
        waiting.extend(children)


def _check_tensor(tensor: onnx.TensorProto) -> None:
    name = _shown(tensor.name)
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise UnsafeModelError(f"tensor {name} lies in another file; models must hold all their data themselves")
    if tensor.data_type == _STRING or tensor.string_data:
        raise UnsafeModelError(f"tensor {name} holds texts, which no model of drillcore needs")
    if tensor.HasField("segment"):
        raise UnsafeModelError(f"tensor {name} is stored in segments, which is not supported")
    if tensor.data_type not in _ITEM_BITS:
        raise UnsafeModelError(f"tensor {name} has the element type {tensor.data_type}, which is not supported")
    if any(side < 0 for side in tensor.dims):
        raise UnsafeModelError(f"tensor {name} has a negative side")
    items = math.prod(tensor.dims)
    if tensor.HasField("raw_data"):
        held = len(tensor.raw_data) * 8 // _ITEM_BITS[tensor.data_type]
    else:
        typed = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data)
        held = max(len(values) for values in typed)
    if held != items:
        raise UnsafeModelError(f"tensor {name} states {items} elements and holds {held}")


def _check_versions(model: onnx.ModelProto) -> None:
    if model.ir_version not in IR_VERSIONS:
        known = f"{IR_VERSIONS[0]} to {IR_VERSIONS[-1]}"
        raise UnsafeModelError(f"the model has ONNX IR version {model.ir_version}; {known} are read")
    seen = set()
    for opset in model.opset_import:
        domain = _domain(opset.domain)
        if domain not in OPSETS:
            raise UnsafeModelError(f"the model needs operators of {_shown(opset.domain)}; only ONNX's own are run")
        versions = OPSETS[domain]
        if opset.version not in versions:
            known = f"{versions[0]} to {versions[-1]}"
            raise UnsafeModelError(f"the model needs opset {opset.version} of {domain or 'ai.onnx'}; {known} are run")
        if domain in seen:
            raise UnsafeModelError(f"the model names the opset of {domain or 'ai.onnx'} twice")
        seen.add(domain)


def _check_nodes(graph: onnx.GraphProto) -> None:
    if len(graph.node) > MAX_NODES:
        raise UnsafeModelError(f"the model has {len(graph.node)} nodes; at most {MAX_NODES} are loaded")
    for node in graph.node:
        if node.op_type in _LOOPS:
            raise UnsafeModelError(f"the model has the operator {node.op_type}, which may run without end")
        if node.op_type == "Scan" and not _domain(node.domain):
            continue  # its form and its body are checked by themselves
        _check_node(node, frozenset(_ALLOWED))


def _check_step(body: onnx.GraphProto) -> None:
    """Check the nodes of a scan's body: plain operators and forests, no loop within the loop."""
    for node in body.node:
        if node.op_type in (*_LOOPS, "Scan"):
            raise UnsafeModelError(f"the model has the operator {node.op_type} within a Scan, which is not needed")
        _check_node(node, frozenset(_ALLOWED))
        check_trees(node)


def _check_node(node: onnx.NodeProto, domains: frozenset[str]) -> None:
    domain = _domain(node.domain)
    if domain not in domains or node.op_type not in _ALLOWED.get(domain, frozenset()):
        full = f"{domain}.{node.op_type}" if domain else node.op_type
        raise UnsafeModelError(f"the operator {_shown(full)} is not among those drillcore's models need")
    for attribute in node.attribute:
        if attribute.HasField("g") or attribute.graphs:
            raise UnsafeModelError(f"the operator {node.op_type} carries a graph of its own, which is not needed")
        if attribute.ref_attr_name:
            raise UnsafeModelError(f"the operator {node.op_type} refers to an attribute of a function")


def _check_inputs(graph: onnx.GraphProto) -> None:
    weights = {item.name for item in graph.initializer}
    for item in graph.input:
        if item.name not in _INPUTS:
            raise UnsafeModelError(f"the model takes an input {_shown(item.name)}; images and sizes are expected")
        kind, rank = _INPUTS[item.name]
        tensor = item.type.tensor_type
        if tensor.elem_type != kind or not tensor.HasField("shape") or len(tensor.shape.dim) != rank:
            raise UnsafeModelError("images must be uint8 [N,H,W,C] and sizes int32 [N,2]")
    names = [item.name for item in graph.input]
    if "images" not in names or "images" in weights or len(set(names)) != len(names):
        raise UnsafeModelError("the model does not take images as its one input without a default")
    if not graph.output:
        raise UnsafeModelError("the model has no outputs")


def _domain(text: str) -> str:
    return "" if text == "ai.onnx" else text


def _shown(name: str) -> str:
    text = "".join(letter if letter.isprintable() else "?" for letter in name)
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
