"""MIT-67, Birds-200 and the human attributes in their published layouts, on a few drawn images each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drillcore.datasets.catalogue import get_layout
from drillcore.datasets.landing import import_dataset
from drillcore.errors import LayoutError
from drillcore.settings import Settings


def drawn(path: Path, seed: int, size: tuple[int, int] = (24, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(path, quality=95)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    root = tmp_path / "checkout"
    root.mkdir()
    return Settings.load(root, env={"DRILLCORE_QUARANTINE_LIMIT": "0.5"})


def test_mit67_is_what_its_lists_name(tmp_path: Path, settings: Settings) -> None:
    source = tmp_path / "mit"
    lists: dict[str, list[str]] = {"TrainImages.txt": [], "TestImages.txt": []}
    for kind in ("bakery", "bar"):
        for number in range(6):
            drawn(source / "Images" / kind / f"{number}.jpg", number + 10 * len(kind))
            if number < 5:  # the sixth is in no list
                lists["TrainImages.txt" if number < 4 else "TestImages.txt"].append(f"{kind}/{number}.jpg")
    lists["TestImages.txt"].append("bar/gone.jpg")
    for name, lines in lists.items():
        (source / name).write_text("\n".join(lines) + "\n")
    result = import_dataset(settings, "mit67", source)
    assert (result.images, result.set_aside) == (10, 1)
    items = [item for item in get_layout("classes").items(settings.landing / "mit67") if item.fault is None]
    assert Counter((item.split, item.label) for item in items) == {
        ("train", "bakery"): 4,
        ("test", "bakery"): 1,
        ("train", "bar"): 4,
        ("test", "bar"): 1,
    }
    (source / "TestImages.txt").unlink()
    with pytest.raises(LayoutError, match=r"no TestImages.txt"):
        import_dataset(settings, "mit67", source)


def test_birds_are_cropped_to_their_boxes(tmp_path: Path, settings: Settings) -> None:
    source = tmp_path / "CUB_200_2011"
    tables: dict[str, list[str]] = {
        "classes.txt": ["1 001.Wren", "2 002.Crow"],
        "images.txt": [],
        "image_class_labels.txt": [],
        "train_test_split.txt": [],
        "bounding_boxes.txt": [],
    }
    for number in range(1, 9):
        kind, name = (1, "001.Wren") if number % 2 else (2, "002.Crow")
        drawn(source / "images" / name / f"bird_{number}.png", number)
        tables["images.txt"].append(f"{number} {name}/bird_{number}.png")
        tables["image_class_labels.txt"].append(f"{number} {kind}")
        tables["train_test_split.txt"].append(f"{number} {int(number < 7)}")
        tables["bounding_boxes.txt"].append(f"{number} 5.0 3.0 12.0 {'9.0' if number < 8 else '0.0'}")
    for table, lines in tables.items():
        (source / table).write_text("\n".join(lines) + "\n")
    result = import_dataset(settings, "birds200", source.parent)
    assert (result.images, result.set_aside) == (7, 1), "a box of no area is set aside"
    items = [item for item in get_layout("classes").items(settings.landing / "birds200") if item.fault is None]
    assert {(item.split, item.label) for item in items} >= {("train", "001.Wren"), ("test", "001.Wren")}
    first = next(item for item in items if "bird_1-" in item.path)
    whole = np.asarray(Image.open(source / "images" / "001.Wren" / "bird_1.png"))
    np.testing.assert_array_equal(np.asarray(Image.open(first.source)), whole[3:12, 5:17])


def test_people_have_the_attributes_that_are_told(tmp_path: Path, settings: Settings) -> None:
    source = tmp_path / "attributes"
    for split, count in (("train", 3), ("test", 2)):
        lines = []
        for number in range(count):
            drawn(source / split / f"{number}.jpg", number)
            lines.append(f"{number}.jpg 2 1 10 20 1 {1 if number else -1} 0 -1 -1 -1 -1 1 -1")
        if split == "train":
            lines.append("0.jpg 2 1 10 20 1 1")
        (source / split / "labels.txt").write_text("\n".join(lines) + "\n")
    result = import_dataset(settings, "h3d", source)
    assert (result.images, result.set_aside) == (5, 1)
    items = [item for item in get_layout("voc").items(settings.landing / "h3d") if item.fault is None]
    assert Counter(item.split for item in items) == {"train": 3, "test": 2}
    person = next(item for item in items if item.path.endswith("train-00001.png"))
    assert set(person.labels or ()) == {"male", "long hair", "jeans"}
    assert person.unjudged == ("glasses",)
    with Image.open(person.source) as image:
        assert image.size == (10, 20)
