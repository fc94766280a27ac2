from __future__ import annotations

import json
import math

import numpy as np
import pytest

from drillcore.errors import InputError
from drillcore.evaluation.figures.regression_metrics import ImageErrors, mean_answer_error, regression_figures

OUTPUTS = ["red", "green"]


def test_by_hand() -> None:
    errors = ImageErrors(OUTPUTS)
    truth = np.array([[[0.0, 10.0]], [[4.0, 4.0]]])
    assert errors.add(truth, truth + np.array([[[1.0]], [[-2.0]]])).tolist() == [[2, 2, 10, 100], [2, 8, 8, 32]]
    figures = regression_figures(errors.sums, OUTPUTS, peak=255)
    assert figures["mean_squared_error"] == 2.5
    assert figures["psnr"] == pytest.approx(10 * math.log10(255**2 / 2.5))
    # red varies by 5 around its mean, green not at all
    assert figures["mean_answer_mean_squared_error"] == 12.5
    assert figures["per_output"]["red"]["mean_squared_error"] == 1
    assert figures["per_output"]["green"]["mean_answer_mean_squared_error"] == 0


def test_no_constant_does_better_than_the_mean() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(50, 20, (2, 9, 7))
    errors = ImageErrors(OUTPUTS)
    errors.add(truth, np.broadcast_to(truth.mean(axis=(1, 2), keepdims=True), truth.shape))
    total = errors.sums.sum(axis=0)
    assert mean_answer_error(total) == pytest.approx(total[:, 1].sum() / total[:, 0].sum())


def test_images_of_several_sizes_weigh_by_their_pixels_and_no_error_has_no_ratio() -> None:
    errors = ImageErrors(["v"])
    errors.add(np.zeros((1, 1, 1)), np.full((1, 1, 1), 2.0))
    errors.add(np.zeros((1, 1, 3)), np.zeros((1, 1, 3)))
    assert regression_figures(errors.sums, ["v"], peak=1)["mean_squared_error"] == 1.0
    perfect = ImageErrors(["v"])
    perfect.add(np.ones((1, 2, 2)), np.ones((1, 2, 2)))
    figures = regression_figures(perfect.sums, ["v"], peak=1)
    assert figures["psnr"] is None
    json.dumps(figures, allow_nan=False)


def test_unknown_values_are_not_judged_and_wrong_ones_are_refused() -> None:
    errors = ImageErrors(["v"])
    assert errors.add(np.array([[[np.nan, 1.0]]]), np.array([[[5.0, 1.0]]])).tolist() == [[1, 0, 1, 1]]
    with pytest.raises(InputError, match="must be finite"):
        errors.add(np.ones((1, 1, 1)), np.full((1, 1, 1), np.nan))
    with pytest.raises(InputError, match=r"\[1,H,W\]"):
        errors.add(np.ones((2, 1, 1)), np.ones((2, 1, 1)))
    with pytest.raises(InputError, match="no known value"):
        regression_figures(np.zeros((0, 1, 4)), ["v"], peak=1)
    with pytest.raises(InputError, match=r"\[M,2,4\]"):
        regression_figures(errors.sums, OUTPUTS, peak=1)
