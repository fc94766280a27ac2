"""A small fitted classifier of three textures, and its export."""

from __future__ import annotations

import numpy as np

from drillcore.backbones.base import Backbone
from drillcore.export.assemble import export_classifier, input_contract
from drillcore.export.parity import Reference
from drillcore.heads.forest.forest import ForestHead
from drillcore.runtime.model.metadata import ModelMetadata

CLASSES = ["copepod", "detritus", "diatom"]


def metadata_for(backbone: Backbone, **changes: object) -> ModelMetadata:
    values: dict = {
        "task": "classification",
        "model": "plankton-test",
        "classes": CLASSES,
        "input": input_contract(backbone),
        "data_digest": "0" * 64,
        "lineage": "sample",
        "git": "0" * 40,
        "dirty": False,
        "recipe_sha256": "1" * 64,
        "weights_sha256": backbone.weights_sha256,
        "seeds": {"train": 0},
        "min_size": [1, 1],
    }
    return ModelMetadata(**(values | changes))


def pictures(channels: int, count: int = 70, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Images of three textures and many sizes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = []
    for label in labels:
        height, width = rng.integers(9, 120, 2)
        image = rng.integers(0, 60, (height, width, channels))
        image[:: label + 2, :: 2 * label + 1] += 150
        images.append(image.astype(np.uint8))
    return images, labels


def fitted(backbone: Backbone, taps: list[str], dtype: str = "float16", trees: int = 30) -> Reference:
    images, labels = pictures(backbone.channels)
    bare = Reference(backbone, taps, ForestHead(), dtype)
    rows = bare.stored(bare.activations(images))
    return Reference(backbone, taps, ForestHead(trees, n_classes=3).fit(rows, labels), dtype)


def export(reference: Reference, **changes: object) -> bytes:
    return export_classifier(
        reference.backbone,
        reference.taps,
        reference.head,
        dtype=reference.dtype,
        metadata=metadata_for(reference.backbone, **changes),
    )
