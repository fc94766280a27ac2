from __future__ import annotations

import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import drillcore.datasets.probe as probe_module
from drillcore.datasets.description import Description, write_description
from drillcore.datasets.manifest import (
    build_manifest,
    read_manifest,
    write_manifest,
)
from drillcore.datasets.manifest_table import ROWS, data_digest
from drillcore.errors import DataError, DrillcoreError, IntegrityError, LayoutError
from drillcore.settings import Settings

NAME = "plankton"


def put(folder: Path, name: str, seed: int, size: tuple[int, int] = (12, 9), channels: int = 1) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = size if channels == 1 else (*size, channels)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def folder(settings: Settings) -> Path:
    """A data set of two classes, ten images each."""
    folder = settings.data / NAME
    for number in range(20):
        put(folder, f"{'ab'[number % 2]}/{number:02d}.png", number)
    write_description(folder, Description(layout="plankton", lineage="import-1"))
    return folder


def test_rows_as_the_contract_says(settings: Settings, folder: Path) -> None:
    manifest = build_manifest(settings, NAME)
    assert manifest.table.columns.tolist() == ROWS.names
    assert manifest.table["path"].tolist() == sorted(manifest.table["path"])
    row = manifest.rows().iloc[0]
    assert (row["path"], row["width"], row["height"], row["channels"]) == ("a/00.png", 9, 12, 1)
    assert (row["mode"], row["dtype"], row["label"], row["target_path"]) == ("L", "uint8", "a", None)
    assert row["id"] == row["sha256"] == row["group"]
    assert row["bytes"] == manifest.path_of(row).stat().st_size
    assert (manifest.classes, manifest.channels, manifest.lineage) == (("a", "b"), 1, "import-1")
    assert manifest.label_indices(manifest.rows()).tolist() == [0] * 10 + [1] * 10
    assert manifest.table["split"].value_counts().to_dict() == {"train": 16, "val": 2, "test": 2}
    assert len(manifest.rows("val")) == 2
    assert len(manifest.rows(("train", "val"))) == 18
    assert manifest.quarantine.empty


@pytest.mark.slow
def test_an_image_takes_so_little_memory_that_a_million_fit(settings: Settings, folder: Path) -> None:
    """Python's own objects, what NumPy holds among them; the first manifest has imported what is imported late."""
    manifest = build_manifest(settings, NAME)
    count = 6_000
    for number in range(20, count):
        put(folder, f"{'ab'[number % 2]}/{number:04d}.png", number)
    for previous in (None, manifest):
        tracemalloc.start()
        build_manifest(settings, NAME, previous)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 5_000_000 + count * 1_500


def test_written_and_read_back(settings: Settings, folder: Path) -> None:
    put(folder, "a/bad.png", 0).write_bytes(b"")
    manifest = build_manifest(settings, NAME)
    path = write_manifest(settings, manifest)
    assert path == settings.manifests / NAME / f"{manifest.digest}.parquet"
    again = read_manifest(settings, NAME, manifest.digest)
    assert again.table.equals(manifest.table)
    assert again.quarantine.equals(manifest.quarantine)
    assert again.about() == manifest.about()
    assert build_manifest(settings, NAME, again).digest == manifest.digest


def test_the_digest_sees_content_label_and_split_and_not_the_order(settings: Settings, folder: Path) -> None:
    manifest = build_manifest(settings, NAME)
    table = manifest.table
    assert data_digest(table.iloc[::-1]) == manifest.digest
    for column, value in (("split", "none"), ("label", "c"), ("sha256", "0" * 64)):
        changed = table.copy()
        changed.loc[3, column] = value
        assert data_digest(changed) != manifest.digest


