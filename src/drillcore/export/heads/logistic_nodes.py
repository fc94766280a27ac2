"""Logistic regression as ONNX nodes: one matrix product, a temperature and a softmax."""

from __future__ import annotations

import numpy as np

from drillcore.export.builder import GraphBuilder
from drillcore.export.heads.svm_nodes import write_only_class, write_present, write_standardised
from drillcore.heads.logistic import LogisticHead


def write_logistic(builder: GraphBuilder, head: LogisticHead, rows: str, probabilities: str) -> None:
    """Write the nodes of a fitted head, from rows float32 [N, D] to probabilities float32 [N, K], both by name."""
    if len(head.present_) == 1:
        write_only_class(builder, head, rows, probabilities)
        return
    values = write_standardised(builder, head, rows, "head/standardised")
    # The temperature is one of the weights: nothing is left to be done for each answer.
    slope = head.slopes_[0]
    weights = builder.constant("head/weights", head.weights_ * slope, np.float32)
    bias = builder.constant("head/bias", head.bias_ * slope, np.float32)
    logits = builder.add("Add", [builder.add("MatMul", [values, weights], "head/product"), bias], "head/logits")
    write_present(builder, head, logits, probabilities)
