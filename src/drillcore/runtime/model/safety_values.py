"""The small numbers from which a model computes the shapes of its tensors, worked out in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper

from drillcore.arrays import Array
from drillcore.json_types import Values

MAX_ITEMS = 4096  # larger arrays are no shapes
Operation = Callable[..., Array]  # attributes, then arrays


@dataclass(frozen=True, slots=True)
class Value:
    """An array of at most a few thousand numbers, with its ONNX element type."""

    array: Array
    kind: int

    @classmethod
    def of(cls, numbers: npt.ArrayLike, kind: int) -> Value:
        """Make a value; `kind` is an ONNX element type."""
        return cls(np.asarray(numbers).astype(helper.tensor_dtype_to_np_dtype(kind)), kind)

    def tensor(self, name: str) -> TensorProto:
        """Return it as an `onnx.TensorProto`."""
        # A number stays a number: contiguous arrays have an axis at least.
        return numpy_helper.from_array(np.ascontiguousarray(self.array).reshape(self.array.shape), name)


def evaluate(nodes: list[NodeProto], shapes: dict[str, tuple[int, ...]], values: dict[str, Value]) -> None:
    """Add to `values` what `nodes` compute from values, and to `shapes` the shapes of all values."""
    for node in nodes:
        if not node.output or node.output[0] in values or len(node.output) != 1:
            continue
        result = _answer(node, shapes, values)
        if result is not None and result.size <= MAX_ITEMS:
            kind = helper.np_dtype_to_tensor_dtype(result.dtype)
            values[node.output[0]] = Value(result, kind)
    for name, value in values.items():
        shapes[name] = value.array.shape


def _answer(node: NodeProto, shapes: dict[str, tuple[int, ...]], values: dict[str, Value]) -> Array | None:
    try:
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    except ValueError:
        return None
    if node.op_type in ("Shape", "Size") and node.input[0] in shapes:
        shape = np.array(shapes[node.input[0]], np.int64)
        if node.op_type == "Size":
            return np.asarray(shape.prod(dtype=np.int64))
        return shape[attributes.get("start", 0) : attributes.get("end")]
    operation = _OPERATIONS.get(node.op_type)
    if operation is None or any(name and name not in values for name in node.input):
        return None
    arrays = [values[name].array if name else None for name in node.input]
    if _blows_up(node.op_type, arrays):
        return None
    with np.errstate(all="ignore"):
        try:
            return np.asarray(operation(attributes, *arrays))
        except (TypeError, ValueError, IndexError, ArithmeticError, KeyError):
            return None  # not worked out: whoever needs the number is told that it is unknown


def _blows_up(kind: str, given: list[Array | None]) -> bool:
    arrays = [item for item in given if item is not None]
    if kind == "Range":
        start, stop, step = (float(np.ravel(item)[0]) if item.size else 0.0 for item in arrays)
        return step == 0 or not abs((stop - start) / step) <= MAX_ITEMS
    if kind in ("ConstantOfShape", "Expand"):
        target = arrays[-1].astype(np.float64)
        return not np.prod(np.maximum(np.abs(target), 1)) * (arrays[0].size if kind == "Expand" else 1) <= MAX_ITEMS
    return int(np.prod([item.size for item in arrays], dtype=np.float64)) > MAX_ITEMS**2


def _cast(attributes: Values, x: Array) -> Array:
    return x.astype(helper.tensor_dtype_to_np_dtype(attributes["to"]))


def _divide(_: Values, a: Array, b: Array) -> Array:
    if np.issubdtype(a.dtype, np.integer):
        if (b == 0).any():
            raise ValueError("division by zero")
        quotient = np.abs(a) // np.abs(b)
        found: Array = (np.sign(a) * np.sign(b) * quotient).astype(a.dtype)
        return found
    return a / b


def _slice(
    _: Values, x: Array, starts: Array, ends: Array, axes: Array | None = None, steps: Array | None = None
) -> Array:
    places = range(len(starts)) if axes is None else axes.tolist()
    strides = [1] * len(starts) if steps is None else steps.tolist()
    cut = [slice(None)] * x.ndim
    for axis, start, end, step in zip(places, starts.tolist(), ends.tolist(), strides, strict=True):
        # A step back to the very beginning has an end before 0, which Python would count from the back.
        stop = None if step < 0 and end < -x.shape[axis] else end
        cut[axis] = slice(start, stop, step)
    return x[tuple(cut)]


def _reduce(function: Operation) -> Operation:
    def reduced(attributes: Values, x: Array, axes: Array | None = None) -> Array:
        chosen = attributes.get("axes") if axes is None else axes.tolist()
        if not chosen and attributes.get("noop_with_empty_axes", 0):
            return x
        result = function(x, axis=tuple(chosen) if chosen else None, keepdims=bool(attributes.get("keepdims", 1)))
        return np.asarray(result).astype(x.dtype)

    return reduced


def _plain(function: Operation) -> Operation:
    return lambda _, *arrays: function(*arrays)


def _folded(function: Operation) -> Operation:
    def folded(_: Values, first: Array, *others: Array) -> Array:
        for other in others:
            first = function(first, other)
        return first

    return folded


def _squeeze(_: Values, x: Array, axes: Array | None = None) -> Array:
    return np.squeeze(x, None if axes is None else tuple(axes.tolist()))


def _reshape(attributes: Values, x: Array, shape: Array) -> Array:
    if attributes.get("allowzero", 0):
        return x.reshape(shape.tolist())
    return x.reshape([x.shape[i] if side == 0 else side for i, side in enumerate(shape.tolist())])


def _filled(attributes: Values, shape: Array) -> Array:
    value = numpy_helper.to_array(attributes["value"]) if "value" in attributes else np.zeros(1, np.float32)
    return np.full(shape.tolist(), value.ravel()[0], value.dtype)


def _clip(_: Values, x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def _constant(attributes: Values) -> Array:
    for name, kind in (("value_int", np.int64), ("value_ints", np.int64), ("value_float", np.float32)):
        if name in attributes:
            return np.asarray(attributes[name], kind)
    return np.asarray(attributes["value_floats"], np.float32)


_OPERATIONS: dict[str, Operation] = {
    "Constant": _constant,
    "Identity": _plain(np.copy),
    "Cast": _cast,
    "Div": _divide,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": lambda _, x, axes: np.expand_dims(x, tuple(axes.tolist())),
    "Reshape": _reshape,
    "ConstantOfShape": _filled,
    "Clip": _clip,
    "Concat": lambda attributes, *arrays: np.concatenate(arrays, attributes["axis"]),
    "Gather": lambda attributes, x, at: np.take(x, at, axis=attributes.get("axis", 0)),
    "Transpose": lambda attributes, x: np.transpose(x, attributes.get("perm")),
    "Range": lambda _, a, b, c: np.arange(a.item(), b.item(), c.item()).astype(a.dtype),
    "Expand": lambda _, x, shape: x * np.ones(shape.tolist(), x.dtype),
    "Mod": lambda _, a, b: np.mod(a, b),
    "Round": _plain(np.rint),
    "Max": _folded(np.maximum),
    "Min": _folded(np.minimum),
    "Sum": _folded(np.add),
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
    "ReduceSum": _reduce(np.sum),
    "ReduceProd": _reduce(np.prod),
    "ReduceMean": _reduce(np.mean),
    "Where": _plain(np.where),
    "Not": _plain(np.logical_not),
    "And": _plain(np.logical_and),
    "Or": _plain(np.logical_or),
    **{
        name: _plain(function)
        for name, function in {
            "Add": np.add,
            "Sub": np.subtract,
            "Mul": np.multiply,
            "Pow": np.power,
            "Neg": np.negative,
            "Abs": np.abs,
            "Sqrt": np.sqrt,
            "Floor": np.floor,
            "Ceil": np.ceil,
            "Equal": np.equal,
            "Less": np.less,
            "LessOrEqual": np.less_equal,
            "Greater": np.greater,
            "GreaterOrEqual": np.greater_equal,
        }.items()
    },
}
