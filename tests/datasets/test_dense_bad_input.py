"""Bad input of dense data sets: everything is named in the report or set aside, nothing becomes a wrong answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drillcore.datasets.catalogue import get_layout
from drillcore.datasets.description import Description, write_description
from drillcore.datasets.layouts.camvid import VOID, CamvidLayout
from drillcore.datasets.manifest import Manifest, build_manifest
from drillcore.datasets.targets import read_labels
from drillcore.quality import validate
from drillcore.quality.frames import Facts
from drillcore.runtime.images.decode import decode_file
from drillcore.settings import Settings

Pixels = np.ndarray
Images = dict[str, tuple[Pixels | Image.Image, Pixels | Image.Image | None]]
RNG = np.random.default_rng(0)


def noise(*shape: int) -> Pixels:
    return RNG.integers(0, 256, shape, np.uint8)


def put(path: Path, pixels: Pixels | Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(path)


def palette_image(labels: Pixels) -> Image.Image:
    image = Image.fromarray(labels, "P")
    image.putpalette([component for index in range(256) for component in (index, 255 - index, 7)])
    return image


def streets(settings: Settings, images: Images) -> Manifest:
    folder = settings.data / "camvid"
    write_description(folder, Description(layout="camvid", lineage="import-1"))
    good = {f"good{index}": (noise(64, 80, 3), noise(64, 80) % 12) for index in range(3)}
    for name, (image, target) in (good | images).items():
        put(folder / f"train/{name}.png", image)
        if target is not None:
            put(folder / f"trainannot/{name}.png", target)
    return build_manifest(settings, "camvid")


def seas(settings: Settings, images: Images) -> Manifest:
    folder = settings.data / "baeri"
    write_description(folder, Description(layout="baeri", lineage="import-1"))
    good = {
        f"good{index}.tif": (RNG.normal(-15, 5, (64, 80)).astype(np.float32), np.eye(64, 80, dtype=np.uint8) * 255)
        for index in range(6)
    }
    for name, (image, target) in (good | images).items():
        put(folder / f"images/{name}", image)
        if target is not None:
            put(folder / f"masks/{Path(name).stem}.png", target)
    return build_manifest(settings, "baeri")


def reasons(manifest: Manifest) -> dict[str, str]:
    return dict(zip(manifest.quarantine["path"], manifest.quarantine["reason"], strict=True))


def details(manifest: Manifest) -> dict[str, str]:
    return dict(zip(manifest.quarantine["path"], manifest.quarantine["detail"], strict=True))


def failed(settings: Settings, manifest: Manifest) -> str:
    facts = Facts(
        dataset=manifest.dataset,
        layout=manifest.layout,
        task=manifest.task,
        classes=manifest.classes,
        table=manifest.table,
        quarantine=manifest.quarantine,
    )
    return validate(settings, facts, docs=False).reason


def test_labels_that_do_not_fit_a_street(settings: Settings) -> None:
    labels = noise(64, 80) % 12
    unknown = labels.copy()
    unknown[3, 4] = 12
    painted = np.array([*CamvidLayout.colours, (0, 0, 0)], np.uint8)[labels]
    odd_colour = painted.copy()
    odd_colour[5, 6] = (1, 2, 3)
    found = streets(
        settings,
        {
            "turned": (noise(64, 80, 3), labels.T),
            "larger": (noise(64, 80, 3), np.pad(labels, 1)),
            "unknown": (noise(64, 80, 3), unknown),
            "none": (noise(64, 80, 3), None),
            "painted": (noise(64, 80, 3), painted),
            "odd_colour": (noise(64, 80, 3), odd_colour),
            "void": (noise(64, 80, 3), np.full((64, 80), VOID, np.uint8)),
            "sixteen": (noise(64, 80, 3), labels.astype(np.uint16) * 257),
        },
    )
    assert reasons(found) == {
        "train/larger.png": "label_size",
        "train/none.png": "no_label",
        "train/odd_colour.png": "label_value",
        "train/sixteen.png": "label_value",
        "train/turned.png": "label_size",
        "train/unknown.png": "label_value",
    }
    said = details(found)
    assert "80 x 64" in said["train/turned.png"]
    assert "64 x 80" in said["train/turned.png"]
    assert "label 12 is not one of 0 to 11" in said["train/unknown.png"]
    assert "#010203" in said["train/odd_colour.png"]
    assert {"train/painted.png", "train/void.png"} <= set(found.table["path"])


def test_palette_and_alpha_keep_their_labels(settings: Settings) -> None:
    labels = noise(64, 80) % 12
    painted = np.array([*CamvidLayout.colours, (0, 0, 0)], np.uint8)[labels]
    half_seen = np.dstack([painted, noise(64, 80)])  # an alpha channel hides no label
    found = streets(
        settings,
        {
            "palette": (noise(64, 80, 3), palette_image(labels)),
            "alpha": (noise(64, 80, 3), half_seen),
        },
    )
    layout = get_layout("camvid")
    for name in ("palette", "alpha"):
        row = found.table[found.table["path"] == f"train/{name}.png"].iloc[0]
        mask = read_labels(layout, found.target_of(row), settings)
        assert np.array_equal(mask, labels)


def sorted_palette(painted: Pixels, colours: list[tuple[int, int, int]]) -> Image.Image:
    """An image painted in colours, stored with a palette in that order, as a program that saves space leaves it."""
    indices = np.argmax((painted[:, :, None] == np.array(colours)).all(axis=3), axis=2).astype(np.uint8)
    image = Image.fromarray(indices, "P")
    image.putpalette([component for colour in colours for component in colour])
    return image


def test_a_sorted_palette_is_read_by_its_colours(settings: Settings) -> None:
    labels = noise(64, 80) % 12
    colours = [*CamvidLayout.colours, (0, 0, 0)]
    painted = np.array(colours, np.uint8)[labels]
    found = streets(
        settings,
        {
            "sorted": (noise(64, 80, 3), sorted_palette(painted, colours[::-1])),
            "published": (noise(64, 80, 3), sorted_palette(painted, colours)),
        },
    )
    for name in ("sorted", "published"):
        row = found.table[found.table["path"] == f"train/{name}.png"].iloc[0]
        assert np.array_equal(read_labels(get_layout("camvid"), found.target_of(row), settings), labels)


def test_white_before_black_is_no_sea_of_ships(settings: Settings) -> None:
    ship = np.zeros((64, 80, 3), np.uint8)
    ship[10:20, 10:20] = (255, 0, 0)
    white = np.where(ship.any(axis=2, keepdims=True), np.uint8(255), np.uint8(0)).repeat(3, axis=2)
    image = RNG.normal(-15, 5, (64, 80)).astype(np.float32)
    found = seas(
        settings,
        {
            "red.tif": (image, sorted_palette(ship, [(255, 0, 0), (0, 0, 0)])),
            "white.tif": (image + 1, sorted_palette(white, [(255, 255, 255), (0, 0, 0)])),
            "black.tif": (image + 2, sorted_palette(white, [(0, 0, 0), (255, 255, 255)])),
        },
    )
    for name in ("red", "white", "black"):
        row = found.table[found.table["path"] == f"images/{name}.tif"].iloc[0]
        assert read_labels(get_layout("baeri"), found.target_of(row), settings).sum() == 100


def test_photographs_with_palette_and_alpha_are_decoded_or_named(settings: Settings) -> None:
    labels = noise(64, 80) % 12
    found = streets(
        settings,
        {
            "palette": (palette_image(noise(64, 80)), labels),
            "alpha": (noise(64, 80, 4), labels),
            "grey": (noise(64, 80), labels),
        },
    )
    for path in found.table["path"]:
        assert decode_file(found.path_of(path), 3, max_pixels=10**6).shape == (64, 80, 3)
    assert reasons(found) == {"train/alpha.png": "mode", "train/grey.png": "mode"}
    assert "stored as RGBA" in details(found)["train/alpha.png"]


@pytest.mark.parametrize("shape", [(64, 1), (1, 80), (1, 1), (5, 5)])
def test_images_smaller_than_any_backbone_sees(settings: Settings, shape: tuple[int, int]) -> None:
    found = streets(settings, {"thin": (noise(*shape, 3), noise(*shape) % 12)})
    # One pixel has the same value everywhere.
    assert reasons(found) == {"train/thin.png": "constant" if shape == (1, 1) else "too_small"}
    assert shape == (1, 1) or "at least 60 a side" in details(found)["train/thin.png"]


@pytest.mark.parametrize("shape", [(64, 1), (1, 80)])
def test_thin_strips_of_sea(settings: Settings, shape: tuple[int, int]) -> None:
    strip = RNG.normal(-15, 5, shape).astype(np.float32)
    found = seas(settings, {"thin.tif": (strip, np.zeros(shape, np.uint8))})
    assert reasons(found) == {"images/thin.tif": "too_small"}
    assert "at least 32 a side" in details(found)["images/thin.tif"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_no_number(settings: Settings, value: float) -> None:
    image = RNG.normal(-15, 5, (64, 80)).astype(np.float32)
    image[10, 20] = value
    found = seas(settings, {"bad.tif": (image, np.zeros((64, 80), np.uint8))})
    assert reasons(found) == {"images/bad.tif": "not_finite"}
    assert "NaN or infinity" in details(found)["images/bad.tif"]


def test_labels_that_do_not_fit_a_sea(settings: Settings) -> None:
    image: Callable[[], Pixels] = lambda: RNG.normal(-15, 5, (64, 80)).astype(np.float32)  # noqa: E731
    found = seas(
        settings,
        {
            "turned.tif": (image(), np.zeros((80, 64), np.uint8)),
            "none.tif": (image(), None),
            "float.tif": (image(), None),
            "colour.tif": (image(), np.dstack([np.eye(64, 80, dtype=np.uint8)] * 3)),
            "palette.tif": (image(), palette_image(np.eye(64, 80, dtype=np.uint8))),
            "bits.tif": (image(), Image.fromarray(np.eye(64, 80, dtype=np.uint8) * 255).convert("1")),
        },
    )
    assert reasons(found) == {
        "images/float.tif": "no_label",
        "images/none.tif": "no_label",
        "images/turned.tif": "label_size",
    }
    layout = get_layout("baeri")
    for name in ("colour", "palette", "bits"):
        row = found.table[found.table["path"] == f"images/{name}.tif"].iloc[0]
        mask = read_labels(layout, found.target_of(row), settings)
        assert np.array_equal(mask, np.eye(64, 80, dtype=np.uint8))


def test_a_mask_with_alpha_is_ship_by_its_colours_alone(settings: Settings) -> None:
    opaque = np.zeros((64, 80, 4), np.uint8)
    opaque[..., 3] = 255
    opaque[10:20, 10:20, 0] = 255
    found = seas(settings, {"alpha.tif": (RNG.normal(-15, 5, (64, 80)).astype(np.float32), opaque)})
    row = found.table[found.table["path"] == "images/alpha.tif"].iloc[0]
    mask = read_labels(get_layout("baeri"), found.target_of(row), settings)
    assert mask.sum() == 100


def test_every_image_is_a_row_or_in_the_quarantine(settings: Settings) -> None:
    found = seas(
        settings,
        {
            "constant.tif": (np.full((64, 80), -20, np.float32), np.zeros((64, 80), np.uint8)),
            "eight.png": (noise(64, 80), np.zeros((64, 80), np.uint8)),
            "sixteen.tif": (RNG.integers(0, 65536, (64, 80)).astype(np.uint16), np.zeros((64, 80), np.uint8)),
            "counts.tif": (RNG.integers(0, 9, (64, 80)).astype(np.int32), np.zeros((64, 80), np.uint8)),
        },
    )
    assert reasons(found) == {"images/constant.tif": "constant", "images/counts.tif": "format"}
    assert len(found.table) + len(found.quarantine) == 10
    said = failed(settings, found)
    assert "set aside at most" in said
