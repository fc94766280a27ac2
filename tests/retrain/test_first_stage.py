"""The first of two stages: no image is answered by a head that has learnt from it; a killed fit goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from drillcore.backbones.networks.squeezenet import build_squeezenet
from drillcore.errors import DataError
from drillcore.export.dense.context_nodes import first_stage_model
from drillcore.export.sessions import cpu_session
from drillcore.heads.dbn.dbn import DbnHead
from drillcore.recipes.cores import ContextPlan
from drillcore.representations.core_samples.auto_context import AutoContext, read_plane
from drillcore.representations.core_samples.context_spec import ContextSpec
from drillcore.representations.core_samples.core import CoreNetwork
from drillcore.representations.core_samples.samples import CoreSamples
from drillcore.representations.core_samples.views import ViewSpec, view_of
from drillcore.retrain.fitting.first_stage import DrilledImages, FirstStage, fit_first_stage, stretches

SIDE = (18, 26)
SPEC = ContextSpec(cells=(1, 3), offsets=(4,))
VIEWS = ViewSpec(count=2, seed=5)


class Case:
    """Images of one group, two views each, and heads that say which images they have learnt from.

    A class for each image: a head gives the class of an image it has learnt from a large logit, of another a small one.
    """

    def __init__(self, digests: str = "abcdef", groups: str = "xxxxxx") -> None:
        self.core = CoreNetwork(build_squeezenet(seed=0, resize=None), ["conv1"])
        self.digests, self.groups = digests, groups
        self.classes, self.fitted = len(digests), []  # type: ignore[var-annotated]
        each = 2 * VIEWS.count
        self.images = np.repeat(np.arange(len(digests)), each)
        self.views = np.tile(np.repeat(np.arange(VIEWS.count), 2), len(digests))
        rng = np.random.default_rng(0)
        self.samples = CoreSamples(
            rows=rng.standard_normal((len(self.images), self.core.width)).astype(np.float16),
            targets=(self.images % self.classes).astype(np.uint8),
            weights=np.ones(len(self.images), np.float32),
            images=self.images,
            views=self.views,
            ys=rng.integers(0, 13, len(self.images)),
            xs=rng.integers(0, 19, len(self.images)),
            extracted=0,
        )

    def image(self, number: int) -> npt.NDArray[np.uint8]:
        rng = np.random.default_rng(ord(self.digests[number]))
        return rng.integers(0, 256, (*SIDE, 3)).astype(np.uint8)

    def head(self, chosen: npt.NDArray[np.int64], checkpoint: Path) -> DbnHead:
        learnt = {self.digests[number] for number in self.images[chosen]}
        self.fitted.append(learnt)
        head = DbnHead(hidden=(), n_classes=self.classes)
        bias = np.array([5.0 if digest in learnt else -5.0 for digest in self.digests], np.float32)
        # What it says depends a little on the place, too.
        weight = np.random.default_rng(0).standard_normal((self.core.width, self.classes)) * 0.01
        head.layers_ = [(weight.astype(np.float32), bias)]
        head.mean_, head.scale_ = np.zeros(self.core.width, np.float32), np.ones(self.core.width, np.float32)
        head.classes_ = np.arange(self.classes)
        head.curve_, head.pretraining_curve_, head.best_epoch_ = [], [], 0
        return head

    def run(self, folder: Path, folds: int = 2) -> FirstStage:
        return fit_first_stage(
            self.core,
            self.samples,
            DrilledImages(digests=list(self.digests), groups=list(self.groups), image=self.image, views=VIEWS),
            self.head,
            plan=ContextPlan(spec=SPEC, folds=folds, first={}, second={}),
            classes=self.classes,
            dtype="float16",
            threads=1,
            folder=folder,
        )


@pytest.mark.parametrize(("digests", "folds"), [("abcdef", 2), ("abcdef", 3), ("abcdea", 2)])
def test_no_image_is_answered_by_a_head_that_has_learnt_from_it(tmp_path: Path, digests: str, folds: int) -> None:
    case = Case(digests)
    found = case.run(tmp_path, folds)
    columns = found.rows[:][:, case.core.width :].astype(np.float32)
    assert columns.shape == (24, 6 * (2 + 8))
    for image in range(6):
        mine = columns[case.images == image].reshape(4, 10, 6)
        # In every window and at every distance: of an image that was learnt from it would be a share of the whole.
        assert mine[:, :, image].max() < 1e-3
        assert mine.max() > 0.1
    assert set.union(*case.fitted[:folds]) == case.fitted[folds] == set(digests), "the last one learns from all"
    assert found.accuracy == 0
    np.testing.assert_array_equal(found.rows[:][:, : case.core.width], case.samples.rows[:])


def test_the_columns_are_those_the_second_stage_will_see(tmp_path: Path) -> None:
    case = Case()
    columns = case.run(tmp_path).rows[:][:, case.core.width :].astype(np.float32)
    head = case.head(np.flatnonzero(case.images >= 3), tmp_path)  # of the other half
    context = AutoContext(spec=SPEC, head=head)
    for view in (0, 1):
        mine = (case.images == 1) & (case.views == view)
        pixels = view_of(VIEWS, "b", view).of_image(case.image(1))
        maps = case.core(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float())
        plane = context.map_of(case.core, maps, pixels.shape[:2])
        expected = read_plane(plane, pixels.shape[:2], case.samples.ys[mine], case.samples.xs[mine]).numpy()
        np.testing.assert_allclose(columns[mine], expected, atol=1e-3)
        (found,) = cpu_session(first_stage_model(case.core, head), 1).run(None, {"images": pixels[None]})
        assert found.shape == (1, 6, *(-(-side // 4) for side in pixels.shape[:2]))


def test_a_fit_killed_between_the_folds_goes_on_after_them(tmp_path: Path) -> None:
    expected = Case().run(tmp_path / "whole").rows[:]
    killed, again = Case(), Case()
    fit = killed.head

    def second_dies(chosen: npt.NDArray[np.int64], checkpoint: Path) -> DbnHead:
        if killed.fitted:
            raise KeyboardInterrupt
        return fit(chosen, checkpoint)

    killed.head = second_dies  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        killed.run(tmp_path / "part")
    again.image = lambda number: Case.image(again, seen.append(number) or number)  # type: ignore[method-assign,func-returns-value]
    seen: list[int] = []
    np.testing.assert_array_equal(again.run(tmp_path / "part").rows[:], expected)
    assert again.fitted == [set("abc"), set("abcdef")], "the first fold's head is there"
    assert seen == [3, 4, 5], "and so are its columns"
    # All is there: nothing is fitted or answered again. Without the table the columns are made again by the same heads.
    third = Case()
    np.testing.assert_array_equal(third.run(tmp_path / "part").rows[:], expected)
    assert third.fitted == []
    (tmp_path / "part" / "columns.npy").unlink()
    np.testing.assert_array_equal(third.run(tmp_path / "part").rows[:], expected)
    assert third.fitted == []


def test_folds_are_stretches_of_each_group() -> None:
    assert stretches("aaaabbbbb", "012345678", 2).tolist() == [0, 0, 1, 1, 0, 0, 0, 1, 1]
    assert stretches("abcd", "0123", 2).tolist() == [0, 1, 0, 1], "groups of one image are dealt whole, in turn"
    assert stretches("aaab", "0120", 3).tolist() == [0, 1, 2, 0], "an image given again is where it was first"


def test_a_fold_without_samples_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="into 2 folds, and one of them has no labelled pixel"):
        Case("aaaaaa").run(tmp_path)
