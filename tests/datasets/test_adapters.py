"""Labels as other tools write them: a CSV file, imagefolder, COCO, YOLO; what is odd is left out with its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from drillcore.datasets.adapters.base import Choices
from drillcore.datasets.adapters.coco import decode_runs
from drillcore.datasets.description import read_description
from drillcore.datasets.ingest import check_dataset, would_take
from drillcore.datasets.landing import import_dataset, layout_of
from drillcore.errors import DrillcoreError, InputError, LayoutError
from drillcore.settings import Settings


def picture(path: Path, seed: int, size: tuple[int, int] = (24, 20)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def table(folder: Path, header: str = "file,species", delimiter: str = ",") -> Path:
    rows = [header.replace(",", delimiter)]
    for number in range(12):
        picture(folder / "pictures" / f"{number % 6}" / f"a{number // 6}.png", number)
        rows.append(delimiter.join((f"pictures/{number % 6}/a{number // 6}.png", ("cat", "dog, small")[number % 2])))
    text = "\n".join(rows).replace(",dog, small", ',"dog, small"') + "\n"
    (folder / "labels.csv").write_text(text, encoding="utf-8-sig")
    return folder / "labels.csv"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_of_paths_and_labels(settings: Settings, tmp_path: Path, delimiter: str) -> None:
    found = import_dataset(settings, "pets", table(tmp_path / "source", delimiter=delimiter), layout="csv")
    assert (found.images, found.set_aside) == (12, 0)
    assert found.taken == {"cat": 6, "dog, small": 6}
    assert read_description(settings.landing / "pets").layout == "classes"
    # Files of one name from several folders keep what tells them apart.
    assert len({path.name for path in (settings.landing / "pets" / "cat").iterdir()}) == 6
    assert all(not path.is_symlink() for path in settings.landing.rglob("*"))


def test_rows_that_cannot_be_taken_are_left_out_with_their_reason(settings: Settings, tmp_path: Path) -> None:
    path = table(tmp_path / "source", header="image,label")
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    more = ["gone.png,cat", "pictures/0/a0.png,", ",cat", "pictures/1/a1.png,a/b", "pictures/0/a0.png,cat"]
    path.write_text("\n".join([*lines, *more]) + "\n")
    with pytest.raises(LayoutError, match="would be set aside"):
        import_dataset(settings, "pets", path, layout="csv")
    assert not (settings.landing / "pets").exists()
    loose = Settings.load(settings.root, env={"DRILLCORE_QUARANTINE_LIMIT": "0.5"})
    before = import_dataset(loose, "pets", path, layout="csv", dry_run=True)
    assert not (loose.landing / "pets").exists()
    found = import_dataset(loose, "pets", path, layout="csv")
    assert (found.images, found.set_aside) == (12, 5)
    assert found.left_out == {"unreadable": 1, "no_label": 1, "no_image": 1, "class_name": 1, "twice": 1}
    assert (before.images, before.left_out, before.taken) == (found.images, found.left_out, found.taken)


def test_columns_are_named_where_they_are_not_the_usual(settings: Settings, tmp_path: Path) -> None:
    path = table(tmp_path / "source", header="where,kind")
    with pytest.raises(LayoutError, match=r"Say --columns PATH,LABEL .* its columns: where, kind"):
        import_dataset(settings, "pets", path, layout="csv")
    with pytest.raises(LayoutError, match="no column 'what'"):
        import_dataset(settings, "pets", path, layout="csv", choices=Choices(columns=("where", "what")))
    assert import_dataset(settings, "pets", path, layout="csv", choices=Choices(columns=("where", "kind"))).images == 12


def test_splits_of_a_table_and_of_an_image_folder(settings: Settings, tmp_path: Path) -> None:
    source = tmp_path / "source"
    lines = ["path,label,split"]
    for number in range(9):
        picture(source / f"{number}.png", number)
        lines.append(f"{number}.png,{'ab'[number % 2]},{('train', 'validation', 'TEST')[number % 3]}")
    (source / "all.csv").write_text("\n".join(lines))
    found = import_dataset(settings, "lettered", source, layout="csv")
    assert found.taken == {"test/a": 2, "test/b": 1, "train/a": 2, "train/b": 1, "val/a": 1, "val/b": 2}
    (source / "all.csv").write_text("path,label,split\n0.png,a,training\n")
    with pytest.raises(LayoutError, match=r"all\.csv, line 2: split 'training' is none of"):
        import_dataset(settings, "lettered", source, layout="csv")
    for split in ("train", "test"):
        rows = []
        for number in range(3):
            picture(tmp_path / "hub" / split / f"{number}.png", 50 + number + 10 * (split == "test"))
            rows.append(json.dumps({"file_name": f"{number}.png", "label": "ab"[number % 2]}))
        (tmp_path / "hub" / split / "metadata.jsonl").write_text("\n".join(rows))
    found = import_dataset(settings, "hub", tmp_path / "hub", layout="imagefolder")
    assert found.taken == {"test/a": 2, "test/b": 1, "train/a": 2, "train/b": 1}


def tags(folder: Path, lines: list[str], stem: str = "a b", first: int = 0) -> Path:
    """A table of these lines, and twelve pictures of one name beside it, in folders 0 to 11."""
    for number in range(12):
        picture(folder / f"{number}" / f"{stem}.png", first + number)
    (folder / "tags.csv").write_text("\n".join(lines))
    return folder / "tags.csv"


def test_several_labels_of_an_image_by_a_separator(settings: Settings, tmp_path: Path) -> None:
    cells = ["cat|dog", " dog | cat|dog", "", "cat", "dog", "bird|cat"] * 2
    lines = ["path,tags", *(f"{number}/a b.png,{cell}" for number, cell in enumerate(cells))]
    several = Choices(label_separator="|")
    source = tags(tmp_path / "source", lines)
    looked = import_dataset(settings, "pets", source, layout="csv", choices=several, dry_run=True)
    found = import_dataset(settings, "pets", source, layout="csv", choices=several)
    assert found.taken == looked.taken == {"bird": 2, "cat": 8, "dog": 6, "no label": 2}
    items = layout_of(settings, "pets").items(settings.landing / "pets")
    assert sorted(item.labels or () for item in items) == sorted(
        [("cat", "dog"), ("cat", "dog"), (), ("cat",), ("dog",), ("bird", "cat")] * 2
    )
    assert {(box.x0, box.y0, box.x1, box.y1) for item in items for box in item.boxes} == {(0, 0, 24, 20)}
    verdict = would_take(settings, "pets")
    assert (verdict.takes, "12 images of 3 classes" in verdict.summary) == (True, True)
    # More of them: a table without splits too, and one that names them is told to belong elsewhere.
    more = tags(tmp_path / "more", ["path,labels", "3/more.png,bird"], "more", first=50)
    grown = import_dataset(settings, "pets", more, layout="csv", choices=several, append=True)
    assert (grown.images, grown.added) == (13, 1)
    listed = tags(tmp_path / "listed", ["path,labels,split", "4/c.png,bird,train", "5/c.png,,test"], "c", first=70)
    with pytest.raises(LayoutError, match=r"13 images would be passed over.*nothing was imported"):
        import_dataset(settings, "pets", listed, layout="csv", choices=several, append=True)
    assert len(layout_of(settings, "pets").items(settings.landing / "pets")) == 13
    with pytest.raises(InputError, match="has layout voc; --append with layout classes"):
        import_dataset(settings, "pets", more, layout="csv", append=True)


def test_rows_with_several_labels_that_cannot_be_taken(settings: Settings, tmp_path: Path) -> None:
    loose = Settings.load(settings.root, env={"DRILLCORE_QUARANTINE_LIMIT": "0.9"})
    lines = ["path,label,split", "0/a b.png,cat;dog,train", "1/a b.png,,test", "0/a b.png,cat,train", "2/a b.png"]
    lines += ["3/a b.png,a/b;cat,train", "4/a b.png,cat,", "bad.png,cat,val", "notes.txt,cat,val", "gone.png,cat,val"]
    source = tags(tmp_path / "source", lines)
    (tmp_path / "source" / "bad.png").write_bytes(b"no image")
    (tmp_path / "source" / "notes.txt").write_text("none either")
    several = Choices(label_separator=";")
    found = import_dataset(loose, "pets", source, layout="csv", choices=several)
    assert found.taken == {"test/no label": 1, "train/cat": 1, "train/dog": 1}
    reasons = {"twice": 1, "no_label": 1, "class_name": 1, "no_split": 1, "format": 1, "misnamed": 1}
    assert found.left_out == reasons | {"unreadable": 1}
    with pytest.raises(InputError, match="--label-separator is for --layout csv or imagefolder; classes has none"):
        import_dataset(loose, "pets", tmp_path / "source", layout="classes", choices=several)
    (tmp_path / "source" / "tags.csv").write_text("path,label\ngone.png,cat\n")
    with pytest.raises(LayoutError, match=r"no row can be taken; the first is left out: gone\.png: unreadable"):
        import_dataset(loose, "pets", source, layout="csv", choices=several)


def coco(folder: Path, *, boxes_only: bool = False) -> Path:
    """Three images: a square of class ship (7), a run-length mask of class buoy (3) over it, one empty image."""
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 7, "name": "ship"}]}
    content["categories"].append({"id": 3, "name": "buoy"})
    for number in range(3):
        picture(folder / "images" / f"{number}.png", number)
        content["images"].append({"id": number, "file_name": f"{number}.png", "height": 20, "width": 24})
    square = [4, 4, 14, 4, 14, 12, 4, 12]
    runs = [20 * 6 + 5, 3, 17, 3, 20 * 24 - 20 * 6 - 5 - 3 - 17 - 3]  # two columns of three pixels from (6, 5) on
    for image in (0, 1):
        row = {"id": 10 + image, "image_id": image, "category_id": 7, "bbox": [4, 4, 10, 8]}
        content["annotations"].append(row if boxes_only else row | {"segmentation": [square]})
    small = {"id": 20, "image_id": 0, "category_id": 3, "bbox": [6, 5, 2, 3]}
    mask = {"counts": runs, "size": [20, 24]}
    content["annotations"].append(small if boxes_only else small | {"segmentation": mask})
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def test_coco_outlines_become_label_maps(settings: Settings, tmp_path: Path) -> None:
    found = import_dataset(settings, "boats", coco(tmp_path / "source"), layout="coco")
    assert (found.images, found.set_aside) == (3, 0)
    assert (settings.landing / "boats" / "classes.txt").read_text().split() == ["background", "buoy", "ship"]
    mask = np.asarray(Image.open(settings.landing / "boats" / "masks" / "0.png"))
    assert mask[5:8, 6:8].tolist() == [[1, 1]] * 3  # the smaller thing lies on top
    assert mask[4:12, 4:14].min() >= 1
    assert mask[:4].max() == 0
    assert mask[0, 0] == 0
    assert np.asarray(Image.open(settings.landing / "boats" / "masks" / "2.png")).max() == 0
    items = layout_of(settings, "boats").items(settings.landing / "boats")
    assert all(item.target is not None for item in items)


def test_coco_boxes_become_crops_that_share_their_images_split(settings: Settings, tmp_path: Path) -> None:
    loose = Settings.load(settings.root, env={"DRILLCORE_QUARANTINE_LIMIT": "0.9"})
    source = coco(tmp_path / "source", boxes_only=True)
    with pytest.raises(LayoutError, match="say --as crops"):
        import_dataset(loose, "boats", source, layout="coco", choices=Choices(form="masks"))
    found = import_dataset(loose, "boats", source, layout="coco")
    assert (found.images, found.left_out) == (3, {"no_label": 1})
    crops = {path.name: path for path in (loose.landing / "boats").rglob("*.png")}
    assert size_of(crops["0-0.png"]) == (10, 8)
    assert size_of(crops["0-1.png"]) == (2, 3)
    assert crops["0-0.png"].parents[1] == crops["0-1.png"].parents[1]
    whole = np.asarray(Image.open(source / "images" / "0.png"))
    np.testing.assert_array_equal(np.asarray(Image.open(crops["0-1.png"])), whole[5:8, 6:8])


def test_run_lengths_as_counts_and_as_text() -> None:
    expected = np.zeros((3, 4), dtype=bool)
    expected[1:, 1] = expected[0, 2] = True
    np.testing.assert_array_equal(decode_runs([4, 3, 5], (3, 4)), expected)
    np.testing.assert_array_equal(decode_runs("435", (3, 4)), expected)
    # A run of 40 takes two characters; from the fourth on, differences to the run before the last.
    long = np.zeros((1, 100), dtype=bool)
    long[0, 40:50] = long[0, 92:] = True
    np.testing.assert_array_equal(decode_runs([40, 10, 42, 8], (1, 100)), long)
    np.testing.assert_array_equal(decode_runs("X1:Z1N", (1, 100)), long)
    with pytest.raises(ValueError, match="run lengths of 7 pixels for a mask of 12"):
        decode_runs([4, 3], (3, 4))


def yolo(folder: Path, lines: list[str]) -> Path:
    for split in ("train", "val"):
        for number in range(2):
            picture(folder / "images" / split / f"{split}{number}.png", number, (40, 20))
            (folder / "labels" / split).mkdir(parents=True, exist_ok=True)
            (folder / "labels" / split / f"{split}{number}.txt").write_text("\n".join(lines))
    (folder / "data.yaml").write_text("path: .\ntrain: images/train\nval: images/val\nnames: {0: buoy, 1: ship}\n")
    return folder


def test_yolo_boxes_and_outlines(settings: Settings, tmp_path: Path) -> None:
    found = import_dataset(settings, "crops", yolo(tmp_path / "boxes", ["1 0.5 0.5 0.5 0.5"]), layout="yolo")
    assert found.taken == {"train/ship": 2, "val/ship": 2}
    assert size_of(next((settings.landing / "crops").rglob("*.png"))) == (20, 10)
    outlines = yolo(tmp_path / "outlines", ["0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75"])
    found = import_dataset(settings, "masks-of-mine", outlines / "data.yaml", layout="yolo")
    assert found.taken == {"train": 2, "val": 2}
    mask = np.asarray(Image.open(settings.landing / "masks-of-mine" / "train" / "masks" / "train0.png"))
    assert mask[10, 20] == 1
    assert (mask[0].max(), mask[:, 0].max()) == (0, 0)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "no JSON that can be read"),
        ("a.json", "[]", "no lists images, annotations and categories"),
        ("a.json", '{"images": [{"id": 1}], "annotations": [], "categories": []}', "not in COCO's form: KeyError"),
        ("a.csv", "", "has no rows"),
        ("a.csv", "path,label\n", "has no rows"),
    ],
)
def test_files_that_are_something_else(settings: Settings, tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DrillcoreError, match=message):
        import_dataset(settings, "mine", tmp_path / name, layout="coco" if name.endswith("json") else "csv")
    assert not (settings.landing / "mine").exists()


def test_folders_that_are_something_else(settings: Settings, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png", 1)
    for layout, message in (
        ("csv", "one CSV file is expected"),
        ("imagefolder", "no metadata.csv or metadata.jsonl"),
        ("coco", "no JSON file"),
        ("yolo", "no class names"),
    ):
        with pytest.raises(LayoutError, match=message):
            import_dataset(settings, "mine", tmp_path / "in", layout=layout)


def test_what_an_adapter_made_is_checked_and_grows(tracked: Settings, tmp_path: Path) -> None:
    import_dataset(tracked, "pets", table(tmp_path / "source"), layout="csv")
    more = tmp_path / "more"
    picture(more / "new.png", 99)
    (more / "t.csv").write_text("path,label\nnew.png,cat\n")
    assert import_dataset(tracked, "pets", more, layout="csv", append=True).images == 13
    assert check_dataset(tracked, "pets").ok


def film(path: Path, seed: int, seconds: float, fps: int = 10) -> Path:
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (32, 24))
    generator = np.random.default_rng(seed)
    for _ in range(round(seconds * fps)):
        writer.write(generator.integers(0, 255, (24, 32, 3), np.uint8))
    writer.release()
    return path


def test_films_become_frames_of_one_split_each(settings: Settings, tmp_path: Path) -> None:
    source = tmp_path / "films"
    for number in range(4):
        film(source / "gull" / f"g{number}.avi", number, 2.1)
    film(source / "tern" / "only.avi", 9, 6)
    (source / "tern" / "no film.mp4").write_bytes(b"#EXTM3U\nhttp://127.0.0.1:9/a.ts\n")
    (source / "tern" / "notes.txt").write_text("no film either")
    done = import_dataset(settings, "birds", source, layout="video", choices=Choices(every=0.5))
    assert done.set_aside == 1
    assert done.first == "tern/no film.mp4: unreadable, no film that can be read"
    items = layout_of(settings, "birds").items(settings.landing / "birds")
    frames: dict[str, list[tuple[str | None, str]]] = {}
    for item in items:
        stem, _, milliseconds = item.source.stem.rpartition("-")
        frames.setdefault(stem, []).append((item.split, milliseconds))
    times = [f"{number:08d}" for number in (0, 500, 1000, 1500, 2000)]
    for number in range(4):
        assert [time for _, time in frames[f"g{number}"]] == times
        assert len({split for split, _ in frames[f"g{number}"]}) == 1
    splits = [split for split, _ in sorted(frames["only"], key=lambda one: one[1])]
    assert splits == ["train"] * 9 + ["val"] + ["test"] * 2  # a class with one film is cut in time
    assert sorted(frames[f"g{number}"][0][0] or "" for number in range(4)) == ["test", "train", "train", "val"]
    for every, message in ((0.0, "--every is 0; seconds between two frames"), (1.0, "no film in ")):
        with pytest.raises(DrillcoreError, match=message):
            import_dataset(settings, "none", source / "gull", layout="video", choices=Choices(every=every))
