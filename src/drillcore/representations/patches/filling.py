"""Brings the rows of patches into the feature store, image by image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from drillcore.arrays import Floats
from drillcore.backbones.base import Backbone
from drillcore.progress import progress
from drillcore.representations.computing.engines import computed
from drillcore.representations.computing.work import Work
from drillcore.representations.feeding import Load
from drillcore.representations.patches.pyramid import PatchNetwork
from drillcore.settings import Settings
from drillcore.store import FeatureSpec, FeatureStore, StoreWriter

if TYPE_CHECKING:
    from drillcore.cluster.address import Cluster

_SHARD_IMAGES = 8  # what a kill undoes, at most


def patch_spec(network: PatchNetwork, *, mirrored: bool) -> FeatureSpec:
    """Return what the rows of an image, or of its mirror image, depend on."""
    plan, backbone = network.plan, network.backbone
    own = {"side": plan.side, "lambdas": list(plan.lambdas), "mirrored": mirrored}
    if network.crops:
        own["crops"] = True
    return FeatureSpec(
        weights=backbone.weights_sha256,
        taps=(network.tap,),
        preprocessing={**backbone.preprocessing, **backbone.engine},
        dtype=plan.dtype,
        sampling={"patches": own},
    )


def fill_store(
    settings: Settings,
    network: PatchNetwork,
    digests: Sequence[str],
    load: Load,
    *,
    mirrored: bool = False,
    cluster: Cluster | None = None,
) -> tuple[FeatureStore, list[str], int]:
    """Bring the rows of images into the store; return it, their keys, and how many images passed the network.

    Args:
        settings: where the store is; threads and device.
        network: that looks at the patches.
        digests: SHA-256 of the images' files.
        load: returns the image of a number, uint8 [H, W, C].
        mirrored: whether the mirror images are looked at.
        cluster: whose workers compute; None: threads here.
    """
    spec = patch_spec(network, mirrored=mirrored)
    store, keys = FeatureStore.of(settings, spec), spec.keys(digests)
    if not store.missing(keys).any():
        return store, keys, 0
    with StoreWriter(store) as writer:
        writer.shard_images = _SHARD_IMAGES
        first = {key: number for number, key in reversed(list(enumerate(keys)))}
        missing = [key for key, lacks in zip(keys, store.missing(keys), strict=True) if lacks]
        todo = sorted({first[key] for key in missing})
        with (
            closing(computed(_Patches(network, load, mirrored), todo, settings, cluster)) as made,
            progress("mirrored patches" if mirrored else "patches", len(todo)) as advance,
        ):
            for number, rows in zip(todo, made, strict=True):
                writer.add([keys[number]], rows, np.array([len(rows)], np.int64))
                advance(1)
    return store, keys, len(todo)


@dataclass
class _Patches(Work[int, Floats]):
    """Rows of the patches of an image, given by its number, float32 [P, D]."""

    look: PatchNetwork
    load: Load
    mirrored: bool

    @property
    def network(self) -> Backbone:
        """The network's backbone."""
        return self.look.backbone

    @contextmanager
    def opened(self, device: torch.device) -> Iterator[None]:
        """Bring the backbone to a device."""
        self.network.to(device)
        self.look.by = self.network.compiled([self.look.tap])
        try:
            yield
        finally:
            self.look.by = None

    def first(self, part: int) -> int:
        """Return the number itself."""
        return part

    def __call__(self, part: int) -> Floats:
        """Return the rows of one image."""
        image = self.load(part)
        return self.look.rows(np.ascontiguousarray(image[:, ::-1]) if self.mirrored else image)