def test_bad_images_are_set_aside_and_the_rest_goes_on(settings: Settings, folder: Path) -> None:
    (folder / "a/empty.png").write_bytes(b"")
    whole = put(folder, "a/cut.png", 77, size=(90, 90)).read_bytes()
    (folder / "a/cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "b/eps.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    Image.new("L", (8, 8), 255).save(folder / "b/white.png")
    Image.new("L", (8, 8)).save(folder / "b/old.pgm")
    (folder / "b/gone.png").symlink_to(folder / "b/nowhere.png")
    manifest = build_manifest(settings, NAME)
    reasons = dict(zip(manifest.quarantine["path"], manifest.quarantine["reason"], strict=True))
    assert reasons == {
        "a/cut.png": "truncated",
        "a/empty.png": "empty",
        "b/eps.png": "misnamed",
        "b/gone.png": "unreadable",
        "b/old.pgm": "format",
        "b/white.png": "constant",
    }
    assert len(manifest.table) == 20
    digests = dict(zip(manifest.quarantine["path"], manifest.quarantine["sha256"], strict=True))
    assert digests["b/gone.png"] is None
    assert len(digests["a/cut.png"]) == 64


def test_an_image_with_two_labels_is_set_aside_with_all_its_copies(settings: Settings, folder: Path) -> None:
    shutil.copy(folder / "a/00.png", folder / "b/copy.png")
    manifest = build_manifest(settings, NAME)
    assert manifest.quarantine["path"].tolist() == ["a/00.png", "b/copy.png"]
    assert set(manifest.quarantine["reason"]) == {"conflicting_label"}
    assert "a, b" in manifest.quarantine["detail"][0]


def test_duplicates_share_group_and_split(settings: Settings, folder: Path) -> None:
    for copy in range(5):
        shutil.copy(folder / "a/00.png", folder / f"a/copy{copy}.png")
    table = build_manifest(settings, NAME).table
    same = table[table["sha256"] == table["sha256"][0]]
    assert len(same) == 6
    assert same["group"].nunique() == same["split"].nunique() == 1


def test_splits_are_carried_inside_a_lineage_only(settings: Settings, folder: Path) -> None:
    first = build_manifest(settings, NAME)
    flipped = first.table.assign(split=first.table["split"].map({"train": "test", "test": "train", "val": "val"}))
    previous = replace(first, table=flipped)
    put(folder, "a/99.png", 99)
    kept = build_manifest(settings, NAME, previous).table
    assert kept[kept["path"] != "a/99.png"]["split"].tolist() == flipped["split"].tolist()
    other = replace(previous, lineage="sample")
    assert build_manifest(settings, NAME, other).table["split"].value_counts()["train"] > 12


def test_only_what_has_changed_is_looked_at_again(
    settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    for path in folder.rglob("*.png"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    first = build_manifest(settings, NAME)
    looked: list[str] = []
    real = probe_module.probe_file
    monkeypatch.setattr(
        probe_module, "probe_file", lambda path, **kwargs: (looked.append(path.name), real(path, **kwargs))[1]
    )
    assert build_manifest(settings, NAME).digest == first.digest
    assert looked == []
    put(folder, "a/00.png", 500)
    second = build_manifest(settings, NAME)
    assert looked == ["00.png"]
    assert second.digest != first.digest
    # Just written: the clock may be too coarse to see another change, so it is looked at once more.
    build_manifest(settings, NAME)
    assert looked == ["00.png", "00.png"]
    build_manifest(replace(settings, max_pixels=10_000), NAME)
    assert len(looked) == 2 + 20


def test_a_damaged_memory_is_forgotten(settings: Settings, folder: Path) -> None:
    first = build_manifest(settings, NAME)
    memory = settings.state / "probed" / f"{NAME}.parquet"
    memory.parent.mkdir(exist_ok=True)
    memory.write_bytes(b"PAR1 nonsense PAR1")
    assert build_manifest(settings, NAME).digest == first.digest


def test_colour_images_of_ones_own_are_read_with_three_channels(settings: Settings) -> None:
    folder = settings.data / "mine"
    write_description(folder, Description(layout="classes", lineage="import-1"))
    for number in range(6):
        put(folder, f"{'ab'[number % 2]}/{number}.png", number)
    assert build_manifest(settings, "mine").channels == 1
    put(folder, "a/colour.png", 50, channels=3)
    assert build_manifest(settings, "mine").channels == 3


def test_published_splits(settings: Settings) -> None:
    folder = settings.data / NAME
    write_description(folder, Description(layout="plankton", lineage="import-1"))
    for number, split in enumerate(("train", "train", "val", "test")):
        put(folder, f"{split}/a/{number}.png", number)
    table = build_manifest(settings, NAME).table
    assert dict(zip(table["path"], table["split"], strict=True)) == {
        "test/a/3.png": "test",
        "train/a/0.png": "train",
        "train/a/1.png": "train",
        "val/a/2.png": "val",
    }


def test_no_such_data_set_and_no_good_image(settings: Settings, folder: Path) -> None:
    with pytest.raises(DataError, match=r"no data set 'other' .*there: plankton"):
        build_manifest(settings, "other")
    for path in folder.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"all 20 images .* were set aside"):
        build_manifest(settings, NAME)
    for path in folder.rglob("*.png"):
        path.unlink()
    with pytest.raises(LayoutError, match="no labelled images"):
        build_manifest(settings, NAME)
    put(folder, "a/1.png", 1)
    one = build_manifest(settings, NAME)
    with pytest.raises(DataError, match="no images in split other; it has: train 1"):
        one.rows("other")


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"PAR1",
        b"PAR1" + b"\xff" * 500 + b"PAR1",
        "half",
        "columns",
        "silent",
    ],
)
def test_a_malformed_manifest_is_one_line(settings: Settings, folder: Path, damage: bytes | str) -> None:
    manifest = build_manifest(settings, NAME)
    path = write_manifest(settings, manifest)
    if isinstance(damage, bytes):
        path.write_bytes(damage)
    elif damage == "half":
        path.write_bytes(path.read_bytes()[:-200])
    elif damage == "columns":
        pq.write_table(pq.read_table(path).drop_columns(["split"]), path)
    else:
        pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    with pytest.raises(DataError) as caught:
        read_manifest(settings, NAME, manifest.digest)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="no manifest at"):
        read_manifest(settings, NAME, "0" * 64)
    with pytest.raises(DataError, match="no digest"):
        read_manifest(settings, NAME, "../../etc/passwd")


