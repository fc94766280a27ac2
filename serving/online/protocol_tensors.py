"""Tensors of the Open Inference Protocol: JSON numbers, or binary data after the JSON."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from pydantic_core import ErrorDetails, from_json

from drillcore.arrays import Array
from drillcore.json_types import Json
from drillcore_serving.online.document import bodies
from drillcore_serving.online.problems import RefusedError

LENGTH_HEADER = "Inference-Header-Content-Length"
DATATYPES = {
    "uint8": "UINT8",
    "int32": "INT32",
    "int64": "INT64",
    "float32": "FP32",
    "float64": "FP64",
    "bool": "BOOL",
}
_INPUTS: dict[str, np.dtype] = {"images": np.dtype(np.uint8), "sizes": np.dtype("<i4")}


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """A request for inference.

    Attributes:
        id: of the client, or empty.
        images: uint8 [N,H,W,C].
        sizes: int32 [N,2] (height, width), or None.
        outputs: name -> whether binary data is wanted, in the order asked for; empty: all, see `binary`.
        binary: whether outputs that nothing is said of come as binary data.
    """

    id: str
    images: NDArray[np.uint8]
    sizes: NDArray[np.int32] | None
    outputs: dict[str, bool]
    binary: bool


def read_request(body: bytes, header_length: str | None, max_json: int) -> InferenceRequest:
    """Parse a request for inference.

    Args:
        body: JSON, and perhaps binary data after it.
        header_length: the bytes of JSON, where binary data follow; None: all of it is JSON.
        max_json: bytes of JSON at most.

    Raises:
        RefusedError: 400, or 413 where the JSON is too long; says what does not fit.
    """
    length = len(body)
    if header_length is not None:
        if not (header_length.isascii() and header_length.isdigit() and len(header_length) < 12):
            raise _bad(f"{LENGTH_HEADER} must be a number of bytes")
        length = int(header_length)
        if length > len(body):
            raise _bad(f"{LENGTH_HEADER} is {length}; the body has {len(body)} bytes")
    if length > max_json:
        raise RefusedError(413, f"{length} bytes of JSON; at most {max_json} are read: send tensors as binary data")
    asked = _parsed(body[:length])
    rest = memoryview(body)[length:]
    tensors: dict[str, Array] = {}
    for item in asked.inputs:
        if item.name in tensors:
            raise _bad(f"input {item.name} stands there twice")
        tensors[item.name], rest = _tensor(item, rest)
    if len(rest):
        raise _bad(f"{len(rest)} bytes of binary data belong to no input")
    if "images" not in tensors:
        raise _bad("the input images is missing")
    binary = asked.parameters is not None and asked.parameters.binary_data_output
    outputs: dict[str, bool] = {}
    for output in asked.outputs or ():
        said = output.parameters
        if said is not None and "classification" in (said.model_extra or ()):
            raise _bad("the classification extension is not offered; the output label is the best class")
        outputs[output.name] = binary if said is None or said.binary_data is None else said.binary_data
    return InferenceRequest(asked.id or "", tensors["images"], tensors.get("sizes"), outputs, binary)


def write_response(
    facts: Mapping[str, object], outputs: Mapping[str, Array], binary: Mapping[str, bool]
) -> tuple[bytes, int | None]:
    """Return a response's body, and the bytes of its JSON where binary data follow.

    Args:
        facts: model_name, model_version and perhaps id.
        outputs: name -> array.
        binary: name -> whether it goes as binary data.
    """
    listed, tail = [], []
    for name, array in outputs.items():
        tensor: Json = {
            "name": name,
            "shape": list(array.shape),
            "datatype": DATATYPES[array.dtype.name],
        }
        if binary.get(name, False):
            data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
            tensor["parameters"] = {"binary_data_size": len(data)}
            tail.append(data)
        else:
            tensor["data"] = array.ravel().tolist()
        listed.append(tensor)
    head = json.dumps({**facts, "outputs": listed}, allow_nan=False).encode()
    return b"".join([head, *tail]), len(head) if tail else None


def _parsed(text: bytes) -> bodies.InferenceRequest:
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError:
        raise _bad("the request is not JSON") from None
    try:
        return bodies.InferenceRequest.model_validate(value)
    except ValidationError as error:
        raise _bad(_misfit(error.errors(include_url=False)[0])) from None


def _misfit(error: ErrorDetails) -> str:
    match error["loc"]:
        case ():
            return "the request must be a JSON object"
        case ("inputs" | "outputs" as name,):
            return f"{name}: a list is expected"
        case ("inputs", _):
            tag = error.get("ctx", {}).get("tag")
            found = "an input must be a JSON object with a name" if tag is None else f"unknown input {tag[:80]!r}"
            return f"{found}; known: {', '.join(_INPUTS)}"
        case ("outputs", _):
            return "an output must be a JSON object"
        case ("outputs", _, "name"):
            return "an output needs a name"
        case ("inputs", _, str(name), "datatype"):
            given = None if error["type"] == "missing" else error["input"]
            return f"input {name} has the datatype {str(given)[:40]!r}; {DATATYPES[_INPUTS[name].name]} is expected"
        case ("inputs", _, str(name), "shape", *_):
            return f"input {name}: a shape of {4 if name == 'images' else 2} numbers of 1 and more is expected"
        case ("id",):
            return f"id must be a text of at most {bodies.MAX_ID} characters"
        case (*_, "parameters"):
            return "parameters must be a JSON object"
        case (*_, "binary_data_size"):
            return "binary_data_size must be a number of bytes"
    return f"{error['loc'][-1]} must be true or false"


def _tensor(item: bodies.AnyInput, rest: memoryview) -> tuple[Array, memoryview]:
    name, dtype, count = item.name, _INPUTS[item.name], math.prod(item.shape)
    size = item.parameters and item.parameters.binary_data_size
    if size is None:
        return _from_numbers(name, item.data, dtype, count).reshape(item.shape), rest
    if "data" in item.model_fields_set:
        raise _bad(f"input {name} has both data and binary_data_size")
    if size != count * dtype.itemsize:
        raise _bad(f"input {name}: binary_data_size is {size}; {count * dtype.itemsize} bytes make its shape")
    if size > len(rest):
        raise _bad(f"input {name}: {size} bytes of binary data are expected, {len(rest)} are there")
    return np.frombuffer(rest[:size], dtype).reshape(item.shape), rest[size:]


def _from_numbers(name: str, data: object, dtype: np.dtype, count: int) -> Array:
    """Return a flat array of JSON numbers, nested or not; every one must be a whole number that the type holds.

    Types and numbers are looked at before there is an array: NumPy would find a type that holds them all, and of one
    long text among a million numbers make a million such texts.
    """
    if not isinstance(data, list):
        raise _bad(f"input {name}: data, a list of numbers, or binary data are expected")
    while data and type(data[0]) is list:
        length = len(data[0])
        if any(type(item) is not list or len(item) != length for item in data):
            raise _bad(f"input {name}: data are nested unevenly")
        data = list(itertools.chain.from_iterable(data))
    if len(data) != count or set(map(type, data)) != {int}:
        raise _bad(f"input {name}: {count} whole numbers are expected in data")
    bounds = np.iinfo(dtype)
    if min(data) < bounds.min or max(data) > bounds.max:
        raise _bad(f"input {name}: numbers from {bounds.min} to {bounds.max} are expected")
    return np.fromiter(data, dtype, count)


def _bad(message: str) -> RefusedError:
    return RefusedError(400, message)
