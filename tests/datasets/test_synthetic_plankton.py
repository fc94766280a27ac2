from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drillcore.datasets.catalogue import get_layout
from drillcore.datasets.layouts.plankton import PUBLISHED_CLASSES
from drillcore.datasets.synthetic import folder_digest, write_sample
from drillcore.errors import UnknownNameError

PINNED = "11c4505083464b9d6ec0ec37e01af8d8fdf72878753742355717d6ef0f290c98"


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    assert write_sample("plankton", folder) == 720
    return folder


def test_the_same_bytes_on_every_machine(sample: Path) -> None:
    assert folder_digest(sample) == PINNED


def test_the_competitions_layout(sample: Path) -> None:
    items = list(get_layout("plankton").find(sample))
    counts = Counter(item.label for item in items)
    assert len(items) == 720
    assert len(counts) == 14
    assert set(counts) <= set(PUBLISHED_CLASSES)
    assert min(counts.values()) == 36
    assert max(counts.values()) == 72
    assert {item.split for item in items} == {None}


def test_grey_dark_on_white_each_of_its_own_size(sample: Path) -> None:
    sizes = set()
    digests = set()
    for path in sample.rglob("*.jpg"):
        with Image.open(path) as image:
            assert (image.format, image.mode) == ("JPEG", "L")
            sizes.add(image.size)
            pixels = np.asarray(image)
        digests.add(pixels.tobytes())
        assert np.median(pixels) > 100 or pixels.mean() > 100, path
        assert pixels.min() < 140, path
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert np.median(border) > 235, path
    assert len(sizes) > 500
    assert len(digests) == 720


def test_another_seed_draws_another_set(tmp_path: Path, sample: Path) -> None:
    write_sample("plankton", tmp_path, seed=1)
    assert folder_digest(tmp_path) != folder_digest(sample)


def test_unknown_sample(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"known: .*plankton"):
        write_sample("zooplankton", tmp_path)
