"""Tensors of the Open Inference Protocol: JSON numbers, or binary data after the JSON."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.online.problems import RefusedError

LENGTH_HEADER = "Inference-Header-Content-Length"
DATATYPES = {
    "uint8": "UINT8",
    "int32": "INT32",
    "int64": "INT64",
    "float32": "FP32",
    "float64": "FP64",
    "bool": "BOOL",
}
_INPUTS: dict[str, tuple[str, np.dtype[Any], int]] = {
    "images": ("UINT8", np.dtype(np.uint8), 4),
    "sizes": ("INT32", np.dtype("<i4"), 2),
}
_MAX_ID = 200

Array = NDArray[Any]


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
    value = _object(_parse(body[:length]), "the request")
    rest = memoryview(body)[length:]
    tensors: dict[str, Array] = {}
    for item in _list(value, "inputs"):
        name, array, rest = _tensor(_object(item, "an input"), rest)
        if name in tensors:
            raise _bad(f"input {name} stands there twice")
        tensors[name] = array
    if len(rest):
        raise _bad(f"{len(rest)} bytes of binary data belong to no input")
    if "images" not in tensors:
        raise _bad("the input images is missing")
    identity = "" if value.get("id") is None else value["id"]
    if not isinstance(identity, str) or len(identity) > _MAX_ID:
        raise _bad(f"id must be a text of at most {_MAX_ID} characters")
    binary = _flag(value, "binary_data_output", default=False)
    outputs: dict[str, bool] = {}
    for item in _list(value, "outputs") if value.get("outputs") is not None else ():
        wanted = _object(item, "an output")
        output = wanted.get("name")
        if not isinstance(output, str):
            raise _bad("an output needs a name")
        if "classification" in _parameters(wanted):
            raise _bad("the classification extension is not offered; the output label is the best class")
        outputs[output] = _flag(wanted, "binary_data", default=binary)
    return InferenceRequest(identity, tensors["images"], tensors.get("sizes"), outputs, binary)


def write_response(
    facts: Mapping[str, Any], outputs: Mapping[str, Array], binary: Mapping[str, bool]
) -> tuple[bytes, int | None]:
    """Return a response's body, and the bytes of its JSON where binary data follow.

    Args:
        facts: model_name, model_version and perhaps id.
        outputs: name -> array.
        binary: name -> whether it goes as binary data.
    """
    listed, tail = [], []
    for name, array in outputs.items():
        tensor: dict[str, Any] = {
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


def _parse(text: bytes) -> Any:
    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(text.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError):
        raise _bad("the request is not JSON") from None


def _tensor(item: dict[str, Any], rest: memoryview) -> tuple[str, Array, memoryview]:
    name, shape = item.get("name"), item.get("shape")
    if not isinstance(name, str) or name not in _INPUTS:
        raise _bad(f"unknown input {str(name)[:80]!r}; known: {', '.join(_INPUTS)}")
    datatype, dtype, axes = _INPUTS[name]
    if item.get("datatype") != datatype:
        raise _bad(f"input {name} has the datatype {str(item.get('datatype'))[:40]!r}; {datatype} is expected")
    if not isinstance(shape, list) or len(shape) != axes or not all(type(n) is int and 0 < n < 2**31 for n in shape):
        raise _bad(f"input {name}: a shape of {axes} numbers of 1 and more is expected")
    count = 1
    for side in shape:
        count *= side
    size = _parameters(item).get("binary_data_size")
    if size is None:
        return name, _from_numbers(name, item.get("data"), dtype, count).reshape(shape), rest
    if "data" in item:
        raise _bad(f"input {name} has both data and binary_data_size")
    if type(size) is not int or size != count * dtype.itemsize:
        raise _bad(f"input {name}: binary_data_size is {str(size)[:40]}; {count * dtype.itemsize} bytes make its shape")
    if size > len(rest):
        raise _bad(f"input {name}: {size} bytes of binary data are expected, {len(rest)} are there")
    array = np.frombuffer(rest[:size], dtype).reshape(shape)
    return name, array, rest[size:]


def _from_numbers(name: str, data: Any, dtype: np.dtype[Any], count: int) -> Array:
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


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _bad(f"{what} must be a JSON object")
    return value


def _list(value: dict[str, Any], name: str) -> Sequence[Any]:
    found = value.get(name)
    if not isinstance(found, list) or len(found) > 64:
        raise _bad(f"{name}: a list is expected")
    return found


def _parameters(value: dict[str, Any]) -> dict[str, Any]:
    found = value.get("parameters")
    return {} if found is None else _object(found, "parameters")


def _flag(value: dict[str, Any], name: str, *, default: bool) -> bool:
    found = _parameters(value).get(name, default)
    if not isinstance(found, bool):
        raise _bad(f"{name} must be true or false")
    return found


def _bad(message: str) -> RefusedError:
    return RefusedError(400, message)
