"""Where two model files differ: in what they say of themselves, in their graph, or in which tensor and by how much."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper

from drillcore.json_types import Values
from drillcore.runtime.model.metadata import METADATA_KEY

_METADATA_STAGES = {"data_digest": "ingest", "lineage": "ingest", "classes": "ingest", "weights_sha256": "backbone"}


def file_differences(first: bytes, second: bytes) -> Iterator[str]:
    """Yield a line for each thing in which two model files differ, in the order of the stages that made them.

    Args:
        first: an ONNX file of ours, as registered.
        second: the one made again.
    """
    one, two = onnx.load_from_string(first), onnx.load_from_string(second)
    yield from _of_metadata(_metadata(one), _metadata(two))
    if [node.SerializeToString() for node in one.graph.node] != [node.SerializeToString() for node in two.graph.node]:
        yield f"export: of {len(one.graph.node)} and {len(two.graph.node)} operators not all are equal"
    tensors = {tensor.name: tensor for tensor in two.graph.initializer}
    for tensor in one.graph.initializer:
        found = tensors.pop(tensor.name, None)
        if found is None:
            yield f"tensor {tensor.name}: only the registered file has it"
        elif found.SerializeToString() != tensor.SerializeToString():
            yield f"tensor {tensor.name}: {_distance(numpy_helper.to_array(tensor), numpy_helper.to_array(found))}"
    yield from (f"tensor {name}: only the file made again has it" for name in tensors)


def _metadata(model: onnx.ModelProto) -> Values:
    text = next((item.value for item in model.metadata_props if item.key == METADATA_KEY), "{}")
    found: Values = json.loads(text)
    return found


def _of_metadata(one: Values, two: Values) -> Iterator[str]:
    for name in sorted({*one, *two}, key=lambda name: (name not in _METADATA_STAGES, name)):
        if one.get(name) != two.get(name):
            stage = _METADATA_STAGES.get(name, "metadata")
            yield f"{stage}: {name} is {_short(two.get(name))}, {_short(one.get(name))} in the registered file"


def _distance(one: np.ndarray, two: np.ndarray) -> str:
    if one.shape != two.shape or one.dtype != two.dtype:
        return f"{two.dtype}{list(two.shape)}, {one.dtype}{list(one.shape)} in the registered file"
    differ = int((one != two).sum())
    size = f"{differ:,} of {one.size:,} numbers differ"
    if one.dtype.kind not in "fiu":
        return size
    most = np.abs(one.astype(np.float64) - two.astype(np.float64)).max(initial=0.0)
    largest = np.abs(one.astype(np.float64)).max(initial=0.0)
    return f"{size}, by at most {most:.3g} where the largest is {largest:.3g}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
