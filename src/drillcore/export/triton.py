"""A model repository for NVIDIA's Triton Inference Server: the ONNX file as it is, and config.pbtxt made from it.

DIR/<model>/config.pbtxt              names, types and sides of inputs and outputs; batching; which version is served
DIR/<model>/labels-<version>.txt      the classes, one a line, for Triton's classification extension
DIR/<model>/<version>/model.onnx      the registered bytes

https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto has the fields' meanings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from onnx import TensorProto, ValueInfoProto

from drillcore.errors import InputError
from drillcore.files import write_bytes
from drillcore.json_types import Json
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.runtime.model.safety import check_model_bytes
from drillcore.tasks import TASKS

# Names of onnx.TensorProto's element types in Triton's DataType; other types have no counterpart we need.
_TYPES = {
    "FLOAT": "TYPE_FP32",
    "FLOAT16": "TYPE_FP16",
    "DOUBLE": "TYPE_FP64",
    "UINT8": "TYPE_UINT8",
    "INT8": "TYPE_INT8",
    "INT32": "TYPE_INT32",
    "INT64": "TYPE_INT64",
    "BOOL": "TYPE_BOOL",
}


class Word(str):
    """An enumeration's value: text that stands in protobuf's text format without quotes."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class TritonOptions:
    """How Triton runs a model.

    Attributes:
        batch: rows of a batch at most.
        delay: seconds that a batch waits at most for more requests.
        instances: copies of the model that run side by side.
        kind: where they run: "auto" (each GPU, else the CPU), "gpu" or "cpu".
    """

    batch: int = 32
    delay: float = 0.005
    instances: int = 1
    kind: str = "auto"

    def __post_init__(self) -> None:
        if self.batch < 1 or self.instances < 1 or not 0 <= self.delay <= 10 or self.kind not in ("auto", "gpu", "cpu"):
            raise InputError(
                f"a batch of {self.batch}, {self.instances} instances ({self.kind}) and a delay of {self.delay:g} s: "
                "batch and instances must be 1 or more, the delay 0 to 10 s, the kind auto, gpu or cpu"
            )


def write_repository(
    folder: Path,
    data: bytes,
    *,
    name: str,
    version: int,
    sha256: str,
    options: TritonOptions | None = None,
    overwrite: bool = False,
) -> Path:
    """Write one version of a model into a repository, which may hold others, and return the model's folder.

    The configuration comes last and names the version it serves: a Triton that polls sees the old state or the new one.

    Args:
        folder: the repository; made where it is not there.
        data: the ONNX file.
        name: of the model.
        version: as the registry has it, 1 or more.
        sha256: digest of `data`.
        options: how it is run.
        overwrite: replace other bytes that stand under the same version.

    Raises:
        InputError: other bytes stand under this version, or Triton cannot run such a model.
        UnsafeModelError: no model of drillcore.
        OSError: it cannot be written.
    """
    metadata, config = describe(data, name=name, version=version, sha256=sha256, options=options or TritonOptions())
    model, target = folder / name, folder / name / str(version) / "model.onnx"
    same = target.exists() and target.read_bytes() == data
    if target.exists() and not same and not overwrite:
        raise InputError(f"{target} is there already and has other bytes; choose another folder or add --overwrite")
    if not same:
        write_bytes(target, data)
    if metadata.classes:
        write_bytes(model / _labels_name(version), "".join(f"{label}\n" for label in metadata.classes).encode())
    write_bytes(model / "config.pbtxt", text_format(config).encode())
    return model


