"""Images of one's own with masks: classes from a file, indices or colours, void, import and manifest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drillcore.datasets.adapters.base import Choices
from drillcore.datasets.landing import import_dataset
from drillcore.datasets.layouts.mask_folders import MasksLayout
from drillcore.datasets.manifest import build_manifest
from drillcore.errors import InputError, LayoutError
from drillcore.settings import Settings


def write_set(root: Path, *, classes: str = "sea\nship 255 0 0\nvoid\n", images: int = 4) -> Path:
    generator = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number in range(images):
        Image.fromarray(generator.integers(0, 256, (12, 16), np.uint8)).save(root / "images" / f"s{number}.png")
        labels = generator.integers(0, 3, (12, 16)).astype(np.uint8)
        Image.fromarray(labels).save(root / "masks" / f"s{number}.png")
    (root / "classes.txt").write_text(classes)
    return root


def test_classes_colours_and_void_are_read(tmp_path: Path) -> None:
    layout = MasksLayout()
    items = layout.items(write_set(tmp_path / "set"))
    assert [item.path for item in items] == [f"images/s{number}.png" for number in range(4)]
    assert layout.classes == ("sea", "ship")
    assert layout.colours is not None
    assert layout.colours[1] == (255, 0, 0)
    labels = layout.read_target(np.array([[0, 1], [2, 255]]))
    assert labels.tolist() == [[0, 1], [255, 255]]


def test_masks_painted_in_colours(tmp_path: Path) -> None:
    layout = MasksLayout()
    layout.items(write_set(tmp_path / "set"))
    red, black = (255, 0, 0), (0, 0, 0)
    assert layout.read_target(np.array([[red, black]], np.uint8)).tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("", "one a line"),
        ("sea\n", "2 to"),
        ("sea\nsea\n", "twice"),
        ("void\nsea\n", "last"),
        ("sea\n../x\n", "refused"),
    ],
)
def test_a_file_of_classes_that_cannot_be_meant_is_refused(tmp_path: Path, classes: str, message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        MasksLayout().items(write_set(tmp_path / "set", classes=classes))


def test_an_import_keeps_the_classes_and_sets_unknown_labels_aside(tmp_path: Path, settings: Settings) -> None:
    source = write_set(tmp_path / "set", images=12)
    Image.fromarray(np.full((12, 16), 7, np.uint8)).save(source / "masks" / "s3.png")
    result = import_dataset(settings, "boats", source, layout="masks")
    assert result.images == 12
    settings.data.mkdir(parents=True, exist_ok=True)
    (settings.landing / "boats").rename(settings.data / "boats")
    manifest = build_manifest(settings, "boats")
    assert manifest.task == "dense"
    assert manifest.classes == ("sea", "ship")
    assert manifest.quarantine["reason"].tolist() == ["label_value"]
    assert manifest.quarantine["path"].tolist() == ["images/s3.png"]
    assert set(manifest.table["split"]) >= {"train", "test"}


def test_a_suffix_of_masks_names_is_told_once(settings: Settings, tmp_path: Path) -> None:
    root = write_set(tmp_path / "set")
    for path in sorted((root / "masks").iterdir()):
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    done = import_dataset(settings, "boats", root, layout="masks", choices=Choices(mask_suffix="_mask"))
    assert (done.images, done.set_aside) == (4, 0)
    assert {path.name for path in (settings.landing / "boats/masks").iterdir()} == {f"s{one}.png" for one in range(4)}
    assert all(item.target for item in MasksLayout().items(settings.landing / "boats"))
    with pytest.raises(InputError, match="--mask-suffix is for --layout masks"):
        import_dataset(settings, "boats", root, layout="csv", choices=Choices(mask_suffix="_mask"))
