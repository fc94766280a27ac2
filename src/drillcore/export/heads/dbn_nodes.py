"""A deep belief network as ONNX nodes on rows; a dense model's first layer is in its maps (`export.dense_graph`)."""

from __future__ import annotations

import numpy as np

from drillcore.export.builder import GraphBuilder
from drillcore.heads.dbn.dbn import DbnHead, DbnRegressor

_OPERATORS = {"relu": "Relu", "sigmoid": "Sigmoid"}


def write_dbn(builder: GraphBuilder, head: DbnHead, rows: str, probabilities: str) -> None:
    """Write the nodes of a fitted classifier.

    Args:
        builder: of the graph.
        head: fitted.
        rows: name of the input, float32 [N, D].
        probabilities: name of the output, float32 [N, K].
    """
    _write_layers(builder, head, rows, "head/logits")
    builder.add("Softmax", ["head/logits"], probabilities, axis=1)


def write_dbn_values(builder: GraphBuilder, head: DbnRegressor, rows: str, values: str) -> None:
    """Write the nodes of a fitted regressor, to values float32 [N, outputs]; arguments as of `write_dbn`."""
    _write_layers(builder, head, rows, values)


def _write_layers(builder: GraphBuilder, head: DbnHead | DbnRegressor, rows: str, output: str) -> None:
    mean = builder.constant("head/mean", head.mean_, np.float32)
    scale = builder.constant("head/scale", head.scale_, np.float32)
    values = builder.add("Div", [builder.add("Sub", [rows, mean], "head/centred"), scale], "head/standardised")
    for number, (weight, bias) in enumerate(head.layers_):
        scope, last = f"head/layer{number}", number == len(head.layers_) - 1
        product = builder.add(
            "MatMul", [values, builder.constant(f"{scope}/weight", weight, np.float32)], f"{scope}/product"
        )
        shift = builder.constant(f"{scope}/bias", bias, np.float32)
        values = builder.add("Add", [product, shift], output if last else f"{scope}/sum")
        if not last:
            values = builder.add(_OPERATORS[head.activation], [values], f"{scope}/units")
