"""Where cells lie, the weights between them, and the averages onto parts of an image; worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from drillcore.errors import InputError
from drillcore.representations.core_samples.planes import Grid, linear_weights, pooling_weights


@pytest.mark.parametrize(
    ("grid", "side", "cells", "position", "expected"),
    [
        (Grid(stride=4, origin=1.5), 12, 3, 0, (0, 1, 0.0)),  # before the first centre: the first cell
        (Grid(stride=4, origin=1.5), 12, 3, 3, (0, 1, 0.375)),
        (Grid(stride=4, origin=1.5), 12, 3, 11, (2, 2, 0.0)),  # after the last one
        (Grid(stride=4, origin=-2), 12, 4, 0, (0, 1, 0.5)),
        (Grid(cells=2), 8, 2, 3, (0, 1, 0.375)),  # centres 1.5 and 5.5
        (Grid(cells=1), 8, 1, 7, (0, 0, 0.0)),
    ],
)
def test_linear_weights(grid: Grid, side: int, cells: int, position: int, expected: tuple[int, int, float]) -> None:
    first, second, weight = linear_weights(grid, side, cells, [position])
    assert (first[0], second[0], weight[0]) == expected
    assert weight.dtype == np.float32


def test_relative_grids_read_as_torch_resizes() -> None:
    rng = np.random.default_rng(0)
    line = rng.normal(size=5)
    first, second, weight = linear_weights(Grid(cells=5), 23, 5, np.arange(23))
    expected = functional.interpolate(torch.from_numpy(line)[None, None], size=23, mode="linear", align_corners=False)
    assert np.allclose((1 - weight) * line[first] + weight * line[second], expected[0, 0].numpy(), atol=1e-6)


def test_pooling_weights_by_hand() -> None:
    # Cells stand for pixels [-1, 3), [3, 7), [7, 11) of an image of 10: the outer ones reach to its edges.
    weights = pooling_weights(Grid(stride=4, origin=0.5), 10, 3, 2)
    assert np.allclose(weights, [[3 / 5, 2 / 5, 0], [0, 2 / 5, 3 / 5]])


@pytest.mark.parametrize("side", [1, 2, 7, 64, 481])
@pytest.mark.parametrize("grid", [Grid(stride=16, origin=7), Grid(stride=8, origin=-1), Grid(stride=32, origin=17)])
@pytest.mark.parametrize("out", [1, 3, 6])
def test_pooling_weights_sum_to_one(side: int, grid: Grid, out: int) -> None:
    cells = max(1, side // int(grid.stride))
    weights = pooling_weights(grid, side, cells, out)
    assert weights.shape == (out, cells)
    assert np.allclose(weights.sum(axis=1), 1.0, atol=1e-6)
    assert (weights >= 0).all()


def test_pooling_of_a_fitting_map_is_the_mean() -> None:
    weights = pooling_weights(Grid(stride=4, origin=1.5), 24, 6, 3)
    assert np.allclose(weights, np.kron(np.eye(3), [[0.5, 0.5]]))


def test_a_grid_is_absolute_or_relative() -> None:
    for bad in ({}, {"stride": 2.0, "cells": 3}):
        with pytest.raises(InputError, match="stride"):
            Grid(**bad)  # type: ignore[arg-type]
