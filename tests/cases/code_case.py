"""A small network with random weights, and codes learnt from noise that has blobs in it."""

from __future__ import annotations

from functools import cache

import numpy as np

from drillcore.backbones.networks.squeezenet import build_squeezenet
from drillcore.representations.binary_codes.hashing import HashedTap
from drillcore.representations.binary_codes.itq import fit_itq
from drillcore.representations.core_samples.core import CoreNetwork
from drillcore.representations.core_samples.core_spec import CoreSpec

TAPS = ("conv1", "fire3")


def blobs(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-height // 16), -(-width // 16), 3))
    found = coarse.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    return np.clip(found + rng.normal(0, 8, found.shape), 0, 255).astype(np.uint8)


@cache
def core_of(scale: float = 1.0) -> CoreNetwork:
    return CoreNetwork(build_squeezenet(seed=1, resize=None), TAPS, CoreSpec(scales=(scale,), image=False))


@cache
def taps_of(bits: tuple[int, ...] = (8, 16), scale: float = 1.0) -> tuple[HashedTap, ...]:
    import torch

    core = core_of(scale)
    image = torch.from_numpy(blobs(160, 160).transpose(2, 0, 1).copy()).float()[None]
    found = []
    for values, count in zip(core(image), bits, strict=True):
        fitted = fit_itq(values[0].flatten(1).T.numpy(), count, rotations=5)
        found.append(HashedTap(weights=fitted.weights.astype(np.float32), bias=fitted.bias.astype(np.float32)))
    return tuple(found)
