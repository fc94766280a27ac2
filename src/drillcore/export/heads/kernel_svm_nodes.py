"""A kernel SVM as ONNX nodes: exp(-gamma (|x|^2 + |s|^2 - 2xs)) from one matrix product with all support vectors.

The vectors stand as the rows they were, float16 where those are; their standardised form is worked out when the file is
loaded. One-vs-one has a product for each class: a vector is part of the pairs of its own class only, and one matrix for
all pairs would be mostly zeros, K / 2 times as large.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from drillcore.export.builder import GraphBuilder
from drillcore.export.heads.svm_nodes import write_only_class, write_probabilities, write_standardised
from drillcore.heads.svm.calibration import pairs
from drillcore.heads.svm.kernel_svm import KernelSvmHead


def write_kernel_svm(builder: GraphBuilder, head: KernelSvmHead, rows: str, probabilities: str) -> None:
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
    kernel = _write_kernel(builder, head, rows)
    coefficients = builder.constant("head/coefficients", head.coefficients_, np.float32)
    if head.scheme == "one_vs_one":
        summed = _write_pairs(builder, head, kernel, coefficients)
    else:
        summed = builder.add("MatMul", [kernel, coefficients], "head/sums")
    decisions = builder.add("Add", [summed, builder.constant("head/bias", head.bias_, np.float32)], "head/decisions")
    write_probabilities(builder, head, decisions, probabilities)


def _write_kernel(builder: GraphBuilder, head: KernelSvmHead, rows: str) -> str:
    """Write the kernel values [N, M] of rows with the support vectors; returns their name."""
    values = write_standardised(builder, head, rows, "head/standardised")
    stored = builder.constant("head/vectors", head.vectors_, head.vectors_.dtype)
    wide = builder.add("Cast", [stored], "head/vectors/wide", to=TensorProto.FLOAT)
    vectors = write_standardised(builder, head, wide, "head/vectors/standardised")
    across = builder.add("Transpose", [vectors], "head/vectors/columns", perm=[1, 0])
    axis, along = (
        builder.constant(f"head/axis_{name}", [value], np.int64) for name, value in (("row", 1), ("column", 0))
    )
    own = builder.add("ReduceSumSquare", [values, axis], "head/squares", keepdims=1)
    theirs = builder.add("ReduceSumSquare", [across, along], "head/vectors/squares", keepdims=1)
    twice = builder.add(
        "Mul",
        [builder.add("MatMul", [values, across], "head/products"), builder.constant("head/two", 2, np.float32)],
        "head/twice",
    )
    less = builder.add("Sub", [builder.add("Sub", [twice, own], "head/less_own"), theirs], "head/minus_distance")
    below = builder.add("Min", [less, builder.constant("head/zero", 0, np.float32)], "head/minus_distance/clipped")
    gamma = builder.constant("head/gamma", head.gamma_, np.float32)
    return builder.add("Exp", [builder.add("Mul", [below, gamma], "head/exponent")], "head/kernel")


def _write_pairs(builder: GraphBuilder, head: KernelSvmHead, kernel: str, coefficients: str) -> str:
    """Write the sums [N, Q] of all pairs of classes; returns their name."""
    classes = len(head.present_)
    sizes = builder.constant("head/class_sizes", np.diff(head.starts_), np.int64)
    parts = []
    for name, axis in ((kernel, 1), (coefficients, 0)):
        names = [f"{name}/of/{number}" for number in range(classes)]
        split = builder.node("Split", [name, sizes], names[0])
        split.output.extend(names[1:])
        split.attribute.append(helper.make_attribute("axis", axis))
        parts.append(names)
    sums = [
        builder.add("MatMul", [left, right], f"head/sums/{number}")
        for number, (left, right) in enumerate(zip(*parts, strict=True))
    ]
    joined = builder.add("Concat", sums, "head/sums/all", axis=1)
    first, second = pairs(classes)
    sides = []
    for name, places in (("first", first * classes + second), ("second", second * classes + first)):
        chosen = builder.constant(f"head/of_{name}", places, np.int64)
        sides.append(builder.add("Gather", [joined, chosen], f"head/sums/{name}", axis=1))
    return builder.add("Add", sides, "head/pairs")
