"""One ONNX file from raw images to the answer (CONTRACTS, MODEL): preprocessing, backbone, rows, head, metadata."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from drillcore.backbones.base import Backbone
from drillcore.errors import InputError
from drillcore.export.backbone import write_backbone
from drillcore.export.builder import GraphBuilder
from drillcore.export.graph import IMAGES, SIZES, write_preprocessing
from drillcore.export.heads.forest_nodes import ML_DOMAIN
from drillcore.heads.base import Classifier
from drillcore.heads.catalogue import head_row
from drillcore.plugins import attribute
from drillcore.runtime.model.metadata import METADATA_KEY, ModelMetadata
from drillcore.store.spec import DTYPES
from drillcore.tasks import get_task

OPSET, ML_OPSET, IR_VERSION = 20, 3, 10
ACTIVATIONS, ROWS, PROBABILITIES, LABEL = "activations", "rows", "probabilities", "label"
ANSWERS = "answers"  # to rows, where an image has several
MAX_BYTES = 2**31 - 1  # protobuf's limit for one message

HeadWriter = Callable[[GraphBuilder, Any, str, str], None]
NodeWriter = Callable[[GraphBuilder, str, str], None]  # names of input and output


def input_contract(backbone: Backbone) -> dict[str, object]:
    """Return what stands under `input` in the metadata of a model with this backbone."""
    rule = backbone.preprocessing
    return {"channels": backbone.channels, "resize": rule["resize"], "preprocessing": dict(rule)}


def export_classifier(
    backbone: Backbone, taps: Sequence[str], head: Classifier, *, dtype: str, metadata: ModelMetadata
) -> bytes:
    """Return the model file's bytes, the same for the same parts.

    Args:
        backbone: frozen, with an input size.
        taps: whose activations the head was fitted on, in that order.
        head: fitted.
        dtype: "float16" or "float32", of the stored rows the head was fitted on.
        metadata: written under "drillcore".

    Raises:
        InputError: parts that do not fit together, or a file above protobuf's 2 GB.
        UnknownNameError: a tap or head there is not.
    """
    return checked_bytes(build_classifier(backbone, taps, head, dtype=dtype, metadata=metadata))


def checked_bytes(model: onnx.ModelProto) -> bytes:
    """Return a model as bytes. Raises InputError: more than protobuf's 2 GB."""
    size = model.ByteSize()
    if size > MAX_BYTES:
        raise InputError(
            f"the model would have {size / 1e9:.1f} GB, ONNX files end at 2.1 GB; take fewer trees or a larger "
            "min_samples_leaf"
        )
    data: bytes = model.SerializeToString(deterministic=True)
    onnx.checker.check_model(data)
    return data


def build_classifier(
    backbone: Backbone,
    taps: Sequence[str],
    head: Classifier,
    *,
    dtype: str,
    metadata: ModelMetadata,
    write_rows: NodeWriter | None = None,
    write_gather: NodeWriter | None = None,
    width: int | None = None,
) -> onnx.ModelProto:
    """Return the model.

    Args:
        backbone: frozen, with an input size.
        taps: whose activations the rows are made of.
        head: fitted.
        dtype: of the stored rows.
        metadata: of the file.
        write_rows: writes the nodes from activations to rows; None: activations as the store gives them back.
        write_gather: writes the nodes from answers to rows to answers to images; None: each image has one row.
        width: features of a row; None: of the activations.

    Raises:
        InputError, UnknownNameError: as `export_classifier`.
    """
    _check_parts(backbone, taps, head, dtype, metadata, backbone.flat_width(taps) if width is None else width)
    writer = head_writer(head.name)
    model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="drillcore")
    model.opset_import.extend([helper.make_opsetid("", OPSET), helper.make_opsetid(ML_DOMAIN, ML_OPSET)])
    graph = model.graph
    graph.name = metadata.model
    # `sizes` has an axis name of its own: its default of one row serves a batch of any length.
    graph.input.extend(
        [
            helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, ["N", "H", "W", backbone.channels]),
            helper.make_tensor_value_info(SIZES, TensorProto.INT32, ["M", 2]),
        ]
    )
    builder = GraphBuilder(graph)
    builder.constant(SIZES, [[0, 0]], np.int32)
    write_preprocessing(builder, backbone.preprocessing, "input")
    write_backbone(builder, backbone, taps, "input", ACTIVATIONS)
    (write_rows or partial(write_stored, dtype=dtype))(builder, ACTIVATIONS, ROWS)
    if write_gather is None:
        writer(builder, head, ROWS, PROBABILITIES)
    else:
        writer(builder, head, ROWS, ANSWERS)
        write_gather(builder, ANSWERS, PROBABILITIES)
    if get_task(metadata.task).output(LABEL):
        builder.add("ArgMax", [PROBABILITIES], LABEL, axis=1, keepdims=0)
        graph.output.append(helper.make_tensor_value_info(LABEL, TensorProto.INT64, ["N"]))
    graph.output.append(helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["N", len(metadata.classes)]))
    helper.set_model_props(model, {METADATA_KEY: metadata.to_json()})
    return model


def write_stored(builder: GraphBuilder, values: str, rows: str, *, dtype: str) -> None:
    """Write nodes that give values float32 as the store, of a dtype, gives them back."""
    if dtype == "float16":
        half = builder.add("Cast", [values], "rows/stored", to=TensorProto.FLOAT16)
        builder.add("Cast", [half], rows, to=TensorProto.FLOAT)
    else:
        builder.add("Identity", [values], rows)


def rows_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the part of a model that makes the rows, with outputs activations and rows, float32 [N, D].

    Raises:
        InputError: the model has no such values.
    """
    part = onnx.ModelProto(ir_version=model.ir_version)
    part.opset_import.extend(model.opset_import)
    part.graph.name = f"{model.graph.name}/rows"
    needed, nodes = {ACTIVATIONS, ROWS}, []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    if not any(ROWS in node.output for node in nodes):
        raise InputError("the model has no rows; export it again with drillcore")
    part.graph.node.extend(reversed(nodes))
    part.graph.input.extend(item for item in model.graph.input if item.name in needed)
    part.graph.initializer.extend(item for item in model.graph.initializer if item.name in needed)
    part.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", "D"]) for name in (ACTIVATIONS, ROWS)
    )
    return part


def head_writer(name: str) -> HeadWriter:
    """Return what writes a head's nodes; raises UnknownNameError."""
    found: HeadWriter = attribute(head_row(name).writer)
    return found


def _check_parts(
    backbone: Backbone, taps: Sequence[str], head: Classifier, dtype: str, metadata: ModelMetadata, width: int
) -> None:
    if dtype not in DTYPES:
        raise InputError(f"rows are stored as {', '.join(DTYPES)}, not {dtype!r}")
    if head.n_features_in_ != width:
        raise InputError(f"the head was fitted on {head.n_features_in_} features, the taps give {width}")
    if len(head.classes_) != len(metadata.classes):
        raise InputError(f"the head knows {len(head.classes_)} classes, the metadata name {len(metadata.classes)}")
    if (task := get_task(metadata.task)).dense or not task.named:
        raise InputError(f"a classifier is expected, the metadata's task is {metadata.task!r}")
    if metadata.input != input_contract(backbone):
        raise InputError("the metadata's input is not the backbone's; take it from input_contract")
    if metadata.weights_sha256 != backbone.weights_sha256:
        raise InputError("the metadata's weights digest is not the backbone's")
