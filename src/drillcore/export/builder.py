"""Writes nodes and constants straight into a graph: a forest's node takes hundreds of megabytes and is not copied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, NodeProto, helper, numpy_helper


class GraphBuilder:
    """Nodes in the order they run, with names that stay the same from export to export.

    Attributes:
        graph: what is written to.
    """

    def __init__(self, graph: GraphProto) -> None:
        self.graph = graph
        self._constants: set[str] = set()

    def add(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node that makes `output`; returns that name."""
        node = self.node(op, inputs, output)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        return output

    def node(self, op: str, inputs: Sequence[str], output: str, domain: str = "") -> NodeProto:
        """Add a node without attributes and return it, to be filled in place."""
        node: NodeProto = self.graph.node.add()
        node.op_type, node.name = op, output
        if domain:
            node.domain = domain
        node.input.extend(inputs)
        node.output.append(output)
        return node

    def constant(self, name: str, value: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        """Add a constant, the first time its name comes; returns the name."""
        if name not in self._constants:
            self._constants.add(name)
            array = np.ascontiguousarray(value, dtype).reshape(np.shape(value))
            self.graph.initializer.append(numpy_helper.from_array(array, name))
        return name
