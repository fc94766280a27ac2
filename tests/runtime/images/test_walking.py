"""One rule for what a folder of images holds: images by suffix, read or not; what programs hide is left out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from image_case import encoded, reason_of

from drillcore.runtime.images.image_files import IMAGE_SUFFIXES, OTHER_SUFFIXES, RAW_SUFFIXES
from drillcore.runtime.images.walking import claims_image, is_hidden, is_hidden_path, list_folder, walk_images

HIDDEN = (
    ".Trash-1000",
    ".ipynb_checkpoints",
    "@eaDir",
    "__MACOSX",
    "lost+found",
    "$RECYCLE.BIN",
    "System Volume Information",
    "#recycle",
    ".git",
    "._dust.png",
)


def put(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


@pytest.mark.parametrize("name", HIDDEN)
def test_what_programs_hide_is_left_out_at_any_depth(tmp_path: Path, name: str) -> None:
    put(tmp_path / "crab" / "a.png", tmp_path / name / "b.png", tmp_path / "crab" / name / "deeper" / "c.png")
    assert list(walk_images(tmp_path)) == ["crab/a.png"]
    assert [entry.name for entry in list_folder(tmp_path)[0]] == ["crab"]
    assert is_hidden(name)
    assert is_hidden_path(f"crab/{name}/deeper/c.png")
    assert not is_hidden_path("crab/a.png")


def test_a_folder_that_is_hidden_itself_may_be_the_top(tmp_path: Path) -> None:
    put(tmp_path / ".cache" / "a.png")
    assert list(walk_images(tmp_path / ".cache")) == ["a.png"]


def test_names_that_only_resemble_hidden_ones_are_images(tmp_path: Path) -> None:
    put(tmp_path / "@home.png", tmp_path / "lost" / "a.png", tmp_path / "#1" / "b.png", tmp_path / "~x" / "c.png")
    assert sorted(walk_images(tmp_path)) == ["#1/b.png", "@home.png", "lost/a.png", "~x/c.png"]


def test_every_image_suffix_is_found_read_or_not_in_any_case(tmp_path: Path) -> None:
    names = [f"a{suffix}" for suffix in (*IMAGE_SUFFIXES, *OTHER_SUFFIXES, *RAW_SUFFIXES)]
    put(*(tmp_path / name for name in names), tmp_path / "B.JFIF", tmp_path / "C.Heic", tmp_path / "notes.txt")
    assert sorted(walk_images(tmp_path)) == sorted([*names, "B.JFIF", "C.Heic"])
    assert not claims_image("a.png.part")
    assert not claims_image("png")


@pytest.mark.parametrize("suffix", RAW_SUFFIXES)
def test_a_cameras_raw_file_is_set_aside_although_a_thumbnail_in_it_could_be_read(suffix: str) -> None:
    from PIL import Image

    assert reason_of(encoded(Image.linear_gradient("L"), "TIFF"), f"x{suffix.upper()}") == "format"


@pytest.mark.parametrize("suffix", OTHER_SUFFIXES)
def test_another_format_is_set_aside_under_its_suffix(suffix: str) -> None:
    assert reason_of(b"\0\0\0\x18ftypheic" + bytes(100), f"x{suffix}") == "format"


def test_a_folder_that_cannot_be_read_is_one_entry_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "a" / "1.png", tmp_path / "b" / "2.png", tmp_path / "c" / "3.png")
    scandir = os.scandir

    def refusing(path: str) -> object:  # root may read everything: mode 000 would not stop the tests' user
        if Path(path) == tmp_path / "b":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert sorted(walk_images(tmp_path)) == ["a/1.png", "b/", "c/3.png"]


def test_the_top_must_be_readable(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        list(walk_images(tmp_path / "nowhere"))


def test_links_are_walked_once_and_the_skipped_folder_never(tmp_path: Path) -> None:
    put(tmp_path / "a" / "1.png", tmp_path / "out" / "2.png")
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "again").symlink_to(tmp_path / "a")
    (tmp_path / "linked.png").symlink_to(tmp_path / "a" / "1.png")
    found = list(walk_images(tmp_path, skip=os.path.realpath(tmp_path / "out")))
    assert len(found) == 2
    assert "linked.png" in found
    assert sum(path.endswith("1.png") for path in found) == 1


def test_a_name_that_is_no_utf_8_is_escaped(tmp_path: Path) -> None:
    name = os.fsdecode(b"b\xe4r.png")
    try:
        put(tmp_path / name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert list(walk_images(tmp_path)) == ["b\\xe4r.png"]