def describe(
    data: bytes, *, name: str, version: int, sha256: str, options: TritonOptions
) -> tuple[ModelMetadata, Json]:
    """Return a model's metadata and the fields of Triton's ModelConfig.

    `sizes` is left out: it is an initializer that may be overridden, which Triton does not count among the inputs. So a
    batch holds images of one size there, which is what Triton's dynamic batcher puts together anyway.

    Raises:
        InputError: Triton cannot run such a model.
        UnsafeModelError: no model of drillcore.
    """
    model = check_model_bytes(data)
    metadata = ModelMetadata.of_model(model)
    given = {item.name for item in model.graph.initializer}
    inputs = [_tensor(item) for item in model.graph.input if item.name not in given]
    outputs = [_tensor(item) for item in model.graph.output]
    batches = all(tensor["dims"][0] == -1 for tensor in (*inputs, *outputs))
    config: Json = {
        "name": name,
        "platform": "onnxruntime_onnx",
        "max_batch_size": options.batch if batches else 0,
        "input": [_per_row(tensor) if batches else tensor for tensor in inputs],
        "output": [_per_row(tensor) if batches else tensor for tensor in outputs],
        "version_policy": {"specific": {"versions": [version]}},
        "instance_group": [{"count": options.instances, "kind": Word(f"KIND_{options.kind.upper()}")}],
        "parameters": [
            {"key": f"drillcore_{key}", "value": {"string_value": value}}
            for key, value in {"sha256": sha256, "task": metadata.task, "data_digest": metadata.data_digest}.items()
        ],
    }
    if batches:
        config["dynamic_batching"] = {"max_queue_delay_microseconds": round(1e6 * options.delay)}
    if (task := TASKS.get(metadata.task)) is not None and task.named and not task.dense:
        for tensor in config["output"]:
            if tensor["name"] == "probabilities":
                tensor["label_filename"] = _labels_name(version)
    return metadata, config


def text_format(message: Mapping[str, object], indent: str = "") -> str:
    """Return a message in protobuf's text format: mappings are messages, lists are repeated fields.

    >>> print(text_format({"name": "a", "dims": [1, -1], "kind": Word("AUTO"), "empty": {"shape": []}}), end="")
    name: "a"
    dims: [ 1, -1 ]
    kind: AUTO
    empty {
      shape: [ ]
    }
    """
    return "".join(_field(name, value, indent) for name, value in message.items())


def _field(name: str, value: object, indent: str) -> str:
    if isinstance(value, Mapping):
        return f"{indent}{name} {{\n{text_format(value, indent + '  ')}{indent}}}\n"
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return "".join(_field(name, item, indent) for item in value)
    if isinstance(value, list):
        return f"{indent}{name}: [ {''.join(_listed(value))}]\n"
    return f"{indent}{name}: {_scalar(value)}\n"


def _listed(values: list[object]) -> Iterator[str]:
    for place, value in enumerate(values, 1):
        yield f"{_scalar(value)}{',' if place < len(values) else ''} "


def _scalar(value: object) -> str:
    if isinstance(value, Word):
        return str(value)
    if isinstance(value, str):
        return '"' + "".join(_escaped(character) for character in value) + '"'
    return str(value)


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else "".join(f"\\{byte:03o}" for byte in character.encode())


def _tensor(item: ValueInfoProto) -> Json:
    """Return name, type and all sides of a graph's input or output; -1: any."""
    kind = item.type.tensor_type
    element = TensorProto.DataType.Name(kind.elem_type)
    if element not in _TYPES:
        raise InputError(f"{item.name} is of the type {element}, which no configuration for Triton is written for")
    dims = [side.dim_value if side.HasField("dim_value") else -1 for side in kind.shape.dim]
    if not dims:
        raise InputError(f"{item.name} has no axes; a batch axis is expected")
    return {"name": item.name, "data_type": Word(_TYPES[element]), "dims": dims}


def _per_row(tensor: Json) -> Json:
    """Return a tensor without its batch axis, which Triton adds; one number per row needs a side of its own there."""
    dims = tensor["dims"][1:]
    return {**tensor, "dims": dims} if dims else {**tensor, "dims": [1], "reshape": {"shape": []}}


def _labels_name(version: int) -> str:
    return f"labels-{version}.txt"
