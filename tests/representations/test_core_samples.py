"""Extraction of core samples: what is stored is what a core reads, only what is missing is drilled, little memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from drillcore.backbones.base import Backbone
from drillcore.backbones.networks.squeezenet import build_squeezenet
from drillcore.digests import sha256_bytes
from drillcore.errors import BadImageError, DataError, InputError
from drillcore.representations.core_samples.core import CoreNetwork
from drillcore.representations.core_samples.core_spec import CoreSpec
from drillcore.representations.core_samples.drilling import Targets, samples_of
from drillcore.representations.core_samples.samples import CoreSamples, extract, sample_spec
from drillcore.representations.core_samples.sampling import SamplingSpec
from drillcore.representations.core_samples.views import ViewSpec, view_of
from drillcore.representations.store_rows import StoreRows
from drillcore.settings import Settings
from drillcore.store import FeatureStore

Image = npt.NDArray[np.uint8]
UNIFORM = SamplingSpec(pixels=30)


class Scenes:
    """Images with labels (2 classes, 255 void), and which of them were looked at."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(0)
        self.images = [rng.integers(0, 256, (*rng.integers(20, 50, 2), 3), dtype=np.uint8) for _ in range(count)]
        self.labels = [
            rng.choice([0, 1, 255], image.shape[:2], p=[0.7, 0.2, 0.1]).astype(np.uint8) for image in self.images
        ]
        self.digests = [sha256_bytes(image.tobytes()) for image in self.images]
        self.seen: list[int] = []

    def load(self, number: int) -> Image:
        self.seen.append(number)
        return self.images[number]

    @property
    def targets(self) -> Targets:
        digests = [sha256_bytes(labels.tobytes()) for labels in self.labels]
        return Targets(digests=digests, load=self.labels.__getitem__, classes=2)

    def part(self, *numbers: int) -> Scenes:
        scenes = Scenes(0)
        scenes.images = [self.images[number] for number in numbers]
        scenes.labels = [self.labels[number] for number in numbers]
        scenes.digests = [self.digests[number] for number in numbers]
        return scenes

    def extract(self, core: CoreNetwork, settings: Settings, **given: Any) -> CoreSamples:
        self.seen.clear()
        return extract(core, self.digests, self.load, self.targets, settings, **{"sampling": UNIFORM, **given})


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return build_squeezenet(seed=1, resize=None)


@pytest.fixture
def core(backbone: Backbone) -> CoreNetwork:
    return CoreNetwork(backbone, ("conv1", "fire4"), CoreSpec(position=3))


@pytest.fixture
def scenes() -> Scenes:
    return Scenes(6)


def test_rows_labels_and_weights_are_of_their_pixels(core: CoreNetwork, scenes: Scenes, settings: Settings) -> None:
    views = ViewSpec(count=3, turn=True)
    samples = scenes.extract(core, settings, views=views, dtype="float32")
    assert samples.rows.shape == (len(samples), core.width)
    assert len(samples) == 6 * 3 * 30
    assert samples.extracted == 18
    for number in (0, 4):
        for view in (0, 2):
            mine = (samples.images == number) & (samples.views == view)
            varied = view_of(views, scenes.digests[number], view)
            image, labels = varied.of_image(scenes.images[number]), varied.of_map(scenes.labels[number])
            ys, xs = samples.ys[mine], samples.xs[mine]
            assert np.array_equal(samples.rows[mine], samples_of(core, image, ys, xs))
            assert np.array_equal(samples.targets[mine], labels[ys, xs])
            assert samples.weights[mine].sum() == pytest.approx((labels < 2).sum(), rel=1e-5)


def test_only_what_is_missing_is_drilled(core: CoreNetwork, scenes: Scenes, settings: Settings) -> None:
    first = scenes.part(0, 1, 2, 3).extract(core, settings)
    assert first.extracted == 4
    again = scenes.extract(core, settings)
    assert (again.extracted, scenes.seen) == (2, [4, 5])
    assert np.array_equal(again.rows[: len(first)], first.rows[:])
    assert scenes.extract(core, settings).extracted == 0
    assert not scenes.seen
    more = scenes.extract(core, settings, views=ViewSpec(count=2))
    assert more.extracted == 6  # the second view of each; the image itself is there