def test_a_changed_manifest_is_noticed(settings: Settings, folder: Path) -> None:
    manifest = build_manifest(settings, NAME)
    relabelled = manifest.table.assign(label="b")
    path = write_manifest(settings, replace(manifest, table=relabelled))
    with pytest.raises(IntegrityError, match="not what its name says"):
        read_manifest(settings, NAME, manifest.digest)
    write_manifest(settings, replace(manifest, table=manifest.table.assign(path="../../x.png")))
    with pytest.raises(DataError, match="leads outside"):
        read_manifest(settings, NAME, manifest.digest)
    assert path.exists()


@pytest.mark.shared
@pytest.mark.slow
def test_the_real_plankton(settings: Settings, shared_dir: Path) -> None:
    import zipfile

    folder = settings.data / NAME
    with zipfile.ZipFile(shared_dir / "data" / "plankton_train.zip") as archive:
        archive.extractall(folder)
    write_description(folder, Description(layout="plankton", lineage="import-1"))
    manifest = build_manifest(settings, NAME)
    assert (len(manifest.table), len(manifest.quarantine), len(manifest.classes)) == (26_536, 0, 121)
    assert manifest.train_only == ()
    for split in ("train", "val", "test"):
        assert manifest.rows(split)["label"].nunique() == 121
    shutil.rmtree(folder)


def test_mutated_manifests_are_refused_in_one_line(settings: Settings, folder: Path) -> None:
    """A seeded fuzzer: bits flipped, bytes cut out and put in; most of it near the end, where the footer is."""
    manifest = build_manifest(settings, NAME)
    path = write_manifest(settings, manifest)
    good = path.read_bytes()
    random = np.random.default_rng(0)
    messages = []
    for _ in range(150):
        data = bytearray(good)
        for _ in range(int(random.integers(1, 9))):
            near_end = len(data) - 1 - int(random.integers(0, min(4000, len(data))))
            place = near_end if random.random() < 0.6 else int(random.integers(0, len(data)))
            match int(random.integers(0, 3)):
                case 0:
                    data[place] ^= 1 << int(random.integers(0, 8))
                case 1:
                    del data[place : place + int(random.integers(1, 64))]
                case _:
                    data[place:place] = random.bytes(int(random.integers(1, 32)))
        path.write_bytes(data)
        try:
            assert read_manifest(settings, NAME, manifest.digest).table.equals(manifest.table)
        except DrillcoreError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert not any("\n" in message for message in messages)
