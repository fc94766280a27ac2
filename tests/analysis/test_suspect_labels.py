"""Planted wrong labels are found by a model that was never told which they are."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from drillcore.analysis import suspects
from drillcore.analysis.suspects import find_suspect_labels, held_out
from drillcore.cli import cli
from drillcore.datasets.ingest import current_manifest
from drillcore.errors import InputError
from drillcore.pages.suspected import write_suspects
from drillcore.recipes import load_recipe
from drillcore.settings import Settings

Retrained = tuple[Settings, dict[str, Any]]
PLANTED = 4  # of 72: some 5 %


@pytest.fixture
def planted(retrained: Retrained, monkeypatch: pytest.MonkeyPatch) -> tuple[Settings, set[str]]:
    """The retrained checkout with four labels turned into the next class, and their paths."""
    settings, _ = retrained
    manifest = current_manifest(settings, "shells")
    # Of bars, which nothing else looks like: the model of the template is a small one.
    bars = manifest.table.index[manifest.table["label"] == "bar"]
    chosen = np.random.default_rng(5).choice(bars, PLANTED, replace=False)
    table = manifest.table.copy()
    table.loc[chosen, "label"] = "ring"
    monkeypatch.setattr(suspects, "current_manifest", lambda *_: dataclasses.replace(manifest, table=table))
    monkeypatch.setenv("DRILLCORE_ROOT", str(settings.root))
    return settings, set(table.loc[chosen, "path"])


def test_planted_labels_are_among_the_first(planted: tuple[Settings, set[str]]) -> None:
    settings, paths = planted
    found = find_suspect_labels(settings, "shells-forest")
    first = found.table()[: PLANTED + 2]
    assert len(paths & {row["path"] for row in first}) >= PLANTED - 1
    assert {row["suggested"] for row in first if row["path"] in paths} == {"bar"}
    assert found.judged == 72
    assert found.accuracy > 0.6
    assert find_suspect_labels(settings, "shells-forest").table() == found.table()


def test_the_page_and_the_list_have_them_all(planted: tuple[Settings, set[str]], tmp_path: Path) -> None:
    settings, _ = planted
    found = find_suspect_labels(settings, "shells-forest@1")
    page, rows = write_suspects(settings, found, tmp_path / "out")
    with rows.open(newline="") as stream:
        listed = list(csv.DictReader(stream))
    assert [row["path"] for row in listed] == [row["path"] for row in found.table()]
    assert page.read_text().count("data:image/png;base64,") == len(listed)


def test_the_command_lists_and_writes(planted: tuple[Settings, set[str]], tmp_path: Path) -> None:
    arguments = ["data", "suspects", "shells-forest", "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(cli, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["judged"] == 72
    assert [Path(path).name for path in told["files"]] == ["index.html", "suspects.csv"]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert "labels are suspected" in done.stdout


def test_no_row_is_judged_by_a_head_that_learned_it(retrained: Retrained, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, _ = retrained
    recipe = load_recipe(settings, "shells-forest")
    from drillcore.heads.forest.forest import ForestHead

    seen: list[set[float]] = []
    real_fit, real_answer = ForestHead.fit, ForestHead.predict_proba

    def fit(self: Any, X: Any, y: Any, **more: Any) -> Any:
        seen.append(set(X[:, 0].tolist()))
        return real_fit(self, X, y, **more)

    def answer(self: Any, X: Any) -> Any:
        assert not seen[-1] & set(X[:, 0].tolist())
        return real_answer(self, X)

    monkeypatch.setattr(ForestHead, "fit", fit)
    monkeypatch.setattr(ForestHead, "predict_proba", answer)
    features = np.arange(40, dtype=np.float32).reshape(20, 2)
    labels = np.arange(20, dtype=np.int64) % 2
    found = held_out(settings, recipe, features, labels, np.arange(20, dtype=np.int64) % 4, 2)
    assert len(seen) == 4
    assert found.sum(axis=1) == pytest.approx(np.ones(20))
    with pytest.raises(InputError, match="too few"):
        held_out(settings, recipe, features, labels, np.zeros(20, np.int64), 2)
