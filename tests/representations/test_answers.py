"""Answers: limited values, means over windows within the image, a bias by class."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from drillcore.errors import InputError
from drillcore.representations.core_samples.pixel_answers import Answers


def by_hand(values: npt.NDArray[np.float32], window: int, limit: float | None, bias: tuple[float, ...]) -> Any:
    height, width, _ = values.shape
    if limit is not None:
        values = np.maximum(values - values.max(axis=2, keepdims=True), -limit)
    half, result = window // 2, np.empty_like(values)
    for y in range(height):
        for x in range(width):
            around = values[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1]
            result[y, x] = around.mean(axis=(0, 1))
    return result + np.array(bias or [0.0] * values.shape[2], np.float32)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (4, 3), (12, 17)])
@pytest.mark.parametrize(("window", "limit", "bias"), [(5, 4.0, (0.0, -0.5, 1.0)), (3, None, ()), (1, 2.0, ())])
def test_answers_are_those_counted_by_hand(
    size: tuple[int, int], window: int, limit: float | None, bias: tuple[float, ...]
) -> None:
    values = (np.random.default_rng(0).standard_normal((*size, 3)) * 5).astype(np.float32)
    found = Answers(window=window, limit=limit, bias=bias).of(values)
    np.testing.assert_allclose(found, by_hand(values, window, limit, bias), atol=1e-5)


def test_of_two_classes_the_difference_is_cut_on_both_sides() -> None:
    values = np.array([[[0.0, 12.0], [0.0, -12.0], [3.0, 4.0]]], np.float32)
    found = Answers(limit=9).of(values)
    np.testing.assert_allclose(found[..., 1] - found[..., 0], [[9, -9, 1]])


def test_the_default_changes_nothing() -> None:
    values = np.random.default_rng(0).standard_normal((4, 5, 2)).astype(np.float32)
    assert Answers().plain
    assert Answers().of(values) is values
    assert Answers.from_dict(Answers(window=5, limit=9, bias=(0, 1)).to_dict()) == Answers(
        window=5, limit=9, bias=(0, 1)
    )


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"window": 4}, "window is 4; an odd number of pixels from 1 to 101"),
        ({"window": True}, "window is True"),
        ({"window": 103}, "window is 103"),
        ({"limit": 0}, "limit is 0; a number above 0"),
        ({"bias": 1.0}, "bias is 1.0; a list"),
        ({"bias": [0, "much"]}, "bias is"),
        ({"windows": 5}, "windows is not a parameter of answers; allowed: bias, limit, window"),
    ],
)
def test_values_that_cannot_be_meant(params: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        Answers.from_dict(params)


def test_what_does_not_fit_a_head_is_refused() -> None:
    Answers(window=5).check(3, labels=False)
    with pytest.raises(InputError, match="the values of a regression have a window only"):
        Answers(window=5, limit=9).check(3, labels=False)
    with pytest.raises(InputError, match="bias has 2 numbers, the head has 3 outputs"):
        Answers(bias=(0, 1)).check(3, labels=True)
