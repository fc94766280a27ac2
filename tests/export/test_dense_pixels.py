"""Heads that answer each pixel for itself: forests and linear SVMs on core samples, in one file that is let in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from random_cores import ODD, image_of, metadata_of, opened

from drillcore.backbones.networks.squeezenet import build_squeezenet
from drillcore.errors import InputError, ParityError
from drillcore.export.dense.assembly import export_dense
from drillcore.export.dense.dense_parity import DenseReference, check_dense_parity
from drillcore.heads.base import Classifier
from drillcore.heads.catalogue import HEADS, build_head
from drillcore.representations.core_samples.core import CoreNetwork, CoreSpec
from drillcore.representations.core_samples.pixel_answers import Answers
from drillcore.runtime.dense.answering import segment
from drillcore.tasks import DENSE_LABELS

HEADS_OF_ROWS = [name for name, row in HEADS.items() if DENSE_LABELS in row.tasks and not row.layered]
PARAMS = {
    "logistic": {"calibration_folds": 0},
    "linear_svm": {"calibration_folds": 0},
    "forest": {"n_estimators": 12},
    "extra_trees": {"n_estimators": 9},
}
SPEC = CoreSpec(scales=(1, 0.5), blur=(48,), context=(3,), position=4)


@pytest.fixture(scope="module")
def core() -> CoreNetwork:
    return CoreNetwork(build_squeezenet(seed=0, resize=None), ["conv1", "fire3"], SPEC)


def fitted(core: CoreNetwork, name: str, dtype: str = "float16") -> Classifier:
    image = image_of(60, 70)
    ys, xs = np.divmod(np.arange(0, 60 * 70, 9), 70)
    with torch.no_grad():
        maps = core(torch.from_numpy(image).permute(2, 0, 1)[None].float())
        rows = core.sample(maps, (60, 70), ys, xs).numpy().astype(dtype)
    labels = (image[ys, xs].astype(int).sum(axis=1) // 160).clip(0, 3)
    head = build_head(name, PARAMS[name], n_classes=5, seed=1, threads=1).fit(rows, labels)
    assert isinstance(head, Classifier)
    return head


@pytest.mark.parametrize("name", HEADS_OF_ROWS)
def test_every_pixel_is_what_the_head_says_of_its_core_sample(core: CoreNetwork, name: str, tmp_path: Path) -> None:
    head = fitted(core, name)
    metadata = metadata_of(core, "exact")
    data = export_dense(core, head, mode="exact", metadata=metadata, dtype="float16")
    reference = DenseReference(core, head, dtype="float16")
    report = check_dense_parity(data, reference, [image_of(61, 83)], mode="exact", odd_sizes=ODD)
    assert report.max_difference <= 1e-4
    assert report.pixels == 61 * 83 + 4 * sum(height * width for height, width in ODD)
    model = opened(data, tmp_path)  # as it is served: the safety checks let it in
    found = segment(model, image_of(61, 83), probabilities=True)
    assert len(np.unique(found.label)) > 1
    assert found.probabilities is not None
    assert found.probabilities[4].max() == pytest.approx(0, abs=1e-6)  # a class without a row
    other = DenseReference(core, fitted(core, name, "float32"), dtype="float32")
    with pytest.raises(ParityError):
        check_dense_parity(data, other, [image_of(61, 83)], mode="exact", odd_sizes=())


def test_answers_are_made_of_the_logarithms(core: CoreNetwork) -> None:
    head = fitted(core, "forest")
    answers = Answers(window=3, limit=4.0, bias=(0.0, 0.5, 0.0, 0.0, 0.0))
    import dataclasses

    metadata = dataclasses.replace(metadata_of(core, "exact"), answers=answers.to_dict())
    data = export_dense(core, head, mode="exact", metadata=metadata, answers=answers, dtype="float16")
    reference = DenseReference(core, head, answers, dtype="float16")
    check_dense_parity(data, reference, [image_of(40, 33)], mode="exact", odd_sizes=())


@pytest.mark.parametrize("mode", ["refined", "fast"])
def test_other_modes_are_for_layers(core: CoreNetwork, mode: str) -> None:
    with pytest.raises(InputError, match="exported exact"):
        export_dense(core, fitted(core, "linear_svm"), mode=mode, metadata=metadata_of(core, mode))
