"""Pictures of three kinds of shells and a small recipe for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

RECIPE = """\
schema: 1
name: shells-forest
task: classification
dataset: {name: shells}
backbone:
  name: cnn1
  weights: seed:3
  taps: [layer3]
  train: {epochs: 3, patience: 0}
  refresh: never
head:
  name: forest
  params: {n_estimators: 10}
seeds: {train: 3, bootstrap: 3}
gate: {metric: accuracy, confidence: 0.9, max_class_drop: 1.0, max_ms: 1000}
"""


def draw_shell(kind: str, number: int) -> Image.Image:
    """A grey picture of its own size: dots, bars or rings on white, with noise."""
    rng = np.random.default_rng([["bar", "dot", "ring"].index(kind), number])
    height, width = (int(side) for side in rng.integers(24, 60, 2))
    y, x = np.mgrid[:height, :width]
    radius = np.hypot((y - height / 2) / height, (x - width / 2) / width)
    mask = {"bar": np.abs(y - height / 2) < 3, "dot": radius < 0.22, "ring": np.abs(radius - 0.36) < 0.06}[kind]
    # A slope of light, different in each: no two pictures are near duplicates.
    down, right = rng.uniform(-60, 60, 2)
    light = down * (y / height - 0.5) + right * (x / width - 0.5)
    pixels = np.where(mask, 40, 200) + light + rng.integers(-15, 16, (height, width))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write_shells(folder: Path, count: int, first: int = 0) -> Path:
    """Write `count` pictures of each kind to <folder>/<kind>/."""
    for kind in ("bar", "dot", "ring"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            draw_shell(kind, number).save(folder / kind / f"{number:03d}.png")
    return folder
