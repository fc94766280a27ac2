"""Pascal VOC's layout: labels and boxes, difficult ones, lists of splits, and everything that can be wrong with it."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drillcore.datasets.base import Box
from drillcore.datasets.landing import import_dataset
from drillcore.datasets.layouts.voc import VocLayout
from drillcore.datasets.manifest import Manifest, build_manifest, read_manifest, write_manifest
from drillcore.datasets.synthetic import folder_digest, write_sample
from drillcore.errors import InputError, LayoutError
from drillcore.settings import Settings

DOG = ("dog", (1, 1, 30, 20), 0)


def thing(name: str, sides: tuple[object, ...], difficult: int = 0, more: str = "") -> str:
    x0, y0, x1, y1 = sides
    box = f"<bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox>"
    return f"<object><name>{name}</name><difficult>{difficult}</difficult>{more}{box}</object>"


def write(root: Path, images: dict[str, list[tuple[str, tuple[object, ...], int]]], **lists: str) -> Path:
    """Write a year of images of 40 x 30 pixels."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, (name, things) in enumerate(images.items()):
        pixels = np.random.default_rng([len(name), number, *name.encode()]).integers(0, 255, (30, 40, 3), np.uint8)
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.png")
        objects = "".join(thing(*one) for one in things)
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")
    for split, names in lists.items():
        (root / "ImageSets/Main" / f"{split}.txt").write_text("\n".join(names.split()))
    return root


def faults(root: Path) -> dict[str, str]:
    return {item.path: item.fault[0] for item in VocLayout().items(root) if item.fault}


def imported(settings: Settings, source: Path, **more: object) -> Manifest:
    import_dataset(settings, "voc", source, **more)  # type: ignore[arg-type]
    shutil.copytree(settings.landing / "voc", settings.data / "voc", dirs_exist_ok=True)
    return build_manifest(settings, "voc")


def test_labels_are_those_of_boxes_that_are_not_difficult(tmp_path: Path) -> None:
    cow, far = ("cow", (5, 6, 40, 30), 0), ("cow", (1, 1, 3, 3), 1)
    root = write(tmp_path / "VOC2007", {"a": [DOG, cow, DOG], "b": [DOG, far], "c": [], "d": [cow, far]})
    found = {item.path: item for item in VocLayout().items(tmp_path)}
    assert {path: (item.labels, item.unjudged) for path, item in found.items()} == {
        "VOC2007/JPEGImages/a.png": (("cow", "dog"), ()),
        "VOC2007/JPEGImages/b.png": (("dog",), ("cow",)),
        "VOC2007/JPEGImages/c.png": ((), ()),
        "VOC2007/JPEGImages/d.png": (("cow",), ()),
    }
    assert found["VOC2007/JPEGImages/a.png"].boxes[1] == Box(x0=4, y0=5, x1=40, y1=30, label="cow")
    assert [item.path for item in VocLayout().items(root)] == [f"JPEGImages/{name}.png" for name in "abcd"]


def test_parts_of_objects_are_no_boxes_and_fractions_are_rounded(tmp_path: Path) -> None:
    root = write(tmp_path, {"a": []})
    part = "<part><name>head</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>"
    text = f"<annotation>{thing('dog', (0, '1.6', '30.2', 20), 0, part + '<truncated>1</truncated>')}</annotation>"
    (root / "Annotations/a.xml").write_text(text)
    (item,) = VocLayout().items(root)
    assert item.boxes == (Box(x0=0, y0=1, x1=30, y1=20, label="dog", truncated=True),)


def test_splits_are_those_of_the_lists(tmp_path: Path) -> None:
    five = {name: [DOG] for name in "abcde"}
    root = write(tmp_path, five, train="a b", val="c", test="d", cow_train="e")
    assert {item.path[-5]: item.split for item in VocLayout().items(root)} == {
        "a": "train", "b": "train", "c": "val", "d": "test"
    }  # fmt: skip
    shutil.rmtree(root / "ImageSets")
    write(root, {}, trainval="a b c", val="c", test="d")
    assert {item.path[-5]: item.split for item in VocLayout().items(root)} == {
        "a": "train", "b": "train", "c": "val", "d": "test"
    }  # fmt: skip
    shutil.rmtree(root / "ImageSets")
    write(root, {}, train="a b c d")
    assert {item.split for item in VocLayout().items(root)} == {None}
    shutil.rmtree(root / "ImageSets")
    assert [item.path[-5] for item in VocLayout().items(root)] == list("abcde")


