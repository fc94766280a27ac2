"""`drillcore data show`: counts that add up, images of each class, for labels of images and of pixels."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from shells import write_shells

from drillcore.cli.data import show
from drillcore.datasets.ingest import check_dataset, current_manifest
from drillcore.datasets.landing import import_dataset, sample_datasets
from drillcore.errors import DataError
from drillcore.pages.dataset import facts_of, write_dataset
from drillcore.settings import Settings


def test_counts_sizes_and_pictures(tracked: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no checked version"):
        current_manifest(tracked, "shells")
    import_dataset(tracked, "shells", write_shells(tmp_path / "source", 12), layout="classes")
    check_dataset(tracked, "shells")
    told = facts_of(current_manifest(tracked, "shells"))
    by_class = [sum(row[name] for name in ("train", "val", "test", "none")) for row in told["classes"]]
    assert sum(by_class) == sum(told["splits"].values()) == told["images"]
    assert all(low <= half <= high for low, half, high in told["sides"].values())
    monkeypatch.setattr("drillcore.cli.data.begin", lambda **_: tracked)
    done = CliRunner().invoke(show, ["shells", "--output", str(tmp_path / "page"), "--json"], catch_exceptions=False)
    assert json.loads(done.stdout)["images"] == told["images"]
    text = (tmp_path / "page" / "index.html").read_text()
    assert text.count("<img") == min(6 * len(told["classes"]), told["images"])
    with (tmp_path / "page" / "classes.csv").open() as stream:
        assert [row["class"] for row in csv.DictReader(stream)] == [row["class"] for row in told["classes"]]
    assert "set aside" in text


def test_a_data_set_of_masks(tracked: Settings, tmp_path: Path) -> None:
    sample_datasets(tracked, names=["baeri"])
    check_dataset(tracked, "baeri")
    manifest = current_manifest(tracked, "baeri")
    counts = {row["class"]: row for row in facts_of(manifest)["classes"]}
    assert counts["ship"]["train"] > 0  # training images with a pixel of it
    page, _ = write_dataset(tracked, manifest, tmp_path / "page")
    assert 0 < page.read_text().count("<img") <= len(manifest.table)
