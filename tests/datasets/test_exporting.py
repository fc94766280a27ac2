"""Out and in again: the same images, labels and splits; what does not fit is refused before a file is written."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shells import write_shells

from drillcore.datasets.export_formats import export_dataset
from drillcore.datasets.landing import import_dataset
from drillcore.datasets.manifest import Manifest, build_manifest
from drillcore.datasets.targets import label_reader
from drillcore.errors import InputError
from drillcore.settings import Settings


def brought(settings: Settings, name: str, source: Path, layout: str) -> Manifest:
    import_dataset(settings, name, source, layout=layout)
    settings.data.mkdir(exist_ok=True)
    shutil.copytree(settings.landing / name, settings.data / name)
    return build_manifest(settings, name)


def facts(manifest: Manifest) -> list[tuple[str, str, str]]:
    rows = manifest.rows()
    return sorted(zip(rows["sha256"], rows["label"], rows["split"], strict=True))


def test_images_come_back_with_their_labels_and_splits(settings: Settings, tmp_path: Path) -> None:
    first = brought(settings, "shells", write_shells(tmp_path / "source", 12), "classes")
    for form in ("classes", "csv"):
        done = export_dataset(settings, first, tmp_path / form, form)
        assert sum(done.splits.values()) == len(first.rows())
        again = brought(settings, f"shells-{form}", tmp_path / form, form)
        assert facts(again) == facts(first)
    with (tmp_path / "csv" / "labels.csv").open(encoding="utf-8") as stream:
        assert len(list(csv.DictReader(stream))) == len(first.rows())
    with pytest.raises(InputError, match="is not empty"):
        export_dataset(settings, first, tmp_path / "csv")
    with pytest.raises(InputError, match="labels of images: it is exported as classes or csv, not coco"):
        export_dataset(settings, first, tmp_path / "new", "coco")
    assert not (tmp_path / "new").exists()


def test_masks_come_back_pixel_by_pixel(settings: Settings, tmp_path: Path) -> None:
    source, random = tmp_path / "source", np.random.default_rng(0)
    for folder in ("images", "masks"):
        (source / folder).mkdir(parents=True)
    for number in range(20):
        pixels = random.integers(0, 255, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(source / "images" / f"{number}.png")
        labels = random.integers(0, 3, (12, 16), dtype=np.uint8)
        labels[0, :2] = 255 if number == 0 else 0
        Image.fromarray(labels).save(source / "masks" / f"{number}.png")
    (source / "classes.txt").write_text("background 0 0 0\nship 255 0 0\nbuoy 0 255 0\n")
    first = brought(settings, "boats", source, "masks")
    truth = {row["sha256"]: (row["split"], label_reader(settings, first)(row)) for _, row in first.rows().iterrows()}
    for form in ("masks", "coco"):
        export_dataset(settings, first, tmp_path / form, form)
        again = brought(settings, f"boats-{form}", tmp_path / form, form)
        order = [again.classes.index(name) for name in first.classes]
        read = label_reader(settings, again)
        for _, row in again.rows().iterrows():
            split, labels = truth.pop(row["sha256"]) if form == "coco" else truth[row["sha256"]]
            # COCO has no void: what is no thing is background there.
            expected = np.array([*order, *[255] * 253], np.uint8)[labels] if form == "masks" else None
            if expected is None:
                expected = np.array([*order, *[0] * 253], np.uint8)[labels]
            assert row["split"] == split
            np.testing.assert_array_equal(read(row), expected)
    assert not truth


def test_labels_of_every_pixel_come_back_without_a_background(settings: Settings, tmp_path: Path) -> None:
    source, random = tmp_path / "source", np.random.default_rng(0)
    for folder in ("images", "masks"):
        (source / folder).mkdir(parents=True)
    for number in range(10):
        Image.fromarray(random.integers(0, 255, (9, 11, 3), dtype=np.uint8)).save(source / "images" / f"{number}.png")
        Image.fromarray(random.integers(0, 2, (9, 11), dtype=np.uint8)).save(source / "masks" / f"{number}.png")
    (source / "classes.txt").write_text("sea\nship\n")
    first = brought(settings, "boats", source, "masks")
    truth = {row["sha256"]: label_reader(settings, first)(row) for _, row in first.rows().iterrows()}
    export_dataset(settings, first, tmp_path / "coco", "coco")
    again = brought(settings, "boats-coco", tmp_path / "coco", "coco")
    assert again.classes == ("sea", "ship")
    for _, row in again.rows().iterrows():
        np.testing.assert_array_equal(label_reader(settings, again)(row), truth[row["sha256"]])
