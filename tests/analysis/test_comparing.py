"""Two versions on the same images: a second one is made up from the first, so that what changes is known."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from drillcore.analysis import comparing
from drillcore.analysis.comparing import compare_versions
from drillcore.cli import cli
from drillcore.datasets.ingest import current_manifest
from drillcore.errors import InputError
from drillcore.pages.comparison import write_comparison
from drillcore.settings import Settings

Retrained = tuple[Settings, dict[str, Any]]


@pytest.fixture
def two_versions(retrained: Retrained, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Version 2 answers as the truth says, but calls the first image a ring and knows a class more."""
    settings, _ = retrained
    real_find, real_answers = comparing.find_version, comparing._answers

    def find(settings: Settings, reference: str) -> Any:
        found = real_find(settings, reference.replace("@2", "@1"))
        if not reference.endswith("@2"):
            return found
        metadata = {**found.metadata, "classes": [*found.metadata["classes"], "snail"], "lineage": "sample"}
        return dataclasses.replace(found, version=2, metadata=metadata)

    def answers(run: Any, version: Any, classes: list[str]) -> Any:
        if version.version == 1:
            return real_answers(run, version, classes)
        rows = np.eye(len(classes))[[classes.index(label) for label in run.evaluated_rows()["label"]]]
        rows[0] = np.eye(len(classes))[classes.index("ring")]
        return rows

    monkeypatch.setattr(comparing, "find_version", find)
    monkeypatch.setattr(comparing, "_answers", answers)
    monkeypatch.setenv("DRILLCORE_ROOT", str(settings.root))
    return settings


def test_a_version_and_itself_do_not_differ(retrained: Retrained) -> None:
    settings, summary = retrained
    found = compare_versions(settings, "shells-forest@1", "shells-forest@champion").to_dict()
    assert found["changed"] == []
    assert found["figures"]["accuracy"]["a"] == summary["figures"]["accuracy"]
    assert all(test["identical"] for test in found["bootstrap"].values())


def test_what_changes_is_told(two_versions: Settings) -> None:
    found = compare_versions(two_versions, "shells-forest@1", "shells-forest@2")
    rows = current_manifest(two_versions, "shells").rows("test")
    told = found.to_dict()
    assert told["images"] == len(rows)
    assert found.classes == ["bar", "dot", "ring", "snail"]
    assert set(told["per_class"]) == {"bar", "dot", "ring"}
    figures = told["figures"]["accuracy"]
    assert figures["b"] == pytest.approx(1 - 1 / len(rows))
    outcomes = [row["outcome"] for row in told["changed"]]
    assert outcomes.count("fixed") - outcomes.count("broken") == round((figures["b"] - figures["a"]) * len(rows))
    assert {row["path"] for row in told["changed"]} <= set(rows["path"])
    assert told["bootstrap"]["accuracy"]["b"] == figures["b"]
    assert told["notes"] == ["shells-forest version 2 learned from lineage sample, these images are of import-1"]


def test_the_folder_has_a_page_with_pictures_and_a_table(two_versions: Settings, tmp_path: Path) -> None:
    found = compare_versions(two_versions, "shells-forest@1", "shells-forest@2")
    page, rows = write_comparison(two_versions, found, tmp_path / "changes")
    with rows.open(newline="") as stream:
        listed = list(csv.DictReader(stream))
    assert [row["path"] for row in listed] == [row["path"] for row in found.changed_rows()]
    text = page.read_text()
    assert text.count("data:image/png;base64,") == len(listed)
    assert "learned from lineage sample" in text
    assert "<script" not in text


def test_the_command_prints_tables_or_json(two_versions: Settings) -> None:
    arguments = ["compare", "shells-forest@1", "shells-forest@2"]
    done = CliRunner().invoke(cli, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["b"]["version"] == 2
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert "answers changed" in done.stdout
    assert "note:" in done.stdout


def test_models_of_other_data_are_refused(two_versions: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    found = comparing.find_version(two_versions, "shells-forest@1")
    monkeypatch.setattr(
        comparing, "find_version", lambda _, ref: dataclasses.replace(found, model=ref.partition("@")[0])
    )
    real = comparing.recipe_of

    def load(settings: Settings, version: Any) -> Any:
        recipe = real(settings, found)
        other = dataclasses.replace(recipe.dataset, name="stones")
        return dataclasses.replace(recipe, dataset=other) if version.model == "stones-forest" else recipe

    monkeypatch.setattr(comparing, "recipe_of", load)
    with pytest.raises(InputError, match="stones"):
        compare_versions(two_versions, "shells-forest@1", "stones-forest@1")
