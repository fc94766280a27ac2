"""Features of a backbone shown in pixels: their activations in an image, and their units projected back (DeConvNet)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drillcore.analysis.explanation import Planes, Response
from drillcore.analysis.trained_parts import TrainedParts
from drillcore.arrays import Array, Doubles, Ints
from drillcore.backbones.deconvolution import project
from drillcore.errors import BadImageError
from drillcore.runtime.images.decode import decode_file
from drillcore.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from drillcore.backbones.base import Backbone

TOP_IMAGES = 9  # of a feature, as in Zeiler and Fergus's figure 2


def activations(parts: TrainedParts, pixels: NDArray[np.uint8]) -> tuple[Doubles, Tensor, Doubles]:
    """Return the image's row, as the head gets it; its prepared planes; its activations in the image as it lies."""
    x = torch.from_numpy(np.ascontiguousarray(parts.backbone.prepare(pixels)))
    taps = parts.recipe.backbone.taps
    row = parts.backbone.rows(x[None].to(parts.backbone.device), taps)[0].cpu().numpy()
    lying = parts.backbone.forward_taps(x[None].to(parts.backbone.device), taps)
    active = np.concatenate([lying[tap].flatten().cpu().numpy() for tap in taps])
    return np.asarray(row, np.float64), x, np.asarray(active, np.float64)


def places(parts: TrainedParts, x: Tensor) -> Callable[[int], tuple[str, int, str]]:
    """Return a function from the number of a feature to its tap, its number there, and words for it.

    Args:
        parts: of the version.
        x: a prepared image [C, h, w]; the shapes of the taps are those it gives.
    """
    taps = parts.recipe.backbone.taps
    found = parts.backbone.forward_taps(x[None].to(parts.backbone.device), taps)
    shapes = [tuple(found[tap].shape[1:]) for tap in taps]
    starts = np.concatenate([[0], np.cumsum([int(np.prod(shape)) for shape in shapes])])

    def place(feature: int) -> tuple[str, int, str]:
        index = int(np.searchsorted(starts, feature, side="right")) - 1
        unit = feature - int(starts[index])
        where = np.unravel_index(unit, shapes[index])
        words = f"channel {where[0]}" if len(where) == 3 else f"unit {unit}"
        if len(where) == 3 and shapes[index][1] * shapes[index][2] > 1:
            words += f", row {where[1]}, column {where[2]} of {shapes[index][1]} x {shapes[index][2]}"
        return taps[index], unit, words

    return place


def top_responses(
    settings: Settings, parts: TrainedParts, rows: pd.DataFrame, scores: Array, tap: str, unit: int
) -> list[Response]:
    """Return the responses of the training images with the highest activations; unreadable ones are passed over.

    Args:
        settings: limits of decoding.
        parts: of the version.
        rows: of the training images, N.
        scores: of the unit in each of them, [N].
        tap: of the unit.
        unit: its number in the tap.
    """
    order: Ints = np.argsort(-scores.astype(np.float64), kind="stable")
    prepared: list[Tensor] = []
    kept: list[int] = []
    for place in order.tolist():
        if len(kept) == TOP_IMAGES or not scores[place] > 0:
            break
        path = parts.manifest.path_of(rows["path"][place])
        try:
            image = decode_file(path, parts.backbone.channels, **settings.decoding(parts.backbone.value_range))
        except BadImageError:
            continue
        prepared.append(torch.from_numpy(np.ascontiguousarray(parts.backbone.prepare(image))))
        kept.append(place)
    if not kept:
        return []
    chosen = rows.iloc[kept]
    paths, labels = list(chosen["path"]), list(chosen["label"])
    return responses(parts.backbone, torch.stack(prepared), tap, [unit] * len(kept), paths, labels)


def responses(
    backbone: Backbone, x: Tensor, tap: str, units: Sequence[int], paths: Sequence[str], labels: Sequence[str]
) -> list[Response]:
    """Project one unit of a tap for each prepared image [N, C, h, w], of these paths and classes."""
    projections, values = project(backbone.module, x.to(backbone.device), tap, units)
    pictures = projections[:, : backbone.channels].cpu().numpy()
    return [
        Response(
            path=path,
            label=label,
            activation=float(values[number]),
            seen=_seen(backbone, x[number].cpu().numpy()),
            projection=pictures[number],
        )
        for number, (path, label) in enumerate(zip(paths, labels, strict=True))
    ]


def _seen(backbone: Backbone, planes: Planes) -> NDArray[np.uint8]:
    """Return prepared planes as the image they show, uint8 [h, w, C]."""
    rule, channels = backbone.preprocessing, backbone.channels
    scale, offset = (np.asarray(values, np.float32)[:, None, None] for values in (rule["scale"], rule["offset"]))
    levels = (planes[:channels] - offset) / scale
    found: NDArray[np.uint8] = np.clip(np.rint(levels), 0, 255).astype(np.uint8).transpose(1, 2, 0)
    return found
