"""Pictures of `bench binary-map`: what becomes of an image (figures 1 and 2 of paper 002), and IoU by segments (3)."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture

from benchmarks.binary_map_methods import Image, Map, egs, kmeans, nearest, parts_of
from drillcore.retrain.pictures.segment_pictures import panel_png
from drillcore.runtime.segments.pictures import coloured, colours
from drillcore.runtime.segments.regions import means
from drillcore.runtime.segments.segment_params import MergeParams, SuperpixelParams

SEGMENTS = 12  # of each picture, as near as the methods come
PICTURES_TEXT = (
    "![Figures 1 and 2](binary-map.jpg)\n\nFrom left to right: the image, its superpixels in mean colours, the 8 bits "
    "of the highest tap (a colour for each code), one person's segments, EGS, k-means, ours; the three last with about "
    f"{SEGMENTS} segments. Above BSDS500, below MSRC."
)


def pictures(images: Sequence[Image], bits: tuple[int, ...], merge: MergeParams, base: SuperpixelParams) -> bytes:
    """Return a JPEG with a row for each image."""
    rows = []
    for image in images:
        parts = parts_of(image, bits, merge, base)
        ours = parts.segments(parts.hierarchy().cut_to(SEGMENTS))
        rivals = [nearest(list(one), SEGMENTS) for one in (egs(image), kmeans(image, parts))]
        drawn = [coloured(one) for one in (*rivals, ours)]
        painted = means(parts.map, image.pixels.transpose(2, 0, 1))[parts.map].round().astype(np.uint8)
        row = [image.pixels, painted, colours(256)[image.literal[0]], coloured(_known(image)), *drawn]
        rows.append([_small(one) for one in row])
    stream = io.BytesIO()
    Picture.open(io.BytesIO(panel_png(rows))).convert("RGB").save(stream, "JPEG", quality=82)
    return stream.getvalue()


def draw_curve(path: Path, sets: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]) -> None:
    """Draw IoU by number of segments for each set: by method, (segments, share) each."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(sets), 4), layout="constrained")
    panels: Any = figure.subplots(1, len(sets), squeeze=False)[0]
    for panel, (name, lines) in zip(panels, sets.items(), strict=True):
        for method, points in lines.items():
            counts, shares = zip(*sorted(points), strict=True)
            panel.plot(counts, [100 * share for share in shares], marker="o", markersize=3, label=method)
        panel.set(xscale="log", xlabel="segments an image", ylabel="literal IoU, percent", title=name)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _known(image: Image) -> Map:
    """Return one person's segments; what is not known is a segment of its own."""
    return np.asarray(image.people[0] + 1, np.int32)


def _small(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    picture = Picture.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((200, 200), Picture.Resampling.BOX)
    return np.asarray(picture)
