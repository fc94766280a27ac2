from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drillcore.datasets.catalogue import get_layout
from drillcore.datasets.description import Description, write_description
from drillcore.datasets.layouts.camvid import VOID
from drillcore.datasets.manifest import build_manifest
from drillcore.datasets.synthetic import folder_digest, write_sample
from drillcore.datasets.synthetic.baeri import closing, opening, scene
from drillcore.datasets.synthetic.chance import Chance, direction
from drillcore.datasets.synthetic.image_bytes import tiff_bytes
from drillcore.settings import Settings

PINNED = {
    "camvid": "f3fcdae89f3fc0155e4b77dbd1d47d8699afe8ca2b5d68de66e29db518a5ffac",
    "baeri": "d59170a03f34f9e8479fe030843ca291bd24a86bc61b74a0060791ff84491d49",
}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("samples")
    for name, count in (("camvid", 36), ("baeri", 16)):
        assert write_sample(name, root / name) == count
    return root


@pytest.mark.parametrize("name", ["camvid", "baeri"])
def test_the_same_bytes_on_every_machine(samples: Path, name: str) -> None:
    assert folder_digest(samples / name) == PINNED[name]


def test_street_scenes(samples: Path) -> None:
    items = list(get_layout("camvid").find(samples / "camvid"))
    assert [sum(item.split == split for item in items) for split in ("train", "val", "test")] == [20, 6, 10]
    groups = {split: {item.group for item in items if item.split == split} for split in ("train", "val", "test")}
    assert groups["val"] < groups["train"]
    assert not groups["test"] & groups["train"]
    for split in groups:
        seen = np.zeros(12, dtype=np.int64)
        for item in items:
            if item.split != split:
                continue
            with Image.open(item.source) as image, Image.open(item.target) as target:
                assert (image.format, image.mode, image.size) == ("PNG", "RGB", (240, 180))
                assert (target.format, target.mode, target.size) == ("PNG", "L", (240, 180))
                seen += np.bincount(np.asarray(target).ravel(), minlength=12)
        assert seen.min() > 0, split  # every class and void
        assert seen[VOID] < 0.1 * seen.sum()


def test_sar_scenes(samples: Path) -> None:
    items = list(get_layout("baeri").find(samples / "baeri"))
    sizes = set()
    for item in items:
        with Image.open(item.source) as image, Image.open(item.target) as target:
            assert (image.format, image.mode) == ("TIFF", "F")
            assert image.size == target.size
            values, mask = np.asarray(image), np.asarray(target)
        assert values.dtype == np.float32
        assert values.min() >= -40
        assert values.max() <= 25
        assert np.median(values[mask > 0]) > np.median(values) + 15
        assert set(np.unique(mask)) == {0, 255}
        sizes.add(values.shape)
    assert len(sizes) > 8


def test_labels_of_ships_are_noisy_as_the_paper_says() -> None:
    drawn = [scene(Chance("baeri", 0, index), with_land=index % 2 == 1) for index in range(16)]
    truth = np.concatenate([one.ships.ravel() for one in drawn])
    labels = np.concatenate([one.labels.ravel() for one in drawn])
    assert 0.6 < (truth & labels).sum() / (truth | labels).sum() < 0.95
    assert (truth & ~labels).sum() > 100  # small ships that opening has lost
    assert (labels & ~truth).sum() > 100  # blobs on land
    assert 0.001 < truth.mean() < 0.03


def test_speckle_has_four_looks() -> None:
    """Power of homogeneous sea has mean^2 / variance = the number of looks (a little less: the swell)."""
    drawn = scene(Chance("baeri", 0, 0), with_land=False)
    sea = ~drawn.ships
    for down in range(-4, 5):  # away from the ships
        for right in range(-4, 5):
            sea &= ~np.roll(drawn.ships, (down, right), (0, 1))
    power = 10 ** (drawn.decibels[sea] / 10)
    assert 2.8 < power.mean() ** 2 / power.var() < 4.3


def test_opening_and_closing_worked_out_by_hand() -> None:
    mask = np.zeros((9, 9), dtype=bool)
    mask[1, 1] = True  # a point goes
    mask[4:7, 4:7] = True  # of a square of three the cross in it stays
    cross = np.zeros_like(mask)
    cross[5, 4:7] = cross[4:7, 5] = True
    assert (opening(mask) == cross).all()
    gap = np.zeros((9, 20), dtype=bool)
    gap[:, 5:8] = gap[:, 10:13] = True
    assert closing(gap)[4, 5:13].all()
    assert not closing(gap)[4, 14:].any()


def test_tiff_is_read_back(tmp_path: Path) -> None:
    values = np.linspace(-40, 25, 35).reshape(5, 7).astype(np.float32)
    (tmp_path / "x.tif").write_bytes(tiff_bytes(values))
    with Image.open(tmp_path / "x.tif") as image:
        assert (np.asarray(image) == values).all()


def test_directions_have_length_one() -> None:
    for turn in np.linspace(-1, 2, 50):
        cosine, sine = direction(float(turn))
        assert abs(cosine * cosine + sine * sine - 1) < 3e-6


def test_random_numbers_are_what_they_say() -> None:
    chance = Chance("test")
    values = chance.uniform(200, 200)
    assert abs(values.mean() - 0.5) < 0.01
    assert 0 <= values.min() < values.max() < 1
    bell = chance.bell(200, 200)
    assert abs(bell.mean()) < 0.02
    assert abs(bell.std() - 1) < 0.02
    assert {chance.whole(2, 4) for _ in range(100)} == {2, 3, 4}
    assert Chance("a", 1).between(0, 1) != Chance("a", 2).between(0, 1)
    assert Chance("a", 1).between(0, 1) == Chance("a", 1).between(0, 1)


@pytest.mark.parametrize("name", ["camvid", "baeri"])
def test_samples_make_a_manifest_without_quarantine(settings: Settings, samples: Path, name: str) -> None:
    folder = settings.data / name
    shutil.copytree(samples / name, folder)
    write_description(folder, Description(layout=name, lineage="sample"))
    manifest = build_manifest(settings, name)
    assert manifest.quarantine.empty
    assert set(manifest.table["split"]) == {"train", "val", "test"}
    assert manifest.channels == (3 if name == "camvid" else 1)
