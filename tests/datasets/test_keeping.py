"""Data sets beside each other: one that is refused or damaged stops no other, and every advice leads out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drillcore import versions
from drillcore.datasets.checking import DatasetCheck
from drillcore.datasets.ingest import check_dataset, current_manifest, ingest, is_unchanged, way_on
from drillcore.datasets.keeping import list_datasets, remove_dataset, undo_import
from drillcore.datasets.landing import import_dataset
from drillcore.datasets.manifest import Manifest
from drillcore.errors import DataError, DrillcoreError, QualityError, UnknownNameError
from drillcore.quality.frames import Facts
from drillcore.quality.outcome import QualityReport
from drillcore.settings import Settings


def draw(root: Path, classes: dict[str, int], seed: int) -> Path:
    random = np.random.default_rng(seed)
    for name, count in classes.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            pixels = random.integers(0, 256, random.integers(20, 40, 2), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{seed}-{index}.png")
    return root


@pytest.fixture(autouse=True)
def no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge without Great Expectations, whose import and Data Docs take the longest and are tested elsewhere."""
    from drillcore.quality.validation import validate as real

    def judge(settings: Settings, facts: Facts, *, quick: bool) -> QualityReport:
        return real(settings, facts, quick=True)

    monkeypatch.setattr("drillcore.datasets.checking.validate", judge)


