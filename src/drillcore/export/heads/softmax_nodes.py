"""The softmax head as ONNX nodes."""

from __future__ import annotations

import numpy as np

from drillcore.export.builder import GraphBuilder
from drillcore.heads.softmax import SoftmaxHead


def write_softmax(builder: GraphBuilder, head: SoftmaxHead, rows: str, probabilities: str) -> None:
    """Write the nodes of a fitted head.

    Args:
        builder: of the graph.
        head: fitted.
        rows: name of the input, logits float32 [N, K].
        probabilities: name of the output, float32 [N, K].
    """
    temperature = builder.constant("head/temperature", head.temperature_, np.float32)
    logits = builder.add("Div", [rows, temperature], "head/logits")
    builder.add("Softmax", [logits], probabilities, axis=1)
