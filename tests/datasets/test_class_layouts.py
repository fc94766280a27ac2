from __future__ import annotations

from pathlib import Path

import pytest

from drillcore.datasets.catalogue import DATASETS, get_layout
from drillcore.datasets.layouts.plankton import PUBLISHED_CLASSES
from drillcore.errors import LayoutError, UnknownNameError


def tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not read by a layout")
    return root


def found(root: Path, layout: str = "plankton", split: str | None = None) -> list[tuple[str, str | None, str | None]]:
    return [(item.path, item.split, item.label) for item in get_layout(layout).find(root, split)]


UNSPLIT = [("a/1.jpg", None, "a"), ("b/2.JPG", None, "b")]


@pytest.mark.parametrize(
    "names",
    [
        ("a/1.jpg", "b/2.JPG"),
        ("train/a/1.jpg", "train/b/2.JPG"),
        ("wrapped/train/a/1.jpg", "wrapped/train/b/2.JPG"),
        ("wrapped/a/1.jpg", "wrapped/b/2.JPG"),
        ("train/a/1.jpg", "train/b/2.JPG", "test/9.jpg"),  # the competition's own test images have no labels
        ("train/a/1.jpg", "train/b/2.JPG", "__MACOSX/train/a/._1.jpg", "train/a/.1.jpg", "train/b/Thumbs.db"),
        ("train/a/1.jpg", "train/b/2.JPG", "train/a/notes.txt", "sampleSubmission.csv", "train/c/readme.txt"),
    ],
)
def test_one_labelled_folder_names_no_split(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert found(tree(tmp_path, *names)) == UNSPLIT


def test_several_split_folders_name_splits_and_stay_in_the_path(tmp_path: Path) -> None:
    root = tree(tmp_path, "train/a/1.jpg", "validation/a/2.jpg", "test/a/1.jpg")
    assert found(root) == [
        ("test/a/1.jpg", "test", "a"),
        ("train/a/1.jpg", "train", "a"),
        ("validation/a/2.jpg", "val", "a"),
    ]
    assert found(root, split="val") == [("validation/a/2.jpg", "val", "a")]


def test_test_folder_alone_names_its_split(tmp_path: Path) -> None:
    root = tree(tmp_path, "test/a/1.jpg")
    assert found(root, split="test") == [("test/a/1.jpg", "test", "a")]
    with pytest.raises(LayoutError, match="no split 'val'; it has: test"):
        found(root, split="val")


def test_unnamed_splits_give_all_rows_whatever_is_asked(tmp_path: Path) -> None:
    assert found(tree(tmp_path, "train/a/1.jpg", "train/b/2.JPG"), split="test") == UNSPLIT


@pytest.mark.parametrize("names", [("a/1.jpg", "b/2.JPG"), ("train/a/1.jpg", "test/a/2.jpg", "c/3.png")])
def test_what_an_import_stores_is_found_under_the_same_paths(tmp_path: Path, names: tuple[str, ...]) -> None:
    first = found(tree(tmp_path / "source", *names))
    stored = tree(tmp_path / "stored", *(path for path, _, _ in first))
    assert found(stored) == first


def test_files_that_claim_to_be_images_are_found_to_be_set_aside_later(tmp_path: Path) -> None:
    assert [path for path, _, _ in found(tree(tmp_path, "a/1.gif", "a/2.eps", "a/3.heic", "a/4.md"))] == [
        "a/1.gif",
        "a/2.eps",
        "a/3.heic",
    ]


def test_a_class_may_be_called_train_in_ones_own_images(tmp_path: Path) -> None:
    root = tree(tmp_path, "bus/1.png", "train/2.png")
    assert found(root, "classes") == [("bus/1.png", None, "bus"), ("train/2.png", None, "train")]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "nothing that is visible"),
        (("readme.txt",), "expected <class>/<image>"),
        (("1.jpg", "2.jpg"), r"found 2 entries \(1.jpg, 2.jpg\)"),
        (("test/1.jpg",), "no labelled images"),
    ],
)
def test_another_layout_is_one_clear_line(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(LayoutError, match=message) as caught:
        found(tree(tmp_path, *names))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("a/1.jpg", "2.jpg"), "no_label"),
        (("train/a/1.jpg", "train/2.jpg"), "no_label"),
        (("a/1.jpg", "a/b/2.jpg"), "nested"),
        ((" a/1.jpg", "b/1.jpg"), "class_name"),
        (("a\nb/1.jpg", "b/1.jpg"), "class_name"),
        (("a\\b/1.jpg", "b/1.jpg"), "class_name"),
        (("a" * 130 + "/1.jpg", "b/1.jpg"), "class_name"),
        (("a/1\n.jpg", "a/2.jpg"), "name"),
    ],
)
def test_one_file_out_of_place_is_found_with_its_fault(tmp_path: Path, names: tuple[str, ...], reason: str) -> None:
    items = get_layout("plankton").items(tree(tmp_path, *names))
    assert [item.fault[0] for item in items if item.fault] == [reason]
    assert "\n" not in "".join(item.path for item in items if item.fault)
    assert sum(item.fault is None for item in items) == 1


def test_a_source_that_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="no such folder"):
        found(tmp_path / "missing")
    with pytest.raises(LayoutError, match="is a file"):
        found(tree(tmp_path, "x.zip") / "x.zip")


def test_unknown_data_set_names_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="did you mean plankton"):
        get_layout("planktn")


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_fractions_are_shares(name: str) -> None:
    assert set(DATASETS[name].fractions) == {"train", "val", "test"}
    assert abs(sum(DATASETS[name].fractions.values()) - 1) < 1e-9


def test_published_classes() -> None:
    assert len(PUBLISHED_CLASSES) == 121
    assert list(PUBLISHED_CLASSES) == sorted(PUBLISHED_CLASSES)


@pytest.mark.shared
def test_the_competition_has_the_published_classes(shared_dir: Path) -> None:
    import zipfile

    with zipfile.ZipFile(shared_dir / "data" / "plankton_train.zip") as archive:
        classes = {name.split("/")[1] for name in archive.namelist() if name.endswith(".jpg")}
    assert classes == set(PUBLISHED_CLASSES)
