"""Cores of timm's networks as dense models: those that pad as TensorFlow does, and transformers; in tiles too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from random_cores import head_of, image_of, metadata_of, opened

from drillcore.backbones.networks.timm_networks import build_timm
from drillcore.export.dense.assembly import export_dense
from drillcore.export.dense.dense_parity import DenseReference, check_dense_parity
from drillcore.representations.core_samples.core import CoreNetwork, CoreSpec
from drillcore.runtime.dense.answering import Scene

ODD = ((1, 1), (7, 33))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("network", "taps", "spec"),
    [
        ("tf_mobilenetv3_small_minimal_100", ["bn1", "blocks.1"], CoreSpec()),
        ("convnext_atto", ["stages.0"], CoreSpec()),
    ],
    ids=["tensorflow's padding", "convnext"],
)
def test_a_core_answers_as_torch_and_in_tiles_as_on_the_whole(
    tmp_path: Path, network: str, taps: list[str], spec: CoreSpec
) -> None:
    core = CoreNetwork(build_timm(network, seed=3, any_size=True), taps, spec)
    head = head_of(core, (8,))
    data = export_dense(core, head, mode="exact", metadata=metadata_of(core, "exact", tile=64))
    images = [image_of(45, 70)]
    report = check_dense_parity(data, DenseReference(core, head), images, mode="exact", batches=(1, 2), odd_sizes=ODD)
    assert report.max_difference <= 1e-4
    model = opened(data, tmp_path)
    image = image_of(90, 333)
    tiled = Scene(model, image, ("label", "probabilities")).run()
    whole = model.run(image[None])
    np.testing.assert_allclose(tiled["probabilities"], whole["probabilities"][0], atol=1e-5)
    assert (tiled["label"] == whole["label"][0]).mean() > 0.9999
    assert len(np.unique(whole["label"])) > 1, "an image of one label tells nothing"