def test_other_labels_of_an_image_drill_it_anew(core: CoreNetwork, scenes: Scenes, settings: Settings) -> None:
    scenes.extract(core, settings)
    scenes.labels[3] = np.zeros_like(scenes.labels[3])
    again = scenes.extract(core, settings)
    assert (again.extracted, scenes.seen) == (1, [3])
    assert not again.targets[again.images == 3].any()


def test_what_decides_the_values_decides_the_key(core: CoreNetwork, backbone: Backbone, scenes: Scenes) -> None:
    other = CoreNetwork(backbone, ("conv1", "fire4"), CoreSpec())
    specs = [
        sample_spec(core, scenes.targets, UNIFORM, ViewSpec()),
        sample_spec(other, scenes.targets, UNIFORM, ViewSpec()),
        sample_spec(core, scenes.targets, SamplingSpec(pixels=31), ViewSpec()),
        sample_spec(core, scenes.targets, SamplingSpec(pixels=30, seed=1), ViewSpec()),
        sample_spec(core, scenes.targets, UNIFORM, ViewSpec(mirror=False)),
        sample_spec(core, scenes.targets, UNIFORM, ViewSpec(), "float32"),
    ]
    assert len({spec.digest for spec in specs}) == len(specs)
    assert sample_spec(core, scenes.targets, UNIFORM, ViewSpec(count=7)).digest == specs[0].digest


def test_rows_do_not_depend_on_their_company(
    core: CoreNetwork, scenes: Scenes, settings: Settings, tmp_path: Path
) -> None:
    whole = scenes.extract(core, settings, root=tmp_path / "whole", views=ViewSpec(count=2))
    for number in (5, 0):
        alone = scenes.part(number).extract(core, settings, root=tmp_path / str(number), views=ViewSpec(count=2))
        assert alone.rows[:].tobytes() == whole.rows[whole.images == number].tobytes()


def test_the_store_and_its_parts_are_read_as_arrays(core: CoreNetwork, scenes: Scenes, settings: Settings) -> None:
    samples = scenes.extract(core, settings)
    assert isinstance(samples.rows, StoreRows)
    everything = samples.rows[:]
    assert everything.dtype == samples.rows.dtype == np.dtype(np.float16)
    rng = np.random.default_rng(0)
    for chosen in (np.sort(rng.choice(180, 40, replace=False)), rng.permutation(180), slice(3, 90, 7), np.array([-1])):
        assert np.array_equal(samples.rows[chosen], everything[chosen])
    mask = samples.targets == 1
    assert np.array_equal(samples.rows[mask], everything[mask])
    assert samples.rows[np.zeros(0, np.int64)].shape == (0, core.width)
    with pytest.raises(InputError, match="there are 180"):
        samples.rows[np.array([180])]
    with pytest.raises(InputError, match="mask"):
        samples.rows[np.zeros(3, np.bool_)]


def test_a_subset_is_part_of_what_the_store_would_hold(
    core: CoreNetwork, scenes: Scenes, settings: Settings, tmp_path: Path
) -> None:
    whole = scenes.extract(core, settings)
    for file in (None, tmp_path / "rows.npy"):
        part = scenes.extract(core, settings, storage="subset", max_rows=65, file=file, root=tmp_path / "none")
        assert len(part) == 60  # ten of each image
        assert not (tmp_path / "none").exists()
        for number in range(6):
            mine, theirs = part.images == number, whole.images == number
            pixels = list(zip(whole.ys[theirs], whole.xs[theirs], strict=True))
            places = [pixels.index(pixel) for pixel in zip(part.ys[mine], part.xs[mine], strict=True)]
            assert np.array_equal(part.rows[mine], whole.rows[theirs][places])
            assert part.weights[mine].sum() == pytest.approx(whole.weights[theirs].sum(), rel=1e-5)
    with pytest.raises(InputError, match="raise it"):
        scenes.extract(core, settings, storage="subset", max_rows=5)
    with pytest.raises(InputError, match="store, subset"):
        scenes.extract(core, settings, storage="disk")


def test_what_was_drilled_before_an_error_stays(core: CoreNetwork, scenes: Scenes, settings: Settings) -> None:
    def load(number: int) -> Image:
        if number == 4:
            raise BadImageError("truncated", "number 4")
        return scenes.images[number]

    with pytest.raises(BadImageError, match="number 4"):
        extract(core, scenes.digests, load, scenes.targets, settings, sampling=UNIFORM)
    assert scenes.extract(core, settings).extracted == 2


