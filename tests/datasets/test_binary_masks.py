"""Masks of two values as other programs write them: what 255 means, and what is said where nothing tells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drillcore.datasets.landing import import_dataset
from drillcore.datasets.manifest import Manifest, build_manifest
from drillcore.datasets.targets import label_reader
from drillcore.errors import DataError, LayoutError
from drillcore.settings import Settings

SIDE = 24
LEVELS = "background 0 0 0\nship 255 255 255\n"
Mask = Callable[[np.ndarray], Image.Image]  # from labels 0, 1 to a mask's picture


def palette(labels: np.ndarray, index: int) -> Image.Image:
    image = Image.fromarray((labels * index).astype(np.uint8))
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([0, 0, 0] * index + [255, 255, 255])
    return image


KINDS: dict[str, Mask] = {
    "grey 255": lambda labels: Image.fromarray((labels * 255).astype(np.uint8)),
    "grey 1": lambda labels: Image.fromarray(labels.astype(np.uint8)),
    "one bit": lambda labels: Image.fromarray((labels * 255).astype(np.uint8)).convert("1"),
    "colour": lambda labels: Image.fromarray((labels * 255).astype(np.uint8)).convert("RGB"),
    "palette 1": lambda labels: palette(labels, 1),
    "palette 255": lambda labels: palette(labels, 255),
    "16 bits": lambda labels: Image.fromarray((labels * 255).astype(np.uint16)),
}


def write(root: Path, mask: Mask, classes: str, *, ship: int = 1, count: int = 12) -> Path:
    random = np.random.default_rng(5)
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for number in range(count):
        labels = np.zeros((SIDE, SIDE), np.int64)
        labels[number % 8 : number % 8 + 9, 6:17] = ship
        pixels = random.integers(0, 80, labels.shape) + 120 * labels
        Image.fromarray(pixels.astype(np.uint8)).save(root / "images" / f"{number}.png")
        mask(labels).save(root / "masks" / f"{number}.png")
    (root / "classes.txt").write_text(classes)
    return root


def manifest_of(settings: Settings, source: Path) -> Manifest:
    import_dataset(settings, "boats", source, layout="masks")
    return build_manifest(settings, "boats", folder=settings.landing / "boats")


def labels_of(settings: Settings, manifest: Manifest) -> set[int]:
    settings.data.mkdir(parents=True, exist_ok=True)
    (settings.landing / "boats").rename(settings.data / "boats")
    read = label_reader(settings, manifest)
    return {int(value) for row in manifest.table.to_dict("records") for value in np.unique(read(row))}


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_that_is_given_white_is_learnt_however_white_is_stored(
    settings: Settings, tmp_path: Path, kind: str
) -> None:
    manifest = manifest_of(settings, write(tmp_path / "set", KINDS[kind], LEVELS))
    assert (len(manifest.table), len(manifest.quarantine)) == (12, 0)
    trained = int((manifest.table["split"] == "train").sum())
    assert manifest.painted == {"background": trained, "ship": trained}
    assert labels_of(settings, manifest) == {0, 1}


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ("background 0 0 0\nship 255 255 255\nwake 128 128 128\n", [0, 2, 1]),
        ("background 0 0 0\nwake 128 128 128\nship 255 255 255\n", [0, 1, 2]),
        ("background 0 0 0\nship 255 255 255\nvoid 128 128 128\n", [0, 255, 1]),
        ("background 0 0 0\nwake 128 128 128\nvoid 255 255 255\n", [0, 1, 255]),
        ("background 0 0 0\nwake 128 128 128\n", [0, 1, 255]),
        ("background\nwake 128 128 128\n", [0, 1, 255]),
        ("ship 255 255 255\nbackground 0 0 0\nwake 128 128 128\n", [1, 2, 0]),
    ],
)
def test_three_grey_levels_are_read_as_the_file_gives_them(tmp_path: Path, classes: str, expected: list[int]) -> None:
    from drillcore.datasets.layouts.mask_folders import MasksLayout

    layout = MasksLayout()
    layout.items(write(tmp_path / "set", KINDS["grey 1"], classes))
    assert layout.read_target(np.array([[0, 128, 255]], np.uint8)).tolist() == [expected]


def test_indices_stay_indices_where_not_every_class_has_a_level(tmp_path: Path) -> None:
    from drillcore.datasets.layouts.mask_folders import MasksLayout

    layout = MasksLayout()
    layout.items(write(tmp_path / "set", KINDS["grey 1"], "sea\nship 0 0 0\nwake 1 1 1\n"))
    assert layout.read_target(np.array([[0, 1, 2]], np.uint8)).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("kind", ["grey 255", "16 bits"])
def test_white_that_nothing_explains_is_void_and_the_class_without_a_pixel_is_named(
    settings: Settings, tmp_path: Path, kind: str
) -> None:
    from drillcore.datasets.ingest import check_dataset, way_on

    import_dataset(settings, "boats", write(tmp_path / "set", KINDS[kind], "background\nship\n"), layout="masks")
    check = check_dataset(settings, "boats")
    assert not check.ok
    assert "every class has pixels in the training masks" in check.report.reason
    assert "ship" in check.report.reason
    assert "ship 255 255 255" in way_on(settings, check.report)


def test_masks_of_one_value_fail_by_the_name_of_what_they_lack(settings: Settings, tmp_path: Path) -> None:
    from drillcore.datasets.ingest import check_dataset

    source = write(tmp_path / "set", KINDS["grey 1"], LEVELS, ship=0)
    import_dataset(settings, "boats", source, layout="masks")
    check = check_dataset(settings, "boats")
    assert [row.column for row in check.report.failed] == ["train"]
    assert "ship" in check.report.reason


def test_white_paint_that_no_class_has_says_what_to_write(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"colour #ffffff is none of those.*ship 255 255 255"):
        manifest_of(settings, write(tmp_path / "set", KINDS["colour"], "background\nship\n"))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("0 0 0 background\n255 255 255 ship\n", "name red green blue is expected"),
        ("background 9 9 9\nship 9 9 9\n", "one colour, 9 9 9"),
    ],
)
def test_a_file_of_classes_that_means_two_things_is_refused(tmp_path: Path, classes: str, message: str) -> None:
    from drillcore.datasets.layouts.mask_folders import MasksLayout

    with pytest.raises(LayoutError, match=message):
        MasksLayout().items(write(tmp_path / "set", KINDS["grey 1"], classes))
