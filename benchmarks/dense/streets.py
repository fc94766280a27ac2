"""What the benchmark `dense` answers about: street scenes, and a head trained on them in a minute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from drillcore.backbones.base import Backbone
from drillcore.backbones.catalogue import build_backbone
from drillcore.backbones.weights.tensors import load_weights_file
from drillcore.datasets.archives import extract_zip
from drillcore.datasets.layouts.camvid import VOID, CamvidLayout
from drillcore.datasets.synthetic import write_sample
from drillcore.datasets.targets import read_labels
from drillcore.digests import sha256_bytes
from drillcore.heads.dbn.dbn import DbnHead
from drillcore.representations.core_samples.core import CoreNetwork
from drillcore.runtime.images.decode import decode_file
from drillcore.settings import Settings

REAL = Path("shared/data/camvid_train_val.zip")  # beside the checkout
WEIGHTS = Path("shared/weights/squeezenet1_0.safetensors")
CLASSES = list(CamvidLayout.classes)
SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Street:
    """One labelled image: uint8 [H, W, 3] and labels uint8 [H, W], VOID among them."""

    name: str
    split: str
    image: npt.NDArray[np.uint8]
    label: npt.NDArray[np.uint8]


def load_streets(settings: Settings, folder: Path, *, real: bool, most: int) -> tuple[list[Street], bool]:
    """Return at most so many images of each of train and val, evenly chosen, and whether they are the real ones.

    Args:
        settings: beside whose checkout the real data is looked for.
        folder: an empty one, for the files.
        real: whether to look for the real data.
        most: images of a split.
    """
    source = settings.root.parent / REAL
    found_real = real and source.is_file()
    if found_real:
        extract_zip(source, folder)
    else:
        write_sample("camvid", folder)
    layout = CamvidLayout()
    items = [item for item in layout.items(folder) if item.target is not None]
    chosen = []
    for split in ("train", "val"):
        own = [item for item in items if item.split == split]
        places = np.unique(np.linspace(0, len(own) - 1, min(most, len(own))).astype(int)) if own else []
        chosen += [own[place] for place in places]
    return [
        Street(
            name=item.path,
            split=str(item.split),
            image=decode_file(item.source, 3, max_pixels=settings.max_pixels),
            label=read_labels(layout, item.target, settings),
        )
        for item in chosen
        if item.target is not None
    ], found_real


def squeezenet(settings: Settings) -> tuple[Backbone, str]:
    """Return SqueezeNet with ImageNet's weights where they stand beside the checkout, else random, and which."""
    path = settings.root.parent / WEIGHTS
    backbone = build_backbone("squeezenet1_0", f"seed:{SEED}", settings, any_size=True)
    if not path.is_file():
        return backbone, "random"
    return load_weights_file(backbone, path, sha256_bytes(path.read_bytes())), "ImageNet"


def train_head(
    core: CoreNetwork, streets: Sequence[Street], *, pixels: int, hidden: tuple[int, ...], epochs: int
) -> DbnHead:
    """Fit a head on random pixels of each image, as the recipe of `camvid` does in little."""
    rng = np.random.default_rng(SEED)
    rows, labels = [], []
    for street in streets:
        known = np.flatnonzero(street.label.ravel() != VOID)
        places = np.sort(rng.choice(known, min(pixels, len(known)), replace=False))
        ys, xs = np.divmod(places, street.label.shape[1])
        with torch.no_grad():
            maps = core(torch.from_numpy(street.image).permute(2, 0, 1)[None].float())
            rows.append(core.sample(maps, street.label.shape, ys, xs).numpy().astype(np.float16))
        labels.append(street.label[ys, xs].astype(np.int64))
    head = DbnHead(
        hidden=hidden, epochs=epochs, class_weight="sqrt_median_frequency", seed=SEED, n_classes=len(CLASSES)
    )
    return head.fit(np.concatenate(rows), np.concatenate(labels))
