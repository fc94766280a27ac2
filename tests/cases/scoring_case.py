"""A served tiny model and a folder of images with known answers, for the tests of scoring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny_models
from PIL import Image

import drillcore_serving.batch.committed
from drillcore.runtime.model.served import ServedModel, put_blob, resolve, write_pointer
from drillcore.settings import Settings


class StopHereError(Exception):
    """Ends a scoring run where a test wants it to."""


def stop_after(monkeypatch: pytest.MonkeyPatch, parts: int) -> None:
    """Let a scoring run write so many parts, then fail."""
    real, count = drillcore_serving.batch.committed.write_part, [0]

    def write(target: Path, data: bytes) -> None:
        if count[0] == parts:
            raise StopHereError
        count[0] += 1
        real(target, data)

    monkeypatch.setattr(drillcore_serving.batch.committed, "write_part", write)


def serve_tiny(settings: Settings, version: int = 1, **changes: object) -> ServedModel:
    """Bring the tiny model as if it had been fetched."""
    source = tiny_models.write_tiny_model(settings.state / f"tiny-{version}.onnx", **changes)
    sha256 = put_blob(settings, source)
    write_pointer(settings, "tiny", version, sha256)
    return resolve(settings, "tiny")


def write_images(folder: Path, count: int, seed: int = 0, bad: tuple[int, ...] = ()) -> list[Path]:
    """Write `count` grey PNGs of many sizes; those of `bad` are cut off in the middle."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        height, width = generator.integers(5, 40, 2)
        level = generator.integers(0, 256)
        pixels = np.clip(generator.normal(level, 20, (height, width)), 0, 255).astype(np.uint8)
        path = folder / f"{number:05d}.png"
        Image.fromarray(pixels).save(path, compress_level=0)
        if number in bad:
            path.write_bytes(path.read_bytes()[:-60])
        paths.append(path)
    return paths


def tree(folder: Path) -> dict[str, bytes]:
    """All files of a folder by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def rows_of(output: Path) -> list[dict[str, Any]]:
    """Return the rows of an output's parts, in order."""
    return [row for path in sorted(output.glob("part-*.parquet")) for row in pq.ParquetFile(path).read().to_pylist()]
