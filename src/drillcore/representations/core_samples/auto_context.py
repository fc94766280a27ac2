"""Auto-context: a second stage that sees what a first one answered around each pixel (Tu and Bai 2010, section 2).

Paper 000 answers each pixel alone. Here the head of a core is the first of two:

1. The first stage's probabilities are worked out at every fourth pixel of each axis: on a grid whose first cell has its
   centre at pixel 1.5, of side / 4 cells rounded up. There a core is read as at any pixel, outside of the image as at
   its edge.
2. On the same grid stand means of them over windows of cells, and the means of cells at some distance in 8 directions.
   Beyond the map its edge is repeated. Together they are one plane more of the core, its last one.
3. The second stage is a head on the samples of the core with that plane. It is exported as every head is, in mode exact
   at every pixel; the first stage is a part of the graph.

In training the plane of an image is made by a first stage that has not learnt from it (`retrain.first_stage`), in the
file by one that has learnt from all images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from drillcore.heads.dbn.perceptron import forward
from drillcore.representations.core_samples.context_spec import STEP, ContextSpec
from drillcore.representations.core_samples.core import CoreNetwork, blur, read_bilinear
from drillcore.representations.core_samples.planes import Grid, Plane

GRID = Grid(stride=float(STEP), origin=(STEP - 1) / 2)
PLANE = "first:context"  # the part before the colon tells its cells from those of taps on the same grid
_ROWS = 4096  # core samples at a time: 80 MB at 5,000 features


@dataclass(frozen=True, kw_only=True)
class AutoContext:
    """The first stage of two, as the second one sees it.

    Attributes:
        spec: what it sees.
        head: the first stage, fitted on samples of the core, with `mean_, scale_, layers_, activation`.
    """

    spec: ContextSpec
    head: Any

    @property
    def plane(self) -> Plane:
        """The plane that joins those of the core."""
        return Plane(name=PLANE, width=self.spec.width(len(self.head.layers_[-1][1])), grid=GRID)

    def map_of(self, core: CoreNetwork, maps: Sequence[Tensor], side: Sequence[int]) -> Tensor:
        """Return the plane's map of one image in float32, [1, width, h, w], channels last.

        Args:
            core: frozen.
            maps: of that image alone, as the core gives them.
            side: height and width of the image in pixels.
        """
        ys, xs = (cell_centres(int(length)) for length in side)
        values = last_layer(self.head, maps[0].device)
        places = np.stack(np.meshgrid(ys, xs, indexing="ij")).reshape(2, -1)
        parts = [
            values(core.read(maps, side, *places[:, first : first + _ROWS])).softmax(dim=1)
            for first in range(0, places.shape[1], _ROWS)
        ]
        probabilities = torch.cat(parts).T.reshape(1, -1, len(ys), len(xs))
        return context_maps(self.spec, probabilities).contiguous(memory_format=torch.channels_last)


def context_maps(spec: ContextSpec, probabilities: Tensor) -> Tensor:
    """Return the plane's map of probabilities float32 [N, K, h, w] on the grid, float32 [N, width, h, w].

    Windows come first, in their order, then the distances, each in the order of `DIRECTIONS`; within each of these come
    the K classes.
    """
    rows, columns = (torch.arange(int(side)) for side in probabilities.shape[2:])
    means = {window: blur(probabilities, window) for window in spec.cells}
    parts = [means[window] for window in spec.cells]
    for down, across, window in spec.shifts():
        above = (rows + down).clamp(0, len(rows) - 1)
        beside = (columns + across).clamp(0, len(columns) - 1)
        parts.append(means[window][:, :, above][:, :, :, beside])
    return torch.cat(parts, dim=1)


def cell_centres(side: int) -> npt.NDArray[np.float64]:
    """Return the pixel indices of the cells' centres along an axis of `side` pixels; the last may lie outside."""
    return GRID.origin + STEP * np.arange(-(-side // STEP), dtype=np.float64)


def read_plane(values: Tensor, side: Sequence[int], ys: Any, xs: Any) -> Tensor:
    """Return a map float32 [1, width, h, w] of the grid read at pixels of an image of that side, float32 [P, width]."""
    result = torch.empty((len(ys), int(values.shape[1])), dtype=torch.float32, device=values.device)
    read_bilinear(GRID, values[0], side, ys, xs, result)
    return result


def last_layer(head: Any, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return what makes a fitted head's last values float32 [P, K] of samples float32 [P, D], in float32."""

    def tensor(values: Any) -> Tensor:
        return torch.as_tensor(np.asarray(values), dtype=torch.float32, device=device)

    mean, scale = tensor(head.mean_), tensor(head.scale_)
    layers = [(tensor(weight), tensor(bias)) for weight, bias in head.layers_]
    return lambda rows: forward((rows - mean) / scale, layers, head.activation)
