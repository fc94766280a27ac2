"""What the SVM heads have in common as ONNX nodes: standardisation, and probabilities from decision values."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from drillcore.export.builder import GraphBuilder
from drillcore.heads.svm.calibration import LARGEST, SHARPNESS, pairs
from drillcore.heads.svm.dual_svm import DualSvmHead
from drillcore.heads.svm.estimator import ABSENT_LOGIT, SvmEstimator

Machine = SvmEstimator | DualSvmHead


def write_standardised(builder: GraphBuilder, head: SvmEstimator, rows: str, output: str) -> str:
    """Write (x - mean) * inverse; returns the name of the output."""
    mean = builder.constant("head/mean", head.mean_, np.float32)
    inverse = builder.constant("head/inverse", head.inverse_, np.float32)
    return builder.add("Mul", [builder.add("Sub", [rows, mean], f"{output}/centred"), inverse], output)


def write_only_class(builder: GraphBuilder, head: Machine, rows: str, probabilities: str) -> None:
    """Write the answer of a head that saw one class: probability 1 for it, whatever the row."""
    shape = (head.n_features_in_, len(head.classes_))
    nothing = builder.constant("head/nothing", np.zeros(shape), np.float32)
    answer = builder.constant("head/only", np.eye(shape[1])[head.present_], np.float32)
    builder.add("Add", [builder.add("MatMul", [rows, nothing], "head/zeros"), answer], probabilities)


def write_probabilities(builder: GraphBuilder, head: Machine, decisions: str, probabilities: str) -> None:
    """Write what `heads.svm_calibration` makes of decisions, float32 [N, columns]; the output is float32 [N, K]."""
    logits = (
        _pair_logits(builder, head, decisions)
        if head.scheme == "one_vs_one"
        else _rest_logits(builder, head, decisions)
    )
    write_present(builder, head, logits, probabilities)


def write_present(builder: GraphBuilder, head: Machine, logits: str, probabilities: str) -> None:
    """Write the softmax of logits [N, P] of the classes present, float32 [N, K]; the others have probability 0."""
    present, count = len(head.present_), len(head.classes_)
    if present < count:
        ends = builder.constant("head/one_more", [0, 0, 0, 1], np.int64)
        absent = builder.constant("head/absent", ABSENT_LOGIT, np.float32)
        padded = builder.add("Pad", [logits, ends, absent], "head/padded")
        places = np.full(count, present)
        places[head.present_] = np.arange(present)
        chosen = builder.constant("head/places", places, np.int64)
        logits = builder.add("Gather", [padded, chosen], "head/all_logits", axis=1)
    builder.add("Softmax", [logits], probabilities, axis=1)


def _rest_logits(builder: GraphBuilder, head: Machine, decisions: str) -> str:
    """Write t log sigmoid(a z + b) = -t softplus(-a z - b)."""
    a, b, t = (float(slope) for slope in head.slopes_)
    scaled = builder.add("Mul", [decisions, builder.constant("head/minus_a", -a, np.float32)], "head/scaled")
    shifted = builder.add("Sub", [scaled, builder.constant("head/b", b, np.float32)], "head/shifted")
    soft = builder.add("Softplus", [shifted], "head/softplus")
    return builder.add("Mul", [soft, builder.constant("head/minus_t", -t, np.float32)], "head/logits")


def _pair_logits(builder: GraphBuilder, head: Machine, decisions: str) -> str:
    """Write u * -log sum_j exp(-S d_kj) + v * sum_j sigmoid(S d_kj); the sums are products with who is first."""
    u, v = (float(slope) for slope in head.slopes_)
    classes = len(head.present_)
    first, second = pairs(classes)
    sides = []
    for name, members in (("first", first), ("second", second)):
        member = builder.constant(f"head/{name}_bits", np.eye(classes)[members], np.uint8)
        sides.append(builder.add("Cast", [member], f"head/{name}", to=TensorProto.FLOAT))
    low, high = (
        builder.constant(f"head/{name}", value, np.float32) for name, value in (("low", -LARGEST), ("high", LARGEST))
    )
    clipped = builder.add("Clip", [decisions, low, high], "head/clipped")
    scaled = builder.add("Mul", [clipped, builder.constant("head/sharpness", SHARPNESS, np.float32)], "head/sharp")
    down = builder.add("Exp", [builder.add("Neg", [scaled], "head/minus")], "head/odds_first")
    up = builder.add("Exp", [scaled], "head/odds_second")
    terms = [builder.add("MatMul", [part, side], f"{part}/sum") for part, side in zip((down, up), sides, strict=True)]
    against = builder.add("Log", [builder.add("Add", terms, "head/odds")], "head/against")
    coupling = builder.add("Mul", [against, builder.constant("head/minus_u", -u, np.float32)], "head/coupling")
    # The second class of a pair has 1 - sigmoid: its 1 is a constant.
    difference = builder.add("Sub", sides, "head/sides")
    share = builder.add("MatMul", [builder.add("Sigmoid", [scaled], "head/share"), difference], "head/shares")
    votes = builder.add("Mul", [share, builder.constant("head/v", v, np.float32)], "head/votes")
    ones = builder.constant("head/ones", v * np.bincount(second, minlength=classes), np.float32)
    return builder.add("Add", [coupling, builder.add("Add", [votes, ones], "head/all_votes")], "head/logits")
