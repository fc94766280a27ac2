"""The last layer's values at every pixel to the answers' values, as ONNX nodes (`representations.answers`)."""

from __future__ import annotations

import numpy as np

from drillcore.export.scope import Scope
from drillcore.representations.core_samples.pixel_answers import Answers


def write_answers(scope: Scope, values: str, answers: Answers) -> str:
    """Write limit, mean and bias.

    Args:
        scope: for the nodes.
        values: name of the last layer's, float32 [N, H, W, K].
        answers: how.

    Returns:
        the name of the answers' values, float32 [N, H, W, K].
    """
    if answers.limit is not None:
        largest = scope.op("ReduceMax", values, scope.whole(3), keepdims=1)
        below = scope.op("Sub", values, largest)
        values = scope.op("Max", below, scope.array([-answers.limit], np.float32))
    if answers.window > 1:
        # Pixels beside the image do not count: the mean is over those there are.
        values = scope.op("Transpose", values, perm=[0, 3, 1, 2])
        window = {"kernel_shape": [answers.window] * 2, "pads": [answers.reach] * 4, "count_include_pad": 0}
        values = scope.op("AveragePool", values, **window)
        values = scope.op("Transpose", values, perm=[0, 2, 3, 1])
    if answers.bias:
        values = scope.op("Add", values, scope.array(answers.bias, np.float32))
    return values


def write_windows(scope: Scope, near: str, answers: Answers) -> str:
    """Return which pixels the answers of given pixels depend on, float32 [N, 1, H, W] of 0 and 1, as `near` is."""
    if answers.window == 1:
        return near
    return scope.op("MaxPool", near, kernel_shape=[answers.window] * 2, pads=[answers.reach] * 4)
