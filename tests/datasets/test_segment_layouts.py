from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drillcore.datasets.catalogue import get_layout
from drillcore.datasets.layouts.msrc import segment_classes
from drillcore.datasets.synthetic import folder_digest, write_sample
from drillcore.datasets.synthetic.segments import mat_bytes, write_msrc
from drillcore.errors import BadImageError, LayoutError


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.height, image.width


SHARED = Path(__file__).parents[3] / "shared" / "data"
BSDS, MSRC = get_layout("bsds500"), get_layout("msrc")


@pytest.fixture(scope="module")
def bsds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bsds")
    assert write_sample("bsds500", folder) == 14
    return folder


@pytest.fixture(scope="module")
def msrc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("msrc")
    assert write_sample("msrc", folder) == 12
    return folder


def test_samples_have_the_same_bytes_each_time(bsds: Path, msrc: Path, tmp_path: Path) -> None:
    write_sample("bsds500", tmp_path / "b")
    write_sample("msrc", tmp_path / "m")
    assert folder_digest(tmp_path / "b") == folder_digest(bsds)
    assert folder_digest(tmp_path / "m") == folder_digest(msrc)


@pytest.mark.parametrize("inside", ["", "BSDS500", "BSDS500/data"])
def test_bsds_is_found_from_any_of_its_folders(bsds: Path, inside: str) -> None:
    items = BSDS.items(bsds / inside)
    assert [item.split for item in items].count("train") == 8
    assert [item.split for item in items].count("val") == 4
    assert items[0].path.startswith("images/test/")
    assert items[0].target_path == items[0].path.replace("images", "groundTruth").replace(".jpg", ".mat")


def test_bsds_has_several_people_s_segments(bsds: Path) -> None:
    item = BSDS.items(bsds)[0]
    assert item.target is not None
    first, second, third = BSDS.read_truths(item.target, max_pixels=10**6)
    assert first.dtype == np.int32
    assert (first.min(), third.max()) == (0, 1)
    assert first.max() >= second.max() >= third.max()
    assert first.shape == size_of(item.source)


def test_images_without_a_truth_or_a_split_are_images(bsds: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    shutil.copy(BSDS.items(bsds)[0].source, tmp_path / "images" / "1.jpg")
    [item] = BSDS.items(tmp_path)
    assert (item.split, item.target, item.target_path) == (None, None, None)


def test_msrc_cleaned_has_void_beyond_the_list_of_classes(msrc: Path) -> None:
    items = MSRC.items(msrc)
    assert len(items) == 12
    assert MSRC.extras(msrc)[0][1] == "labels.txt"
    for item in items:
        assert item.target is not None
        [truth] = MSRC.read_truths(item.target, max_pixels=10**6)
        assert (truth[:, :4] == -1).all()
        assert truth.max() + 1 == len(segment_classes(msrc)[item.source.stem])


def test_msrc_as_published_has_the_same_segments_in_colours(msrc: Path, tmp_path: Path) -> None:
    write_msrc(tmp_path, cleaned=False)
    published = {item.source.stem: item.target for item in MSRC.items(tmp_path)}
    assert all(path is not None and path.name.endswith("_GT.bmp") for path in published.values())
    for item in MSRC.items(msrc):
        mine, cleaned = published[item.source.stem], item.target
        assert mine is not None
        assert cleaned is not None
        [painted], [truth] = MSRC.read_truths(mine, max_pixels=10**6), MSRC.read_truths(cleaned, max_pixels=10**6)
        assert np.array_equal(painted < 0, truth < 0)
        pairs = np.unique(np.stack([painted.ravel(), truth.ravel()]), axis=1)
        # Each painted part lies in one segment: a thing across another parts it in two.
        assert len(np.unique(pairs[0])) == pairs.shape[1]


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def png(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def test_broken_truths_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadImageError, match=r"has no cells groundTruth"):
        BSDS.read_truths(write(tmp_path / "a.mat", b"no MATLAB file"), max_pixels=10**6)
    zero = mat_bytes([np.full((4, 4), -1, np.int32)])
    with pytest.raises(BadImageError, match=r"numbered from 1"):
        BSDS.read_truths(write(tmp_path / "b.mat", zero), max_pixels=10**6)
    with pytest.raises(BadImageError, match=r"at most 10 are read"):
        BSDS.read_truths(write(tmp_path / "c.mat", mat_bytes([np.zeros((4, 4), np.int32)])), max_pixels=10)
    write(tmp_path / "m" / "labels.txt", b"x 3 4\n")
    with pytest.raises(BadImageError, match=r"segments up to 7, labels.txt lists 2"):
        MSRC.read_truths(write(tmp_path / "m" / "GroundTruth" / "x.png", png(np.full((4, 4), 7))), max_pixels=10**6)


@pytest.mark.parametrize("layout", [BSDS, MSRC], ids=["bsds500", "msrc"])
def test_another_folder_is_refused(layout: object, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(LayoutError, match="expected"):
        layout.items(tmp_path)  # type: ignore[attr-defined]


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data are not here")
@pytest.mark.parametrize(("file", "layout", "count"), [("bsds500_train_val", BSDS, 300), ("msrc_v2", MSRC, 119)])
def test_the_real_files_load(file: str, layout: object, count: int, tmp_path: Path) -> None:
    shutil.unpack_archive(SHARED / f"{file}.zip", tmp_path)
    items = layout.items(tmp_path)  # type: ignore[attr-defined]
    assert len(items) == count
    for item in items[:: count // 10]:
        truths = layout.read_truths(item.target, max_pixels=10**6)  # type: ignore[attr-defined]
        assert {truth.shape for truth in truths} == {size_of(item.source)}
