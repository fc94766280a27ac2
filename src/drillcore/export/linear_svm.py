"""A linear SVM as ONNX nodes: one matrix product for all classes or all pairs of classes."""

from __future__ import annotations

import numpy as np

from drillcore.export.builder import GraphBuilder
from drillcore.export.svm_nodes import write_only_class, write_probabilities, write_standardised
from drillcore.heads.linear_svm import LinearSvmHead


def write_linear_svm(builder: GraphBuilder, head: LinearSvmHead, rows: str, probabilities: str) -> None:
    """Write the nodes of a fitted head.

    Args:
        builder: of the graph.
        head: fitted.
        rows: name of the input, float32 [N, D].
        probabilities: name of the output, float32 [N, K].
    """
    if len(head.present_) == 1:
        write_only_class(builder, head, rows, probabilities)
        return
    values = write_standardised(builder, head, rows, "head/standardised")
    weights = builder.constant("head/weights", head.weights_, np.float32)
    bias = builder.constant("head/bias", head.bias_, np.float32)
    decisions = builder.add("Add", [builder.add("MatMul", [values, weights], "head/product"), bias], "head/decisions")
    write_probabilities(builder, head, decisions, probabilities)
