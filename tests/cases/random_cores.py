"""Parts of dense models with random weights, for tests of their export."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from drillcore.export.dense.assembly import dense_input_contract, tile_geometry
from drillcore.representations.core_samples.core import CoreNetwork
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.runtime.model.session import Model, open_model

ODD = ((1, 1), (1, 37), (53, 1), (7, 5), (48, 61))


def head_of(core: CoreNetwork, hidden: tuple[int, ...] = (32, 16), outputs: int = 5, activation: str = "relu") -> Any:
    """Return a head with random weights on features that are standardised, so that its labels vary over an image."""
    rng = np.random.default_rng(0)
    widths = [core.width, *hidden, outputs]
    image = image_of(48, 48, core.channels)
    ys, xs = np.divmod(np.arange(0, 48 * 48, 5), 48)
    maps = core(torch.from_numpy(image).permute(2, 0, 1)[None].float())
    rows = core.sample(maps, (48, 48), ys, xs).numpy()
    return SimpleNamespace(
        mean_=rows.mean(axis=0),
        scale_=np.maximum(rows.std(axis=0), 1e-2),
        layers_=[
            ((rng.standard_normal((a, b)) * np.sqrt(2 / a)).astype(np.float32), rng.standard_normal(b, np.float32) / 9)
            for a, b in itertools.pairwise(widths)
        ],
        activation=activation,
    )


def metadata_of(core: CoreNetwork, mode: str, task: str = "dense_labels", tile: int | None = None) -> ModelMetadata:
    geometry = tile_geometry(core, mode) if tile else None
    return ModelMetadata(
        task=task,
        model="pixels",
        classes=[f"class {number}" for number in range(5)] if task == "dense_labels" else [],
        input=dense_input_contract(core),
        data_digest="0",
        lineage="sample",
        git="0",
        dirty=False,
        recipe_sha256="0",
        weights_sha256=core.backbone.weights_sha256,
        seeds={},
        min_size=[1, 1],
        tile=tile,
        halo=geometry[0] if geometry else None,
        align=geometry[1] if geometry else None,
    )


def image_of(height: int, width: int, channels: int = 3) -> npt.NDArray[np.uint8]:
    """Return an image with structure at every scale, so that labels change from place to place."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 200, (height // 16 + 1, width // 16 + 1, channels)).repeat(16, 0).repeat(16, 1)
    return (coarse[:height, :width] + rng.integers(0, 56, (height, width, channels))).astype(np.uint8)


def opened(data: bytes, folder: Path) -> Model:
    path = folder / "model.onnx"
    path.write_bytes(data)
    return open_model(path, threads=1)
