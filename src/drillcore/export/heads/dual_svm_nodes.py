"""A linear SVM learnt from a Gram matrix as ONNX nodes: its primal weights, one matrix product."""

from __future__ import annotations

import numpy as np

from drillcore.export.builder import GraphBuilder
from drillcore.export.heads.linear_svm_nodes import write_several
from drillcore.export.heads.svm_nodes import write_only_class, write_probabilities
from drillcore.heads.svm.dual_svm import DualSvmHead


def write_dual_svm(builder: GraphBuilder, head: DualSvmHead, rows: str, probabilities: str) -> None:
    """Write the nodes of a fitted head.

    Args:
        builder: of the graph.
        head: fitted, with the weights of its features.
        rows: name of the input, float32 [N, D].
        probabilities: name of the output, float32 [N, K].
    """
    if len(head.present_) == 1 and not head.several:
        write_only_class(builder, head, rows, probabilities)
        return
    weights = builder.constant("head/weights", head.weights_, np.float32)
    bias = builder.constant("head/bias", head.bias_, np.float32)
    decisions = builder.add("Add", [builder.add("MatMul", [rows, weights], "head/product"), bias], "head/decisions")
    if head.several:
        write_several(builder, head, decisions, probabilities)
    else:
        write_probabilities(builder, head, decisions, probabilities)
