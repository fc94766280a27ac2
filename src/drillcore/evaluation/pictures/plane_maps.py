"""The maps a hypercolumn passes through (figure 3 of the core sampling paper, 000_c10470ee293d3599), as PNG bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from drillcore.errors import InputError
from drillcore.evaluation.pictures.dense_pictures import Pixels, _plain, _show
from drillcore.evaluation.pictures.plots import _figure, _png

_TILE, _GAP = 1.55, 0.06  # inches


def plane_maps_png(
    image: Pixels,
    planes: Sequence[tuple[str, NDArray[np.floating]]],
    *,
    maps: int = 6,
    title: str = "",
    pixel: tuple[int, int] | None = None,
) -> bytes:
    """Draw the strongest maps of each plane, brought to the image's size, one row per plane.

    Strongest: the largest standard deviation within the plane; a constant map says nothing about a pixel. Each map is
    stretched from its 1st to its 99th percentile.

    Args:
        image: uint8 [H,W,C], shown beside the maps.
        planes: name and activations [C,h,w] of each, from the image upwards.
        maps: shown of a plane at most.
        title: of the picture.
        pixel: row and column of the hypercolumn that is marked; None: none.

    Raises:
        InputError: no plane, or activations of another shape.
    """
    if not planes:
        raise InputError("there is no plane to draw")
    for name, found in planes:
        if found.ndim != 3 or not found.size:
            raise InputError(f"plane {name!r}: activations [C,h,w] are expected; got {list(found.shape)}")
    tall = _TILE * min(image.shape[0] / image.shape[1], 2)
    label = 1.0
    width = label + (maps + 1) * (_TILE + _GAP) + 0.25
    height = 0.55 + len(planes) * (tall + 0.2)
    figure = _figure(width, height)
    figure.set_layout_engine("none")
    figure.text(_GAP / width, 1 - 0.1 / height, _plain(title or "Strongest maps of each plane"), fontsize=12, va="top")
    for row, (name, found) in enumerate(planes):
        top = height - 0.45 - row * (tall + 0.2)
        size = f"{found.shape[0]:,} map{'s' if len(found) > 1 else ''}\n{found.shape[1]} x {found.shape[2]}"
        figure.text(_GAP / width, (top - tall / 2) / height, f"{_plain(name)}\n{size}", fontsize=8, va="center")
        shown = strongest(found, maps)
        for column in range(-1 if row == 0 else 0, len(shown)):
            left = label + (column + 1) * (_TILE + _GAP) + (0.15 if column >= 0 else 0)
            axes = figure.add_axes((left / width, (top - tall) / height, _TILE / width, tall / height))
            axes.set_xticks([])
            axes.set_yticks([])
            if column < 0:
                _show(axes, image)
            else:
                axes.imshow(
                    _stretched(found[shown[column]]),
                    cmap="viridis",
                    vmin=0,
                    vmax=1,
                    extent=(-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5),
                    interpolation="bilinear",
                    aspect="auto",
                )
                axes.set_xlabel(f"map {shown[column]}", fontsize=6, labelpad=1)
            if pixel is not None:
                axes.plot(pixel[1], pixel[0], "+", color="#ff3355", ms=9, mew=1.6)
            axes.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
    return _png(figure)


def strongest(found: NDArray[np.floating], count: int) -> list[int]:
    """Return the maps [C,h,w] of the largest standard deviation, strongest first; those that vary not at all last."""
    spread = found.reshape(len(found), -1).astype(np.float64).std(axis=1)
    return [int(index) for index in np.argsort(-spread, kind="stable")[:count]]


def _stretched(values: NDArray[np.floating]) -> NDArray[np.float64]:
    low, high = np.percentile(values, [1, 99])
    return np.asarray(np.clip((values.astype(np.float64) - low) / max(float(high - low), 1e-12), 0, 1))
