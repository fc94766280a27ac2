"""The network of a model file in whole numbers of eight bits: calibrated on images, rounded by onnxruntime.

Weights are signed with a scale for each output channel, activations unsigned with one scale: what a processor with VNNI
multiplies without saturating. Roundings stand as QuantizeLinear and DequantizeLinear in a graph of plain operators,
which onnxruntime joins into products of whole numbers. Preprocessing, rows and head stay in float.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from graphlib import TopologicalSorter
from pathlib import Path

import onnx
from onnx import NodeProto, helper

from drillcore.arrays import Array, Bytes
from drillcore.errors import InputError
from drillcore.export.assemble import checked_bytes
from drillcore.export.graph import IMAGES, SIZES
from drillcore.export.int8.folding import fold_layers
from drillcore.export.sessions import cpu_session
from drillcore.runtime.batch.planning import pad_batch
from drillcore.runtime.model.metadata import METADATA_KEY, ModelMetadata
from drillcore.runtime.model.pruning import pruned
from drillcore.runtime.model.safety_scans import scan_body

# Of a network those that have a form in whole numbers, in an order: onnxruntime's own list has none.
_OPERATORS = ["Conv", "Gemm", "MatMul", "Add", "Mul", "Relu", "Clip", "Sigmoid", "MaxPool", "AveragePool",
              "GlobalAveragePool", "Concat", "Flatten", "Reshape", "Transpose", "Squeeze"]  # fmt: skip
_OF_NETWORK = re.compile(r"(^|/)backbone/")  # names that `export.backbone` gives, under whatever scope
_SHALLOW = 4  # input channels: such a layer has few products, and its rounding would go through all others


def quantised(data: bytes, images: Sequence[Bytes]) -> onnx.ModelProto:
    """Return a model file's graph with its network in eight bits; inputs, outputs and metadata are the same.

    Args:
        data: of a float file of ours.
        images: to calibrate on, uint8 [h, w, C] each; each is read once.

    Raises:
        InputError: there is no image, or no network that could be rounded.
    """
    if not len(images):
        raise InputError("there is no training image to calibrate on")
    model = onnx.ModelProto()
    model.ParseFromString(data)
    graph = model.graph
    inside = [node for node in graph.node if _OF_NETWORK.search(node.name)]
    outside = [node for node in graph.node if not _OF_NETWORK.search(node.name)]
    made = {name for node in inside for name in node.output}
    constants = {item.name for item in graph.initializer}
    needed = sorted({name for node in inside for name in node.input if name} - made - constants)
    others = {name for node in outside for name in _reads(node)}
    given = sorted(made & {*others, *(item.name for item in graph.output)})
    if not given:
        raise InputError("the file has no network to round to int8; export it again with drillcore")
    inputs = _Inputs(model, needed, images)
    network = onnx.ModelProto(ir_version=model.ir_version)
    network.opset_import.extend(item for item in model.opset_import if not item.domain)
    network.graph.name = "network"
    network.graph.node.extend(inside)
    network.graph.input.extend(inputs.types())
    network.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in given)
    read = {name for node in inside for name in node.input}
    network.graph.initializer.extend(item for item in graph.initializer if item.name in read)
    fold_layers(network.graph)
    rounded = _rounded(network, inputs)
    nodes = [type(node).FromString(node.SerializeToString()) for node in _in_order([*outside, *rounded.node])]
    del graph.node[:]
    graph.node.extend(nodes)
    weights = [item for item in graph.initializer if item.name not in read or item.name in others]
    names = {item.name for item in weights}
    weights += [item for item in rounded.initializer if item.name not in names]
    weights = [type(item).FromString(item.SerializeToString()) for item in weights]
    del graph.initializer[:]
    graph.initializer.extend(weights)
    return model


def with_metadata(model: onnx.ModelProto, metadata: ModelMetadata) -> bytes:
    """Return a model as bytes with other metadata, which it keeps. Raises InputError: more than protobuf's 2 GB."""
    helper.set_model_props(model, {METADATA_KEY: metadata.to_json()})
    return checked_bytes(model)


class _Inputs:
    """What the network of a file reads, image by image: onnxruntime's `CalibrationDataReader`."""

    def __init__(self, model: onnx.ModelProto, names: list[str], images: Sequence[Bytes]) -> None:
        front = onnx.ModelProto()
        front.CopyFrom(model)
        del front.graph.output[:]
        front.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
        data = pruned(front.SerializeToString(), names)
        if any(_OF_NETWORK.search(node.name) for node in onnx.load_from_string(data).graph.node):
            raise InputError("a network that looks at what it has answered itself cannot be rounded to int8")
        self.names, self._images, self._session = names, images, cpu_session(data, 1)
        self._known = {item.name for item in front.graph.input}
        self._next: Iterator[Bytes] = iter(images)

    def types(self) -> list[onnx.ValueInfoProto]:
        """Return the network's inputs, of the rank and type that they have for the first image."""
        first = self._run(self._images[0])
        return [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), [None] * value.ndim)
            for name, value in first.items()
        ]

    def get_next(self) -> dict[str, Array] | None:
        """Return the values of the next image by name; None: there is none."""
        image = next(self._next, None)
        return None if image is None else self._run(image)

    def _run(self, image: Bytes) -> dict[str, Array]:
        canvas, sizes = pad_batch([image])
        feeds = {name: value for name, value in ((IMAGES, canvas), (SIZES, sizes)) if name in self._known}
        return dict(zip(self.names, self._session.run(self.names, feeds), strict=True))


def _rounded(network: onnx.ModelProto, inputs: _Inputs) -> onnx.GraphProto:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory(prefix="drillcore-int8-") as folder, _hushed():
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(network, source)
        quantize_static(
            source,
            target,
            inputs,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_OPERATORS,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_shallow(network.graph),
            calibrate_method=CalibrationMethod.MinMax,
        )
        found = onnx.load(target).graph
    if not any(node.op_type == "QuantizeLinear" for node in found.node):
        raise InputError("the network has no layer that has a form in int8; export it in float32")
    return found


def _shallow(graph: onnx.GraphProto) -> list[str]:
    """Return the names of layers that look at a few channels only: at the image."""
    sides = {item.name: list(item.dims) for item in graph.initializer}
    names = []
    for node in graph.node:
        if node.op_type == "Conv" and node.input[1] in sides:
            groups = next((item.i for item in node.attribute if item.name == "group"), 1)
            if groups * sides[node.input[1]][1] <= _SHALLOW:
                names.append(node.name)
    return names


def _in_order(nodes: Sequence[NodeProto]) -> Iterable[NodeProto]:
    makers = {name: number for number, node in enumerate(nodes) for name in node.output}
    wanted = {n: [makers[name] for name in _reads(node) if name in makers] for n, node in enumerate(nodes)}
    return (nodes[number] for number in TopologicalSorter(wanted).static_order())


def _reads(node: NodeProto) -> list[str]:
    """Return what a node reads, in the body of a loop too."""
    inner = [name for step in scan_body(node).node for name in step.input] if node.op_type == "Scan" else []
    return [name for name in (*node.input, *inner) if name]


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep onnxruntime's advice, given by way of the root logger, from whoever has asked for a file."""
    root, silent, handler = logging.getLogger(), _Nothing(), logging.NullHandler()
    root.addHandler(handler)  # without any, `logging.warning` would add one for good
    root.addFilter(silent)
    try:
        yield
    finally:
        root.removeFilter(silent)
        root.removeHandler(handler)


class _Nothing(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return False
