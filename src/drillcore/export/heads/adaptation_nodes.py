"""Adaptation layers as ONNX nodes, and the paper's aggregation of patches behind them."""

from __future__ import annotations

import numpy as np

from drillcore.export.builder import GraphBuilder
from drillcore.heads.adaptation.head import TINY, AdaptationHead


def write_adaptation(builder: GraphBuilder, head: AdaptationHead, rows: str, answers: str) -> None:
    """Write the nodes from rows float32 [N, D] to y, float32 [N, K].

    Args:
        builder: of the graph.
        head: fitted.
        rows: name of the input.
        answers: name of the output.
    """
    mean = builder.constant("head/mean", head.mean_, np.float32)
    scale = builder.constant("head/scale", head.scale_, np.float32)
    values = builder.add("Div", [builder.add("Sub", [rows, mean], "head/centred"), scale], "head/standardised")
    last = len(head.layers_) - 1
    for number, (weight, bias) in enumerate(head.layers_):
        scope = f"head/layer{number}"
        product = builder.add(
            "MatMul", [values, builder.constant(f"{scope}/weight", weight, np.float32)], f"{scope}/product"
        )
        values = builder.add("Add", [product, builder.constant(f"{scope}/bias", bias, np.float32)], f"{scope}/sum")
        if number < last:
            values = builder.add("Relu", [values], f"{scope}/units")
    if not head.softmax_:
        builder.add("Sigmoid", [values], answers)
        return
    every = builder.add("Softmax", [values], "head/with_background", axis=1)
    ends = [builder.constant(f"head/{name}", [at], np.int64) for name, at in (("from", 0), ("to", -1), ("axis", 1))]
    builder.add("Slice", [every, *ends], answers)


def write_aggregation(builder: GraphBuilder, head: AdaptationHead, answers: str, probabilities: str) -> None:
    """Write the nodes from y of the patches of each image, float32 [N, P, K], to probabilities float32 [N, K]."""
    power = builder.constant("score/power", float(head.power_), np.float32)
    raised = builder.add("Pow", [answers, power], "score/raised")
    axis = builder.constant("score/axis", [1], np.int64)
    score = builder.add("ReduceMean", [raised, axis], "score/mean", keepdims=0)
    tiny = builder.constant("score/tiny", TINY, np.float32)
    logarithm = builder.add("Log", [builder.add("Max", [score, tiny], "score/above")], "score/logarithm")
    a, b = (builder.constant(f"score/{name}", head.slopes_[:, at], np.float32) for at, name in enumerate("ab"))
    scaled = builder.add("Mul", [logarithm, a], "score/scaled")
    builder.add("Sigmoid", [builder.add("Add", [scaled, b], "score/logits")], probabilities)
