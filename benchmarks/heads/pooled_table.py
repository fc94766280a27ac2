"""The table that `bench heads` learns from: activations of plankton images, each tap pooled to its mean and maximum."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.plankton_paper.data import FIT, PaperImages, open_images
from drillcore.backbones.base import Backbone
from drillcore.backbones.catalogue import build_backbone
from drillcore.digests import sha256_json
from drillcore.files import write_bytes
from drillcore.settings import Settings

REAL = Path("shared/data/plankton_train.zip")  # beside the checkout
WEIGHTS = Path("shared/weights/squeezenet1_0.safetensors")
TAPS = ("fire5", "fire8", "fire9")
SIDE, QUICK_SIDE = 112, 40
SEED = 0
_BATCH = 64


@dataclass(frozen=True)
class PooledTable:
    """Rows to learn from and to test on.

    Attributes:
        name: what it is, for the report.
        rows: float16 [N, D].
        labels: class indices int64 [N].
        test_rows: float16 [M, D].
        test_labels: int64 [M].
        classes: K.
    """

    name: str
    rows: npt.NDArray[np.float16]
    labels: npt.NDArray[np.int64]
    test_rows: npt.NDArray[np.float16]
    test_labels: npt.NDArray[np.int64]
    classes: int


def pooled_table(settings: Settings, *, quick: bool) -> PooledTable:
    """Return the table of the real images where they stand beside the checkout, else of the bundled sample.

    Both parts of the paper's split that second stages learn from (section II.B.1) are the rows to learn. A table that
    was made before is read again.
    """
    source = settings.root.parent / REAL
    home = settings.state / "bench" / "heads"
    images = open_images(settings, home, None if quick or not source.is_file() else source)
    weights = settings.root.parent / WEIGHTS
    pretrained = weights.is_file() and not quick
    side = QUICK_SIDE if quick else SIDE
    kept = home / f"{_key(images, pretrained, side)}.safetensors"
    rows = _read(kept)
    if rows is None:
        rows = _pooled(settings, images, weights if pretrained else None, side)
        _write(kept, rows)
    learn, test = images.numbers(*FIT), images.numbers("test")
    network = "SqueezeNet with ImageNet's weights" if pretrained else "SqueezeNet with random weights"
    name = f"{images.source}: mean and maximum of {', '.join(TAPS)} of {network} at {side}x{side}, and the image's size"
    return PooledTable(name, rows[learn], images.labels[learn], rows[test], images.labels[test], len(images.classes))


def _pooled(settings: Settings, images: PaperImages, weights: Path | None, side: int) -> npt.NDArray[np.float16]:
    import torch

    backbone = _squeezenet(settings, weights, side)
    load, sizes, parts = images.load(backbone.channels), [], []
    before = torch.get_num_threads()
    torch.set_num_threads(settings.cpu_threads)
    try:
        with torch.inference_mode():
            for first in range(0, len(images.labels), _BATCH):
                own = [load(number) for number in range(first, min(first + _BATCH, len(images.labels)))]
                sizes += [np.log(image.shape[:2]) for image in own]
                batch = torch.from_numpy(np.stack([backbone.prepare(image) for image in own]))
                found = backbone.module.forward_taps(batch, TAPS)
                pooled = [part for tap in TAPS for part in (found[tap].mean((2, 3)), found[tap].amax((2, 3)))]
                parts.append(torch.cat(pooled, dim=1).numpy().astype(np.float16))
    finally:
        torch.set_num_threads(before)
    return np.concatenate([np.concatenate(parts), np.array(sizes, np.float16)], axis=1)


def _squeezenet(settings: Settings, weights: Path | None, side: int) -> Backbone:
    from safetensors.torch import load_file

    backbone = build_backbone("squeezenet1_0", f"seed:{SEED}", settings, resize=[side, side])
    if weights is not None:
        given = load_file(weights)
        backbone.module.load_state_dict({name: given[name] for name in backbone.module.state_dict()})
    return backbone


def _key(images: PaperImages, pretrained: bool, side: int) -> str:
    about: list[Any] = [images.manifest.digest, images.digests, TAPS, side, SEED, pretrained, 1]
    return sha256_json(about)[:24]


def _read(path: Path) -> npt.NDArray[np.float16] | None:
    from safetensors.numpy import load

    return load(path.read_bytes())["rows"] if path.is_file() else None


def _write(path: Path, rows: npt.NDArray[np.float16]) -> None:
    from safetensors.numpy import save

    write_bytes(path, save({"rows": rows}))
