"""A served tiny dense model and a folder of images of several kinds and sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tiny_dense
from PIL import Image

from drillcore.runtime.model.served import ServedModel, put_blob, resolve, write_pointer
from drillcore.settings import Settings

__all__ = ["grey", "serve_dense", "tiny_dense", "write_scenes"]


def serve_dense(settings: Settings, task: str = "dense_labels", version: int = 1, **changes: object) -> ServedModel:
    """Bring a tiny dense model as if it had been fetched."""
    source = tiny_dense.write_tiny_dense(settings.state / f"dense-{version}.onnx", task, **changes)
    sha256 = put_blob(settings, source)
    write_pointer(settings, "tiny-dense", version, sha256)
    return resolve(settings, "tiny-dense")


def write_scenes(folder: Path, count: int, seed: int = 0, bad: tuple[int, ...] = ()) -> list[Path]:
    """Write grey PNGs: every third as large as the last, some 1 pixel wide; those of `bad` are cut off."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    paths, size = [], (20, 30)
    for number in range(count):
        if number % 3:
            size = (int(generator.integers(1, 70)), int(generator.integers(1, 90)))
        if number % 10 == 4:
            size = (size[0], 1)
        path = folder / f"{number:05d}.png"
        Image.fromarray(generator.integers(0, 256, size, np.uint8)).save(path, compress_level=0)
        if number in bad:
            path.write_bytes(path.read_bytes()[:-60])
        paths.append(path)
    return paths


def grey(path: Path) -> np.ndarray:
    """Return a grey image, [H, W, 1]."""
    return np.asarray(Image.open(path))[:, :, None]
