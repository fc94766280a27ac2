"""A linear SVM as ONNX nodes: one matrix product for all classes or all pairs of classes."""

from __future__ import annotations

import numpy as np

from drillcore.export.builder import GraphBuilder
from drillcore.export.heads.svm_nodes import write_only_class, write_probabilities, write_standardised
from drillcore.heads.svm.dual_svm import DualSvmHead
from drillcore.heads.svm.linear_svm import LinearSvmHead


def write_linear_svm(builder: GraphBuilder, head: LinearSvmHead, rows: str, probabilities: str) -> None:
    """Write the nodes of a fitted head.

    Args:
        builder: of the graph.
        head: fitted.
        rows: name of the input, float32 [N, D].
        probabilities: name of the output, float32 [N, K].
    """
    if len(head.present_) == 1 and not head.several:
        write_only_class(builder, head, rows, probabilities)
        return
    values = write_standardised(builder, head, rows, "head/standardised")
    weights = builder.constant("head/weights", head.weights_, np.float32)
    bias = builder.constant("head/bias", head.bias_, np.float32)
    decisions = builder.add("Add", [builder.add("MatMul", [values, weights], "head/product"), bias], "head/decisions")
    if head.several:
        write_several(builder, head, decisions, probabilities)
    else:
        write_probabilities(builder, head, decisions, probabilities)


def write_several(builder: GraphBuilder, head: LinearSvmHead | DualSvmHead, decisions: str, probabilities: str) -> None:
    """Write sigmoid(a z + b) of each class, and 0 for one that no row had."""
    a, b, _ = (float(slope) for slope in head.slopes_)
    places = np.zeros((len(head.present_), len(head.classes_)), np.float32)
    places[np.arange(len(head.present_)), head.present_] = 1
    scaled = builder.add("Mul", [decisions, builder.constant("head/a", a, np.float32)], "head/scaled")
    logits = builder.add("Add", [scaled, builder.constant("head/b", b, np.float32)], "head/logits")
    own = builder.add("Sigmoid", [logits], "head/own")
    builder.add("MatMul", [own, builder.constant("head/places", places, np.float32)], probabilities)