def test_damage_in_either_table_is_mended(core: CoreNetwork, scenes: Scenes, settings: Settings) -> None:
    before = scenes.extract(core, settings)
    expected = before.rows[:].tobytes()
    for folder in (settings.state / "features").iterdir():
        for shard in (folder / "shards").iterdir():
            data = bytearray(shard.read_bytes())
            data[-5] ^= 16
            shard.write_bytes(data)
        again = scenes.extract(core, settings)
        assert again.extracted == 6
        assert again.rows[:].tobytes() == expected
        assert np.array_equal(again.targets, before.targets)


def test_equal_images_are_drilled_once(core: CoreNetwork, scenes: Scenes, settings: Settings) -> None:
    twice = scenes.part(0, 1, 0)
    samples = twice.extract(core, settings)
    assert samples.extracted == 2
    assert np.array_equal(samples.rows[samples.images == 0], samples.rows[samples.images == 2])


def test_values_are_learnt_as_they_are(core: CoreNetwork, scenes: Scenes, settings: Settings) -> None:
    values = [image[:, :, :2].astype(np.float32) / 7 for image in scenes.images]
    targets = Targets(digests=scenes.digests, load=values.__getitem__)
    samples = extract(core, scenes.digests, scenes.load, targets, settings, sampling=UNIFORM)
    assert samples.targets.shape == (180, 2)
    mine = samples.images == 2
    assert np.array_equal(samples.targets[mine], values[2][samples.ys[mine], samples.xs[mine]])
    values[1][0, 0, 0] = np.nan
    with pytest.raises(DataError, match="not finite"):
        extract(core, scenes.digests, scenes.load, targets, settings, sampling=SamplingSpec(pixels=31))


def test_images_of_void_and_of_one_pixel(core: CoreNetwork, settings: Settings) -> None:
    scenes = Scenes(2)
    scenes.images[0], scenes.labels[0] = np.full((1, 1, 3), 7, np.uint8), np.ones((1, 1), np.uint8)
    scenes.labels[1][:] = 255
    for sampling in (UNIFORM, SamplingSpec(method="class_balanced", pixels=9)):
        samples = scenes.extract(core, settings, sampling=sampling)
        assert (len(samples), samples.targets.tolist(), samples.images.tolist()) == (1, [1], [0])
        assert np.isfinite(samples.rows[:]).all()
    nothing = scenes.part(1)
    assert nothing.extract(core, settings, root=settings.state / "empty").rows.shape == (0, core.width)
    assert nothing.extract(core, settings, root=settings.state / "empty").extracted == 0


def test_hard_pixels_come_from_their_map(core: CoreNetwork, scenes: Scenes, settings: Settings) -> None:
    maps = [np.arange(labels.size).reshape(labels.shape) % 5 == 0 for labels in scenes.labels]
    targets = Targets(
        digests=scenes.targets.digests,
        load=scenes.labels.__getitem__,
        classes=2,
        hard=maps.__getitem__,
        hard_digest="h",
    )
    sampling = SamplingSpec(method="hard", pixels=40, hard_share=0.75)
    samples = extract(core, scenes.digests, scenes.load, targets, settings, sampling=sampling)
    mine = samples.images == 1
    assert int(maps[1][samples.ys[mine], samples.xs[mine]].sum()) == 30
    with pytest.raises(InputError, match="both or neither"):
        scenes.extract(core, settings, sampling=sampling)


def test_labels_of_another_size_are_named(core: CoreNetwork, scenes: Scenes, settings: Settings) -> None:
    scenes.labels[2] = scenes.labels[2][1:]
    with pytest.raises(DataError, match=f"image {scenes.digests[2][:12]} has"):
        scenes.extract(core, settings)


def test_the_backbone_counts_what_passed(
    core: CoreNetwork, backbone: Backbone, scenes: Scenes, settings: Settings
) -> None:
    before = backbone.images_passed
    scenes.extract(core, settings, views=ViewSpec(count=2))
    scenes.extract(core, settings, views=ViewSpec(count=2))
    assert backbone.images_passed - before == 12
    assert FeatureStore.of(settings, sample_spec(core, scenes.targets, UNIFORM, ViewSpec())).info().images == 12