@pytest.fixture
def unjudged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept what comes, for tests that are not about the suites: each judgement takes seconds."""

    def accept(settings: Settings, manifest: Manifest, *_: object, **__: object) -> QualityReport:
        return QualityReport(dataset=manifest.dataset, results=())

    monkeypatch.setattr("drillcore.datasets.ingest.validate_manifest", accept)


def bring(settings: Settings, name: str, classes: dict[str, int], seed: int, *, append: bool = False) -> None:
    source = draw(settings.root / f"source-{name}-{seed}", classes, seed)
    import_dataset(settings, name, source, layout=None if append else "classes", append=append)


def state_of(settings: Settings, name: str) -> str:
    return next(one.state for one in list_datasets(settings) if one.name == name)


def test_one_that_is_refused_stops_no_other(settings: Settings) -> None:
    bring(settings, "bad", {"only": 12}, 1)
    bring(settings, "good", {"cone": 12, "spiral": 12}, 2)
    with pytest.raises(QualityError, match="bad is refused"):
        ingest(settings, "bad")
    first = ingest(settings, "good")
    assert is_unchanged(settings, "good")
    assert [entry.path.split("/")[0] for entry in versions.current_tree(settings) or []] == ["good"] * 25
    states = {one.name: (one.state, one.versions) for one in list_datasets(settings)}
    assert states == {"bad": ("refused", 0), "good": ("good", 1)}
    assert "at least 2 classes" in list_datasets(settings)[0].reason
    with pytest.raises(DataError, match="drillcore data remove bad"):
        undo_import(settings, "bad")
    remove_dataset(settings, "bad")
    assert [one.name for one in list_datasets(settings)] == ["good"]
    assert is_unchanged(settings, "good")
    assert current_manifest(settings, "good").digest == first.digest
    with pytest.raises(UnknownNameError, match="good"):
        remove_dataset(settings, "bad")


def test_a_new_class_is_a_warning_and_a_shift_has_a_way_on(settings: Settings) -> None:
    bring(settings, "two", {"crab": 14, "shrimp": 14}, 1)
    first = ingest(settings, "two")
    bring(settings, "two", {"jelly": 28}, 2, append=True)
    check = check_dataset(settings, "two")
    assert check.ok
    assert [row.detail for row in check.report.warnings if row.column == "known"] == ["jelly new"]
    second = current_manifest(settings, "two")
    assert second.classes == ("crab", "jelly", "shrimp")

    bring(settings, "two", {"crab": 60}, 3, append=True)
    assert state_of(settings, "two") == "changed"
    refused = check_dataset(settings, "two")
    assert not refused.ok
    assert "drillcore data check two --accept-change" in way_on(settings, refused.report)
    assert "drillcore data undo two" in way_on(settings, refused.report)
    assert current_manifest(settings, "two").digest == second.digest
    assert undo_import(settings, "two").digest == second.digest
    assert state_of(settings, "two") == "good"

    bring(settings, "two", {"crab": 60}, 3, append=True)
    accepted = check_dataset(settings, "two", accept_change=True)
    assert accepted.ok
    assert len(accepted.manifest.table) == 116
    # Back, version by version, to the first.
    assert undo_import(settings, "two").digest == second.digest
    assert undo_import(settings, "two").digest == first.digest
    assert is_unchanged(settings, "two")
    with pytest.raises(DataError, match="no good version before this one"):
        undo_import(settings, "two")


@pytest.mark.usefixtures("unjudged")
def test_undo_brings_an_emptied_landing_zone_back(settings: Settings) -> None:
    import shutil

    bring(settings, "two", {"crab": 12, "shrimp": 12}, 1)
    first = ingest(settings, "two")
    shutil.rmtree(settings.landing / "two")
    assert state_of(settings, "two") == "lost"
    with pytest.raises(DataError, match="drillcore data undo two"):
        ingest(settings, "two")
    assert undo_import(settings, "two").digest == first.digest
    assert is_unchanged(settings, "two")


STATE_FILES = (
    "manifests/*/{digest}.parquet",
    "manifests/*/{digest}.quarantine.parquet",
    "manifests/*/current.json",
    "manifests/*/history.json",
    "dvc/cache/files/md5/*/*.dir",
    "dvc/snapshots/*.json",
    "probed/*.parquet",
    "lineages/*.json",
)


@pytest.mark.usefixtures("unjudged")
@pytest.mark.parametrize("damage", ["truncated", "gone"])
@pytest.mark.parametrize("pattern", STATE_FILES)
def test_what_is_damaged_in_the_state_folder_is_built_anew(settings: Settings, pattern: str, damage: str) -> None:
    bring(settings, "two", {"crab": 12, "shrimp": 12}, 1)
    ingest(settings, "two")
    bring(settings, "two", {"crab": 3}, 2, append=True)
    before = ingest(settings, "two")
    found = list(settings.state.glob(pattern.format(digest=before.digest)))
    assert found
    for path in found:
        path.chmod(0o600)
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    bring(settings, "two", {"shrimp": 3}, 3, append=True)
    check = check_dataset(settings, "two")
    assert check.ok
    assert len(check.manifest.table) == 30
    # Splits are carried, whatever was lost.
    kept = dict(zip(check.manifest.table["path"], check.manifest.table["split"], strict=True))
    if not (damage == "gone" and pattern == "manifests/*/current.json"):  # nothing says then that there was one
        assert {path: kept[path] for path in before.table["path"]} == dict(
            zip(before.table["path"], before.table["split"], strict=True)
        )


@pytest.mark.usefixtures("unjudged")
def test_state_of_the_revision_before_goes_on(settings: Settings) -> None:
    """Pointers said less once, one file remembered all data sets, and one mark stood for them all."""
    bring(settings, "two", {"crab": 12, "shrimp": 12}, 1)
    first = ingest(settings, "two")
    current = settings.manifests / "two" / "current.json"
    pointer = json.loads(current.read_text())
    del pointer["landing"]
    current.write_text(json.dumps(pointer))
    (settings.state / "dvc/snapshots/two.json").unlink()
    (settings.state / "dvc/data-snapshot.json").write_text("{}")
    (settings.state / "dvc/landing-seen.json").write_text("{}")
    assert ingest(settings, "two").digest == first.digest
    assert is_unchanged(settings, "two")
    bring(settings, "two", {"crab": 2}, 2, append=True)
    second = ingest(settings, "two")
    assert (second.lineage, len(second.table)) == ("import-1", 26)
    assert undo_import(settings, "two").digest == first.digest


@pytest.mark.usefixtures("unjudged")
def test_a_damaged_pointer_of_one_is_listed_and_stops_no_other(settings: Settings) -> None:
    bring(settings, "two", {"crab": 12, "shrimp": 12}, 1)
    (settings.manifests / "other").mkdir(parents=True)
    (settings.manifests / "other" / "current.json").write_text("{")
    assert isinstance(check_dataset(settings, "two"), DatasetCheck)
    assert {one.name: one.state for one in list_datasets(settings)} == {"other": "damaged", "two": "good"}
    with pytest.raises(DrillcoreError):
        ingest(settings, "other")
    remove_dataset(settings, "other")
    assert [one.name for one in list_datasets(settings)] == ["two"]


def test_listing_does_not_wait_for_pandas() -> None:
    code = (
        "import sys, drillcore.datasets.keeping; print(sorted({'pandas', 'dvc', 'torch', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
