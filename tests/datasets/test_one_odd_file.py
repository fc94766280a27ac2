"""One odd file in a source never stops the others: it is set aside with its reason; only shares refuse."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drillcore.datasets.landing import import_dataset
from drillcore.datasets.manifest import build_manifest
from drillcore.errors import LayoutError
from drillcore.settings import Settings

COUNT = 12


def picture(seed: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8))


def classes(root: Path) -> Path:
    for number, name in enumerate(("crab", "shrimp")):
        (root / name).mkdir(parents=True)
        for index in range(COUNT):
            picture(100 * number + index).save(root / name / f"{index}.png")
    return root


def masked(root: Path) -> Path:
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for index in range(2 * COUNT):
        picture(index).save(root / "images" / f"{index}.png")
        labels = np.zeros((48, 40), np.uint8)
        labels[: 10 + index] = 1
        Image.fromarray(labels).save(root / "masks" / f"{index}.png")
    (root / "classes.txt").write_text("sea\nship\n")
    return root


def no_file(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


Odd = Callable[[Path], object]
IN_CLASSES: dict[str, tuple[str, Odd]] = {
    "small": ("too_small", lambda root: picture(1, (30, 5)).save(root / "crab/small.png")),
    "thin": ("too_large", lambda root: picture(1, (9, 20_100)).save(root / "crab/thin.png")),
    "ppm": ("format", lambda root: picture(1).save(root / "crab/old.ppm")),
    "heic": ("format", lambda root: (root / "crab/photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(90))),
    "empty": ("empty", lambda root: (root / "crab/empty.png").touch()),
    "constant": ("constant", lambda root: Image.new("L", (30, 30), 7).save(root / "crab/flat.png")),
    "stray": ("no_label", lambda root: picture(1).save(root / "stray.png")),
    "nested": ("nested", lambda root: ((root / "crab/more").mkdir(), picture(1).save(root / "crab/more/x.png"))),
    "newline": ("name", lambda root: picture(1).save(root / "crab/a\nb.png")),
    "backslash": ("name", lambda root: picture(1).save(root / "crab/a\\b.png")),
    "no UTF-8": ("name", lambda root: picture(1).save(os.fsencode(root) + b"/crab/\xff.png")),
    "broken link": ("unreadable", lambda root: no_file(root / "crab/link.png")),
    "pipe": ("unreadable", lambda root: os.mkfifo(root / "crab/pipe.png")),
    "class": ("class_name", lambda root: ((root / "a\tb").mkdir(), picture(1).save(root / "a\tb/x.png"))),
}
IN_MASKS: dict[str, tuple[str, Odd]] = {
    "no mask": ("no_label", lambda root: (root / "masks/3.png").unlink()),
    "no image": ("no_image", lambda root: (root / "images/3.png").unlink()),
    "size": ("label_size", lambda root: Image.new("L", (5, 5)).save(root / "masks/3.png")),
    "value": ("label_value", lambda root: Image.new("L", (40, 48), 9).save(root / "masks/3.png")),
    "colour": ("label_value", lambda root: Image.new("RGB", (40, 48), (1, 2, 3)).save(root / "masks/3.png")),
    "unreadable mask": ("label_unreadable", lambda root: (root / "masks/3.png").write_bytes(b"no picture")),
    "two images": ("same_name", lambda root: picture(1).save(root / "images/3.jpg")),
    "two masks": ("same_name", lambda root: picture(1).save(root / "masks/3.bmp")),
    "mask is a pipe": ("unreadable", lambda root: ((root / "masks/3.png").unlink(), os.mkfifo(root / "masks/3.png"))),
    "small": ("too_small", lambda root: picture(1, (48, 5)).save(root / "images/3.png")),
    "newline": ("name", lambda root: (root / "images/3.png").rename(root / "images/3\n.png")),
}


def reasons(settings: Settings, source: Path, layout: str | None, name: str = "mine") -> list[str]:
    import_dataset(settings, name, source, layout=layout)
    manifest = build_manifest(settings, name, folder=settings.landing / name)
    assert len(manifest.table) >= 2 * COUNT - 1
    assert all(
        "\n" not in path + detail for path, detail in manifest.quarantine[["path", "detail"]].itertuples(index=False)
    )
    return list(manifest.quarantine["reason"])


@pytest.mark.parametrize("odd", IN_CLASSES)
def test_in_class_folders(settings: Settings, tmp_path: Path, odd: str) -> None:
    reason, add = IN_CLASSES[odd]
    source = classes(tmp_path / "set")
    add(source)
    assert reasons(settings, source, "classes") == [reason]


@pytest.mark.parametrize("odd", IN_MASKS)
def test_in_images_with_masks(settings: Settings, tmp_path: Path, odd: str) -> None:
    reason, add = IN_MASKS[odd]
    source = masked(tmp_path / "set")
    add(source)
    found = reasons(settings, source, "masks")
    assert set(found) <= {reason, "no_image"}
    assert reason in found


@pytest.mark.parametrize(
    ("mode", "reason"), [("RGBA", "mode"), ("CMYK", "mode"), ("1", "mode"), ("I;16", "mode"), ("RGB", ""), ("L", "")]
)
def test_a_published_layout_sets_aside_what_it_does_not_have(
    settings: Settings, tmp_path: Path, mode: str, reason: str
) -> None:
    source = classes(tmp_path / "set")
    image = picture(1) if mode != "I;16" else Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40))
    (image if mode == "I;16" else image.convert(mode)).save(source / "crab" / ("x.tif" if mode == "CMYK" else "x.png"))
    assert reasons(settings, source, None, "plankton") == [reason] * bool(reason)


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JPG", ".pjpeg"])
def test_a_jpeg_is_a_jpeg_under_each_of_its_suffixes(settings: Settings, tmp_path: Path, suffix: str) -> None:
    source = classes(tmp_path / "set")
    picture(1).save(source / "crab" / f"download{suffix}", format="JPEG")
    assert reasons(settings, source, "classes") == []
    assert len(build_manifest(settings, "mine", folder=settings.landing / "mine").table) == 2 * COUNT + 1


@pytest.mark.parametrize(
    "name", ["a\u202fPM", "a\u00a0b", "\U0001f468\u200d\U0001f52c", "\u05d0\u200f", "e\u0301", "a'\"b", "%s", "-x"]
)
def test_names_of_valid_letters_are_taken(settings: Settings, tmp_path: Path, name: str) -> None:
    source = classes(tmp_path / "set")
    picture(1).save(source / "crab" / f"{name}.png")
    assert reasons(settings, source, "classes") == []
    assert (settings.landing / "mine" / "crab" / f"{name}.png").is_file()


@pytest.mark.parametrize(
    "name", ["part<Crustacea", "egg>other", "a:b", "what?", "Copepoda sp.", "~x", "a|b", "a*b", 'q"q']
)
def test_class_names_that_a_folder_may_have_are_taken(settings: Settings, tmp_path: Path, name: str) -> None:
    source = classes(tmp_path / "set")
    (source / "crab").rename(source / name)
    assert reasons(settings, source, "classes") == []
    assert build_manifest(settings, "mine", folder=settings.landing / "mine").classes == tuple(sorted(("shrimp", name)))


def test_names_that_look_alike_are_one_class_and_that_is_said(settings: Settings, tmp_path: Path) -> None:
    source = classes(tmp_path / "set")
    composed, decomposed = "\u00e9phyra", "e\u0301phyra"
    for number, name in enumerate((composed, decomposed)):
        (source / name).mkdir()
        for index in range(6):
            picture(500 + 10 * number + index).save(source / name / f"{number}-{index}.png")
    result = import_dataset(settings, "mine", source, layout="classes")
    assert "composed form (NFC): \u00e9phyra" in result.text
    manifest = build_manifest(settings, "mine", folder=settings.landing / "mine")
    assert manifest.classes == ("crab", "shrimp", unicodedata.normalize("NFC", decomposed))
    assert int((manifest.table["label"] == composed).sum()) == 12


def test_hidden_folders_are_no_input(settings: Settings, tmp_path: Path) -> None:
    source = classes(tmp_path / "set")
    for name in ("@eaDir", ".ipynb_checkpoints", "lost+found", "__MACOSX"):
        for top in (source, source / "crab"):
            (top / name).mkdir()
            picture(1).save(top / name / "copy.png")
    assert reasons(settings, source, "classes") == []


def test_what_an_import_left_out_stays_counted_when_more_comes(settings: Settings, tmp_path: Path) -> None:
    source = classes(tmp_path / "set")
    picture(1).save(source / "crab/a\nb.png")
    result = import_dataset(settings, "mine", source, layout="classes")
    assert (result.images, result.set_aside) == (2 * COUNT, 1)
    assert "set aside: 1, for instance crab/a" in result.text
    more = tmp_path / "more"
    (more / "crab").mkdir(parents=True)
    picture(900).save(more / "crab/900.png")
    picture(901).save(more / "crab/0.png")  # another picture of a name that is there
    appended = import_dataset(settings, "mine", more, append=True)  # its layout is known
    assert (appended.images, appended.added, appended.set_aside) == (2 * COUNT + 1, 1, 1)
    manifest = build_manifest(settings, "mine", folder=settings.landing / "mine")
    assert sorted(manifest.quarantine["reason"]) == ["name", "same_name"]


def test_a_source_of_mostly_odd_files_is_refused_whole(settings: Settings, tmp_path: Path) -> None:
    source = classes(tmp_path / "set")
    for index in range(10):
        picture(index).save(source / f"{index}.png")
    with pytest.raises(LayoutError, match=r"10 of 34 images .* more than 5.0% .*the first 0.png: no_label"):
        import_dataset(settings, "mine", source, layout="classes")
    assert not (settings.landing / "mine").exists()
