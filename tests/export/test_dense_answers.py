"""Dense models whose answers are means over a window: parity, tiles, all modes, what the metadata say."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_cores import ODD, head_of, image_of, metadata_of, opened

from drillcore.backbones.base import Backbone
from drillcore.backbones.networks.squeezenet import build_squeezenet
from drillcore.errors import InputError, ParityError
from drillcore.export.dense.assembly import export_dense, tile_geometry
from drillcore.export.dense.dense_parity import DenseReference, check_dense_parity
from drillcore.export.dense.modes import MODES
from drillcore.representations.core_samples.core import CoreNetwork
from drillcore.representations.core_samples.pixel_answers import Answers
from drillcore.runtime.dense.answering import Scene

FIVE = Answers(window=5, limit=3.0, bias=(0.0, -0.4, 0.3, 0.0, 0.1))


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return build_squeezenet(seed=0, resize=None)


def core_of(backbone: Backbone) -> CoreNetwork:
    return CoreNetwork(backbone, ["conv1", "fire5"])


def exported(core: CoreNetwork, mode: str, answers: Answers, tile: int | None = None, **more: Any) -> bytes:
    geometry = tile_geometry(core, mode, answers) if tile else (None, None)
    metadata = dataclasses.replace(
        metadata_of(core, mode, **more), answers=answers.to_dict(), tile=tile, halo=geometry[0], align=geometry[1]
    )
    return export_dense(
        core, head_of(core), mode=mode, metadata=metadata, answers=answers, calibration=[image_of(97, 131)]
    )


@pytest.mark.parametrize("mode", MODES)
def test_every_pixel_is_answered_as_the_trained_parts_do(backbone: Backbone, mode: str) -> None:
    core = core_of(backbone)
    reference = DenseReference(core, head_of(core), FIVE)
    report = check_dense_parity(
        exported(core, mode, FIVE), reference, [image_of(97, 131)], mode=mode, batches=(1, 2), odd_sizes=ODD
    )
    assert report.max_difference <= 1e-4
    assert report.label_agreement is not None
    assert report.label_agreement >= {"exact": 0.9999, "refined": 0.9999, "fast": 0.5}[mode]


def test_other_answers_than_those_of_the_file_are_noticed(backbone: Backbone) -> None:
    core = core_of(backbone)
    data = exported(core, "exact", FIVE)
    for other in (Answers(), dataclasses.replace(FIVE, window=3), dataclasses.replace(FIVE, limit=9.0)):
        with pytest.raises(ParityError, match="differs by"):
            check_dense_parity(data, DenseReference(core, head_of(core), other), [image_of(40, 50)], mode="exact")


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_a_regression_has_a_window(backbone: Backbone, mode: str) -> None:
    core, mean = core_of(backbone), Answers(window=3)
    data = exported(core, mode, mean, task="dense_regression")
    report = check_dense_parity(
        data, DenseReference(core, head_of(core), mean), [image_of(40, 50)], mode=mode, batches=(1,), odd_sizes=ODD
    )
    assert report.label_agreement is None


@pytest.mark.parametrize("mode", MODES)
def test_tiles_answer_as_the_whole(backbone: Backbone, tmp_path: Path, mode: str) -> None:
    core = core_of(backbone)
    wide = dataclasses.replace(FIVE, window=33)
    halo, plain = tile_geometry(core, mode, wide), tile_geometry(core, mode)
    assert halo is not None
    assert plain is not None
    assert halo[0] >= core.halo + 16
    model = opened(exported(core, mode, wide, tile=64), tmp_path)
    image = image_of(150, 230)
    tiled, whole = Scene(model, image, ("label", "probabilities")).run(), model.run(image[None])
    near = np.abs(tiled["probabilities"] - whole["probabilities"][0]).max(axis=0)
    # Where mode refined's threshold lies between two roundings, a block is looked at again on one side only.
    assert np.quantile(near, 1.0 if mode != "refined" else 0.999) < 1e-4
    assert (tiled["label"] == whole["label"][0]).mean() > 0.9999
    assert len(np.unique(whole["label"])) > 1, "a scene of one label tells nothing"


def test_the_metadata_say_how_and_are_held_to_it(backbone: Backbone, tmp_path: Path) -> None:
    core = core_of(backbone)
    assert opened(exported(core, "exact", FIVE), tmp_path).metadata.answers == FIVE.to_dict()
    plain = metadata_of(core, "exact")
    assert "answers" not in plain.to_json()
    with pytest.raises(InputError, match="the metadata say None of the answers"):
        export_dense(core, head_of(core), mode="exact", metadata=plain, answers=FIVE)
    with pytest.raises(InputError, match="bias has 5 numbers, the head has 4 outputs"):
        export_dense(
            core,
            head_of(core, outputs=4),
            mode="exact",
            metadata=dataclasses.replace(plain, classes=list("abcd"), answers=FIVE.to_dict()),
            answers=FIVE,
        )


def test_plain_answers_leave_the_file_as_it_was(backbone: Backbone) -> None:
    core = core_of(backbone)
    first, second = (
        export_dense(core, head_of(core), mode="exact", metadata=metadata_of(core, "exact"), **more)
        for more in ({}, {"answers": Answers()})
    )
    assert first == second
