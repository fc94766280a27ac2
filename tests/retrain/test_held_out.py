"""A bias is fitted on images that the head which answers them has not learnt from; a killed fit goes on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from drillcore.backbones.networks.squeezenet import build_squeezenet
from drillcore.errors import DataError, InputError
from drillcore.recipes.cores import CorePlan, HeldOut
from drillcore.representations.core_samples.core import CoreNetwork
from drillcore.representations.core_samples.core_rows import check_classes
from drillcore.representations.core_samples.pixel_answers import Answers
from drillcore.representations.core_samples.samples import CoreSamples
from drillcore.representations.core_samples.sampling import SamplingSpec
from drillcore.representations.core_samples.views import ViewSpec
from drillcore.retrain.fitting.held_out import HeldOutBias, TrainingImages, fit_bias

SIDE, SHIP = 40, 150  # pixels; the grey level from which on a pixel is a ship


def grey(number: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 200, (SIDE, SIDE, 1)).astype(np.uint8)


def truth(number: int) -> npt.NDArray[np.uint8]:
    return (grey(number)[:, :, 0] >= SHIP).astype(np.uint8)


class Case:
    """Eight images of four groups, and a head that calls a pixel a ship from grey level 100 on: 50 too early."""

    def __init__(self, groups: str = "aabbccdd") -> None:
        self.core = CoreNetwork(build_squeezenet(seed=0, resize=None), ["conv1"], channels=1)
        self.groups, self.fitted, self.answered = groups, [], []  # type: ignore[var-annotated]
        images = np.repeat(np.arange(len(groups)), 5)
        nothing = np.zeros(len(images), np.int64)
        self.samples = CoreSamples(
            rows=np.zeros((len(images), self.core.width), np.float32),
            targets=nothing.astype(np.uint8),
            weights=np.ones(len(images), np.float32),
            images=images,
            views=nothing,
            ys=nothing,
            xs=nothing,
            extracted=0,
        )

    def head(self, chosen: npt.NDArray[np.int64], checkpoint: Path) -> Any:
        self.fitted.append({self.groups[number] for number in self.samples.images[chosen]})
        weight = np.zeros((self.core.width, 2), np.float32)
        level = self.core.get_buffer("scale")[0].item(), self.core.get_buffer("offset")[0].item()
        weight[-1, 1] = 0.1 / level[0]  # the last feature is the image, normalised
        bias = np.array([0.0, -0.1 * (100 + level[1] / level[0])], np.float32)
        return SimpleNamespace(
            mean_=np.zeros(self.core.width, np.float32),
            scale_=np.ones(self.core.width, np.float32),
            layers_=[(weight, bias)],
            activation="relu",
        )

    def image(self, number: int) -> npt.NDArray[np.uint8]:
        self.answered.append(number)
        return grey(number)

    def run(self, folder: Path, *, images: int = 100, tile: int = 1024) -> HeldOutBias:
        plan = plan_of(HeldOut(folds=2, images=images), tile)
        given = TrainingImages(groups=list(self.groups), image=self.image, labels=truth)
        return fit_bias(
            self.core, self.samples, given, self.head, plan=plan, mode="exact", seed=0, threads=1, folder=folder
        )


def plan_of(bias: HeldOut | None, tile: int = 1024, answers: Answers | None = None) -> CorePlan:
    return CorePlan(
        spec=None,  # type: ignore[arg-type]
        sampling=SamplingSpec(),
        views=ViewSpec(),
        storage="store",
        max_rows=1000,
        weighted=0.0,
        dtype="float16",
        tile=tile,
        answers=answers or Answers(limit=20),
        bias=bias,
    )


def test_the_bias_puts_right_what_the_head_gets_wrong_and_no_head_answers_its_own_groups(tmp_path: Path) -> None:
    case = Case()
    found = case.run(tmp_path)
    # At grey level 149 the head's difference is 4.9, at 150 it is 5.
    assert found.bias[0] == 0
    assert -5.001 <= found.bias[1] < -4.9
    assert found.overlap == 1
    assert found.unbiased < 0.6
    assert (found.images, found.folds) == (8, 2)
    assert len(case.fitted) == 2
    assert not case.fitted[0] & case.fitted[1]
    assert case.fitted[0] | case.fitted[1] == set("abcd")


def test_a_fold_that_is_done_is_not_done_again(tmp_path: Path) -> None:
    first, again = Case(), Case()
    expected = first.run(tmp_path)
    (tmp_path / "fold1.npy").unlink()
    assert again.run(tmp_path) == expected
    assert len(again.fitted) == 1
    assert len(again.answered) == 4


def test_few_images_and_their_middles_bound_what_it_costs(tmp_path: Path) -> None:
    case = Case()
    assert case.run(tmp_path, images=3, tile=16).images == 3
    assert sorted(case.answered) == [0, 4, 7]


def test_where_it_cannot_be_fitted_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is one group"):
        Case("aaaa").run(tmp_path)
    with pytest.raises(InputError, match="two classes, the second one rare; the data set has 3"):
        check_classes(plan_of(HeldOut(folds=2, images=9)), ["sea", "land", "ship"])
    with pytest.raises(InputError, match="bias has 3 numbers, the head has 2 outputs"):
        check_classes(plan_of(None, answers=Answers(bias=(0, 0, 1))), ["sea", "ship"])
    check_classes(plan_of(None, answers=Answers()), ["sea", "land", "ship"])
