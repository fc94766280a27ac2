"""Nodes that need no name of their own: numbered within a scope, the same from export to export."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from drillcore.export.builder import GraphBuilder

_KINDS = {"int64": TensorProto.INT64, "float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE,
          "uint8": TensorProto.UINT8}  # fmt: skip


class Scope:
    """Adds nodes to a graph under one prefix.

    Args:
        builder: of the graph.
        name: begins the names of the nodes; once per graph.
        constants: begins the names of whole numbers that nodes share; the graph of a loop's step needs its own.
    """

    def __init__(self, builder: GraphBuilder, name: str, constants: str = "") -> None:
        self.builder, self.name, self.constants = builder, name, constants
        self._count = 0

    def below(self, name: str) -> Scope:
        """Return a scope within this one."""
        return Scope(self.builder, f"{self.name}/{name}", self.constants)

    def op(self, operator: str, *inputs: str, **attributes: object) -> str:
        """Add a node and return the name of what it makes."""
        self._count += 1
        return self.builder.add(operator, inputs, f"{self.name}/{self._count}_{operator}", **attributes)

    def pair(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of two results and return the name of the first; nothing reads the second."""
        first = self.op(operator, *inputs, **attributes)
        self.builder.graph.node[-1].output.append(f"{first}/second")
        return first

    def whole(self, *values: int) -> str:
        """Return a constant int64 [len(values)]."""
        return self.builder.constant(f"{self.constants}whole/{'_'.join(map(str, values))}", list(values), np.int64)

    def number(self, value: float) -> str:
        """Return a constant float64 [1]."""
        return self.builder.constant(f"{self.constants}number/{value!r}", [value], np.float64)

    def array(self, values: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        """Return a constant."""
        self._count += 1
        return self.builder.constant(f"{self.name}/{self._count}_constant", values, dtype)

    def cast(self, value: str, dtype: str) -> str:
        """Return `value` as int64, float32, float64 or uint8."""
        return self.op("Cast", value, to=_KINDS[dtype])

    def side(self, value: str, axis: int) -> str:
        """Return the length of an axis, int64 [1]."""
        return self.op("Shape", value, start=axis, end=axis + 1)

    def shape(self, value: str, *parts: str | int) -> str:
        """Return `value` in another shape; parts are numbers or names of int64 [1], one of them may be -1."""
        return self.op("Reshape", value, self.list(*parts))

    def list(self, *parts: str | int) -> str:
        """Return numbers and names of int64 [1] as one int64 [len(parts)]."""
        if all(isinstance(part, int) for part in parts):
            return self.whole(*(int(part) for part in parts))
        return self.op("Concat", *(part if isinstance(part, str) else self.whole(part) for part in parts), axis=0)

    def counting(self, stop: str) -> str:
        """Return int64 [stop], 0 and up; `stop` is int64 [1]."""
        zero, one = (
            self.builder.constant(f"{self.constants}whole/scalar_{value}", value, np.int64) for value in (0, 1)
        )
        return self.op("Range", zero, self.op("Squeeze", stop), one)

    def unsqueeze(self, value: str, *axes: int) -> str:
        """Return `value` with axes of length 1 put in."""
        return self.op("Unsqueeze", value, self.whole(*axes))

    def ceiling(self, value: str, divisor: str | int) -> str:
        """Return value / divisor rounded up, of int64 [1] above 0."""
        by = self.whole(divisor) if isinstance(divisor, int) else divisor
        less = self.op("Sub", self.op("Add", value, by), self.whole(1))
        return self.op("Div", less, by)
