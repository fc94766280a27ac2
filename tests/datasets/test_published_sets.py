"""MIT-67, Birds-200, human attributes and actions in their published layouts, on a few drawn images each."""

from __future__ import annotations

import shutil
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


def acting(
    source: Path, people: dict[str, dict[str, list[str]]], boxes: dict[str, list[tuple[int, int, int, int]]]
) -> Path:
    """Write Pascal VOC's actions: by split the people "<image> <number>" and what each does, and the images' boxes."""
    root = source / "VOCdevkit" / "VOC2012"
    for folder in ("Annotations", "ImageSets/Action"):
        (root / folder).mkdir(parents=True)
    for number, (name, sides) in enumerate(boxes.items()):
        drawn(root / "JPEGImages" / f"{name}.jpg", number, (24, 30))
        objects = "".join(
            f"<object><name>person</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
            "</bndbox></object>"
            for x0, y0, x1, y1 in sides
        )
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")
    for split, told in people.items():
        (root / "ImageSets/Action" / f"{split}.txt").write_text("".join(f"{one}\n" for one in told))
        for action in ("reading", "walking"):
            lines = (f"{one}  {1 if action in does else -1}\n" for one, does in told.items())
            (root / "ImageSets/Action" / f"{action}_{split}.txt").write_text("".join(lines))
    return source


def test_people_that_act_are_squares_with_mirrored_borders(tmp_path: Path, settings: Settings) -> None:
    train = {f"a {number}": ["walking"] for number in (1, 2)} | {"b 1": ["reading", "walking"], "c 1": [], "d 3": []}
    val = {"e 1": ["reading", "walking"], "e 2": ["reading"], "gone 1": ["walking"], "f 1": ["walking"]}
    boxes = {
        "a": [(3, 4, 12, 20), (1, 2, 21, 8)],
        "b": [(1, 1, 9, 9)],
        "c": [(2, 2, 9, 9)],
        "d": [(2, 2, 9, 9)],
        "e": [(2, 2, 9, 9), (5, 5, 25, 20)],
        "f": [(5, 5, 31, 20)],
    }
    result = import_dataset(settings, "voc-actions", acting(tmp_path / "in", {"train": train, "val": val}, boxes))
    assert (result.images, result.set_aside) == (5, 4)
    items = {item.path[-7:-4]: item for item in get_layout("voc").items(settings.landing / "voc-actions")}
    assert {name: (item.split, item.labels) for name, item in items.items()} == {
        "a_1": ("train", ("walking",)),
        "a_2": ("train", ("walking",)),
        "c_1": ("train", ()),
        "e_1": ("test", ("reading", "walking")),
        "e_2": ("test", ("reading",)),
    }
    whole = np.asarray(Image.open(tmp_path / "in/VOCdevkit/VOC2012/JPEGImages/a.jpg"))
    # 10 x 17 from (2, 3): 17 wide, from column -1 on; 21 x 7 from (0, 1): 21 high, from row -6 on.
    tall, wide = (np.asarray(Image.open(items[name].source)) for name in ("a_1", "a_2"))
    np.testing.assert_array_equal(tall, np.concatenate([whole[3:20, :1], whole[3:20, :16]], axis=1))
    np.testing.assert_array_equal(wide, np.concatenate([whole[:6][::-1], whole[:15]])[:, :21])
    (box,) = items["a_1"].boxes
    assert (box.x0, box.y0, box.x1, box.y1, box.label) == (3, 0, 13, 17, "walking")


def test_what_is_no_set_of_actions_is_refused(tmp_path: Path, settings: Settings) -> None:
    source = acting(tmp_path / "in", {"train": {"a 1": ["walking"]}}, {"a": [(1, 1, 9, 9)]})
    lists = source / "VOCdevkit/VOC2012/ImageSets/Action"
    (lists / "walking_train.txt").write_text("a walking\n")
    with pytest.raises(LayoutError, match=r"walking_train.txt says 'a walking'; an image, a number and 1 or -1"):
        import_dataset(settings, "voc-actions", source)
    (lists / "walking_train.txt").write_text("a 7 1\n")
    (lists / "reading_train.txt").unlink()
    with pytest.raises(LayoutError, match=r"no person with an action .* object 7 of 1"):
        import_dataset(settings, "voc-actions", source)
    shutil.rmtree(lists)
    with pytest.raises(LayoutError, match=r"no ImageSets/Action in"):
        import_dataset(settings, "voc-actions", source)
