"""Brings the rows of patches into the feature store, image by image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits

from drillcore.arrays import Bytes
from drillcore.devices import exact_computing, resolve_device
from drillcore.progress import progress
from drillcore.representations.patches.pyramid import PatchNetwork
from drillcore.settings import Settings
from drillcore.store import FeatureSpec, FeatureStore, StoreWriter

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
    load: Callable[[int], Bytes],
    *,
    mirrored: bool = False,
) -> tuple[FeatureStore, list[str], int]:
    """Bring the rows of images into the store; return it, their keys, and how many images passed the network.

    Args:
        settings: where the store is; threads and device.
        network: that looks at the patches.
        digests: SHA-256 of the images' files.
        load: returns the image of a number, uint8 [H, W, C].
        mirrored: whether the mirror images are looked at.
    """
    spec = patch_spec(network, mirrored=mirrored)
    store, keys = FeatureStore.of(settings, spec), spec.keys(digests)
    if not store.missing(keys).any():
        return store, keys, 0
    device = resolve_device(settings.device)
    network.backbone.to(device)
    network.by = network.backbone.compiled([network.tap])
    workers = settings.cpu_threads if device.type == "cpu" else 1

    def look(number: int) -> npt.NDArray[np.float32]:
        image = load(number)
        return network.rows(np.ascontiguousarray(image[:, ::-1]) if mirrored else image)

    with StoreWriter(store) as writer:
        writer.shard_images = _SHARD_IMAGES
        first = {key: number for number, key in reversed(list(enumerate(keys)))}
        missing = [key for key, lacks in zip(keys, store.missing(keys), strict=True) if lacks]
        todo = sorted({first[key] for key in missing})
        start = partial(torch.set_num_threads, 1)
        with (
            ThreadPoolExecutor(workers, thread_name_prefix="patches", initializer=start) as pool,
            exact_computing(1 if device.type == "cpu" else settings.cpu_threads),
            threadpool_limits(1 if device.type == "cpu" else None, "blas"),
            progress("mirrored patches" if mirrored else "patches", len(todo)) as advance,
        ):
            for begin in range(0, len(todo), 2 * workers):
                part = todo[begin : begin + 2 * workers]
                for number, rows in zip(part, pool.map(look, part), strict=True):
                    writer.add([keys[number]], rows, np.array([len(rows)], np.int64))
                    advance(1)
    return store, keys, len(todo)