def test_what_is_wrong_with_an_image_is_told(tmp_path: Path) -> None:
    bad = {
        "a": [DOG],
        "b": [("dog", (9, 9, 8, 20), 0)],
        "c": [("dog", ("x", 9, 8, 20), 0)],
        "d": [(" ", (1, 1, 9, 9), 0)],
        "e": [("do/g", (1, 1, 9, 9), 0)],
        "f": [DOG],
        "g": [DOG],
        "h": [DOG],
    }
    root = write(tmp_path, bad, train="a b c d e f g h gone")
    (root / "Annotations/f.xml").write_text("<annotation><object>")
    (root / "Annotations/g.xml").unlink()
    (root / "Annotations/h.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>')
    assert faults(root) == {
        "JPEGImages/b.png": "box",
        "JPEGImages/c.png": "box",
        "JPEGImages/d.png": "label_unreadable",
        "JPEGImages/e.png": "class_name",
        "JPEGImages/f.png": "label_unreadable",
        "JPEGImages/g.png": "no_label",
        "JPEGImages/gone.jpg": "no_image",
        "JPEGImages/h.png": "label_unreadable",
    }


def test_a_box_outside_the_image_sets_it_aside(settings: Settings, tmp_path: Path) -> None:
    images = {f"{number:02d}": [DOG] for number in range(12)} | {"out": [("dog", (1, 1, 41, 20), 0)]}
    manifest = imported(settings, write(tmp_path / "source", images))
    assert manifest.quarantine[["path", "reason"]].to_numpy().tolist() == [["JPEGImages/out.png", "box"]]
    assert "reaches outside 40 x 30 pixels" in manifest.quarantine["detail"][0]


def test_what_is_no_voc_is_refused(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(LayoutError, match=r"expected JPEGImages/<name>.jpg"):
        import_dataset(settings, "voc", tmp_path)
    with pytest.raises(LayoutError, match="names of images without folders"):
        VocLayout().items(write(tmp_path / "lists", {"a": [DOG]}, train="../a"))


def test_manifest_and_import(settings: Settings, tmp_path: Path) -> None:
    write_sample("voc", tmp_path / "sample")
    with zipfile.ZipFile(tmp_path / "voc.zip", "w") as archive:
        for path in sorted((tmp_path / "sample").rglob("*")):
            archive.write(path, path.relative_to(tmp_path / "sample"))
    manifest = imported(settings, tmp_path / "voc.zip")
    assert manifest.task == "multilabel"
    assert manifest.classes == ("cross", "disc", "ring", "square")
    assert manifest.table["split"].value_counts().to_dict() == {"train": 44, "test": 22, "val": 14}
    write_manifest(settings, manifest)
    again = read_manifest(settings, "voc", manifest.digest)
    matrix = again.label_matrix(again.table)
    assert matrix.sum(axis=0).min() > 15
    assert (matrix.sum(axis=1) == 0).any()
    assert (matrix.sum(axis=1) > 1).sum() > 20
    boxes = [box for row in again.table["boxes"] for box in row]
    assert any(box["difficult"] for box in boxes)
    assert all(0 <= box["x0"] < box["x1"] <= 160 and 0 <= box["y0"] < box["y1"] <= 120 for box in boxes)


def test_lists_are_added_and_none_is_overwritten(settings: Settings, tmp_path: Path) -> None:
    def images(letter: str) -> dict[str, list[tuple[str, tuple[object, ...], int]]]:
        return {f"{letter}{number}": [DOG] for number in range(4)}

    first = write(tmp_path / "first", images("a"), train="a0 a1", val="a2", test="a3")
    second = write(tmp_path / "second", images("b"), train="b0 b1 b2", val="b3")
    imported(settings, first)
    manifest = imported(settings, second, append=True)
    counts = manifest.table["split"].value_counts().to_dict()
    assert counts == {"train": 5, "val": 2, "test": 1}


def test_images_of_ones_own_have_a_name_of_their_own(settings: Settings, tmp_path: Path) -> None:
    source = write(tmp_path, {f"{number}": [DOG] for number in range(4)})
    assert import_dataset(settings, "pets", source, layout="voc").images == 4
    with pytest.raises(InputError, match="choose another name"):
        import_dataset(settings, "voc", source, layout="voc")


def test_the_sample_is_the_same_everywhere(tmp_path: Path) -> None:
    assert write_sample("voc", tmp_path) == 80
    assert folder_digest(tmp_path) == "09a15252ad1c88892465c81ab140f443b0d0f1fdbb4e5046688129b21da2ecc6"


@pytest.mark.shared
def test_real_animals(shared_dir: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared_dir / "data" / "voc2012_animals.zip") as archive:
        archive.extractall(tmp_path)
    items = VocLayout().items(tmp_path)
    assert len(items) == 797
    assert {name for item in items for name in item.labels or ()} == {"cat", "cow", "dog", "horse", "sheep"}
    assert not any(item.fault for item in items)
