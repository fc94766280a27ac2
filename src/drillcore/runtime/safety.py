"""Checks on a model file before anything in it runs."""

from __future__ import annotations

from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from drillcore.errors import UnsafeModelError

MAX_MODEL_BYTES = 2**31 - 1  # protobuf's own limit


def check_model_bytes(data: bytes) -> Any:
    """Parse and check a model. Raises UnsafeModelError."""
    if not data:
        raise UnsafeModelError("the model file is empty")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise UnsafeModelError("the file is not an ONNX model") from None
    check_model(model)
    return model


def check_model(model: Any) -> None:
    """Check a parsed model. Raises UnsafeModelError."""
    if not model.graph.node:
        raise UnsafeModelError("the file is not an ONNX model, or one without nodes")
