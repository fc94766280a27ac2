from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drillcore import versions
from drillcore.datasets.ingest import check_dataset, current_manifest, ingest, landed_datasets
from drillcore.datasets.landing import import_dataset
from drillcore.errors import DataError, QualityError, UnknownNameError
from drillcore.settings import Settings


def draw(root: Path, classes: dict[str, int], seed: int) -> Path:
    """Noise of odd sizes: no two images resemble each other."""
    random = np.random.default_rng(seed)
    for name, count in classes.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            size = random.integers(20, 40, 2)
            pixels = random.integers(0, 256, size, dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{seed}-{index}.png")
    return root


@pytest.fixture
def shells(settings: Settings, tmp_path: Path) -> Settings:
    import_dataset(settings, "shells", draw(tmp_path / "shells", {"cone": 12, "spiral": 12}, 1), layout="classes")
    return settings


def append(settings: Settings, tmp_path: Path, classes: dict[str, int], seed: int) -> None:
    import_dataset(settings, "shells", draw(tmp_path / f"more-{seed}", classes, seed), layout="classes", append=True)


def test_nothing_there_says_what_to_run(settings: Settings) -> None:
    with pytest.raises(UnknownNameError, match="drillcore data sample"):
        ingest(settings, "plankton")
    with pytest.raises(DataError, match=r"drillcore data sample.*drillcore data check plankton"):
        current_manifest(settings, "plankton")


def test_from_import_to_manifest(shells: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ingest(shells, "shells")
    assert (len(first.table), first.lineage, len(first.quarantine)) == (24, "import-1", 0)
    assert all(first.path_of(row).is_file() for _, row in first.table.iterrows())
    assert any((shells.state / "dvc/remote").rglob("*.dir")), "the version is pushed"
    assert landed_datasets(shells) == ["shells"]

    text = versions.data_dvc_text(shells)
    with monkeypatch.context() as patched:
        for name in ("update", "push"):  # DVC takes seconds: it is not asked about what has not changed
            patched.delattr(versions, name)
        again = ingest(shells, "shells")
    assert (again.digest, versions.data_dvc_text(shells)) == (first.digest, text)
    assert current_manifest(shells, "shells").digest == first.digest

    append(shells, tmp_path, {"cone": 3}, 2)
    second = ingest(shells, "shells")
    assert (len(second.table), second.lineage) == (27, "import-1")
    kept = dict(zip(second.table["path"], second.table["split"], strict=True))
    assert all(kept[path] == split for path, split in zip(first.table["path"], first.table["split"], strict=True))


def test_another_data_set_changes_nothing(shells: Settings, tmp_path: Path) -> None:
    first = ingest(shells, "shells")
    import_dataset(shells, "leaves", draw(tmp_path / "leaves", {"oak": 10, "elm": 10}, 3), layout="classes")
    assert ingest(shells, "shells").digest == first.digest
    with pytest.raises(DataError, match="no checked version of data set 'leaves'"):
        current_manifest(shells, "leaves")


def test_bad_images_are_set_aside_up_to_the_limit(shells: Settings, tmp_path: Path) -> None:
    good = ingest(shells, "shells")
    text = versions.data_dvc_text(shells)
    more = tmp_path / "bad"
    (more / "cone").mkdir(parents=True)
    (more / "cone/truncated.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    import_dataset(shells, "shells", more, layout="classes", append=True)
    second = ingest(shells, "shells")  # 1 of 25 is 4 %
    assert (len(second.table), len(second.quarantine)) == (24, 1)
    assert second.digest == good.digest

    text = versions.data_dvc_text(shells)
    held = {path: path.read_bytes() for path in shells.data.rglob("*") if path.is_file()}
    for index in range(4):
        (more / f"cone/also-{index}.png").write_bytes(b"")
    import_dataset(shells, "shells", more, layout="classes", append=True)
    with pytest.raises(QualityError, match=r"shells is refused: set aside at most 5") as caught:
        ingest(shells, "shells")
    assert "\n" not in str(caught.value)
    assert versions.data_dvc_text(shells) == text
    assert {path: path.read_bytes() for path in shells.data.rglob("*") if path.is_file()} == held
    assert current_manifest(shells, "shells").digest == good.digest
    report = check_dataset(shells, "shells")
    assert not report.ok
    assert "set aside" in report.summary
    relaxed = dataclasses.replace(shells, quarantine_limit=0.5)
    assert len(ingest(relaxed, "shells").quarantine) == 5


def test_a_first_import_that_fails_leaves_no_data(shells: Settings) -> None:
    for path in (shells.landing / "shells/cone").iterdir():
        path.write_bytes(b"")
    with pytest.raises(QualityError):
        ingest(shells, "shells")
    assert not shells.data.exists()
    assert not (shells.root / "data.dvc").exists()


def test_emptied_and_shrunk_landing_zones_are_refused_before_dvc(shells: Settings) -> None:
    good = ingest(shells, "shells")
    text = versions.data_dvc_text(shells)
    images = sorted((shells.landing / "shells").rglob("*.png"))
    for path in images[:6]:
        path.unlink()
    with pytest.raises(DataError, match="shrank from 24 to 18 files, more than 20%"):
        ingest(shells, "shells")
    assert len(ingest(dataclasses.replace(shells, shrink_limit=0.5), "shells").table) == 18
    shutil.rmtree(shells.landing / "shells")
    with pytest.raises(DataError, match="was emptied"):
        ingest(shells, "shells")
    assert len(list(shells.data.rglob("*.png"))) == 18
    assert good.digest != current_manifest(shells, "shells").digest
    assert versions.data_dvc_text(shells) != text


def test_a_new_lineage_may_be_smaller(shells: Settings, tmp_path: Path) -> None:
    ingest(shells, "shells")
    import_dataset(shells, "shells", draw(tmp_path / "few", {"cone": 5, "spiral": 5}, 9), layout="classes")
    manifest = ingest(shells, "shells")
    assert (manifest.lineage, len(manifest.table)) == ("import-2", 10)


def test_a_file_put_under_data_by_hand_is_kept(shells: Settings, tmp_path: Path) -> None:
    ingest(shells, "shells")
    mine = shells.data / "shells/cone/mine.png"
    mine.write_bytes(b"mine")
    append(shells, tmp_path, {"cone": 2}, 5)
    with pytest.raises(DataError, match=r"edited by hand \(added shells/cone/mine\.png\).*--append shells"):
        ingest(shells, "shells")
    assert mine.read_bytes() == b"mine"


def test_class_shares_may_not_jump_inside_a_lineage(shells: Settings, tmp_path: Path) -> None:
    ingest(shells, "shells")
    append(shells, tmp_path, {"cone": 60}, 6)
    with pytest.raises(QualityError, match="class shares moved"):
        ingest(shells, "shells")
    assert len(current_manifest(shells, "shells").table) == 24


def test_check_is_readable_in_one_screen(shells: Settings) -> None:
    check = check_dataset(shells, "shells")
    assert check.ok
    assert check.docs is not None
    assert check.docs.is_file()
    assert len(check.rows()) + len(check.summary.splitlines()) < 40
    assert check.to_dict()["data_digest"] == current_manifest(shells, "shells").digest
    assert check_dataset(shells, "shells").ok
