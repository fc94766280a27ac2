"""The report of a real retrain: complete, harmless, and still a page where an older run kept less."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from shells import write_shells

from drillcore.analysis.labelling.kept import MAX_KEPT
from drillcore.analysis.labelling.label_next import label_next
from drillcore.analysis.reporting import _same_images, gather_report, read_json
from drillcore.cli import cli
from drillcore.errors import DataError, UnknownNameError
from drillcore.pages.figure_names import change
from drillcore.pages.images_to_label import write_label_next
from drillcore.pages.report_page import report_page
from drillcore.settings import Settings

Retrained = tuple[Settings, dict[str, Any]]
HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=y>"


@pytest.fixture
def report(retrained: Retrained) -> Any:
    settings, _ = retrained
    (settings.models / "shells-forest.md").write_text("# Shells\n\nCounts shells. <script>x</script>\n")
    return gather_report(settings, "shells-forest")


def test_a_report_tells_what_the_retrain_did(retrained: Retrained, report: Any) -> None:
    _, summary = retrained
    assert report.version.version == 1
    assert report.aliases == ("challenger", "champion")
    assert report.figures["accuracy"] == summary["figures"]["accuracy"]
    assert report.verdict["passed"]
    assert report.rival is None
    assert report.data["classes"] == 3
    assert report.data["images"] == 72
    assert report.measured["mb"] > 0
    wanted = {"confusion", "calibration", "per-class", "class-shares", "learning-curves", "best-examples"}
    assert wanted <= set(report.pictures)
    if summary["figures"]["accuracy"] < 1:
        assert "worst-mistakes" in report.pictures


def test_the_page_is_whole_and_loads_nothing(retrained: Retrained, report: Any) -> None:
    _, summary = retrained
    text = report_page(report)
    for title in ("Figures", "Gate", "Versions", "Pictures", "Classes", "Drift", "To label next", "Data", "Card"):
        assert f"{title}</h2>" in text
    assert f"{summary['figures']['accuracy']:.4f}" in text
    assert summary["model_sha256"] in text
    assert summary["data_digest"] in text
    assert "remote://landing" in text
    assert text.count("data:image/png;base64,") == len(report.pictures) + 1  # the versions are drawn for the page
    assert not re.search(r"<(script|link|iframe)|\son\w+=|(src|href)=.(?!data:image/|#)", text)
    assert report_page(report) == text


def test_hostile_words_stay_words(report: Any) -> None:
    figures = {**report.figures, "per_class": {HOSTILE: {"precision": 1, "recall": 1, "f1": 1, "support": 2}}}
    rules = [{"name": HOSTILE, "passed": False, "text": HOSTILE, "figures": {}}]
    metadata = {**report.version.metadata, "git": HOSTILE, "parent": HOSTILE, "seeds": {HOSTILE: 1}}
    hostile = dataclasses.replace(
        report,
        card=HOSTILE,
        figures=figures,
        verdict={"passed": False, "rules": rules},
        recipe={HOSTILE: HOSTILE},
        data={**report.data, "modes": {HOSTILE: 1}, "set_aside": {HOSTILE: 2}, "dataset": HOSTILE},
        version=dataclasses.replace(report.version, metadata=metadata, tags={"data_dvc": HOSTILE}),
    )
    text = report_page(hostile)
    assert "<script" not in text
    assert "<img src=x" not in text
    assert "not met" in text


def test_an_older_run_still_makes_a_page(report: Any) -> None:
    bare = dataclasses.replace(
        report, verdict=None, parity={}, data={}, recipe={}, card="", pictures={}, history=(), measured={}, figures={}
    )
    text = report_page(bare)
    assert "The gate has not been asked" in text
    assert "Pictures</h2>" not in text


def test_a_rival_stands_beside_with_better_and_worse(report: Any) -> None:
    rival = {**report.figures, "version": 7, "accuracy": report.figures["accuracy"] - 0.1, "log_loss": -1.0, "ms": None}
    text = report_page(dataclasses.replace(report, rival=rival, rival_text="version 7, the champion then"))
    assert "+0.1000 better" in text
    assert "worse" in text
    assert "version 7" in text


def test_figures_of_other_images_are_not_ranked(report: Any) -> None:
    own = report.version
    other = dataclasses.replace(own, version=2)
    assert _same_images(own, other)
    assert not _same_images(own, dataclasses.replace(own, tags={**own.tags, "images_sha256": "0"}))
    older = dataclasses.replace(own, tags={})
    assert _same_images(own, older)
    assert not _same_images(own, dataclasses.replace(older, metadata={**own.metadata, "data_digest": "0"}))
    why = "version 2, champion, was measured on other images"
    text = report_page(dataclasses.replace(report, rival=None, rival_text=why))
    assert f"Not compared: {why}." in text
    assert not re.search(r"\d (better|worse)<", text)
    assert "Not compared: there was no other champion." in report_page(report)


@pytest.mark.parametrize(
    ("name", "value", "other", "shown"),
    [
        ("accuracy", 0.9, 0.8, "+0.1000 better"),
        ("log_loss", 0.9, 0.8, "+0.1000 worse"),
        ("mb", 2.0, 2.001, "same"),
        ("ms", 1.0, 3.0, "-2.00 better"),
    ],
)
def test_a_change_says_which_way_is_good(name: str, value: float, other: float, shown: str) -> None:
    assert shown in change(name, value, other)


def test_the_versions_are_told_by_their_images(report: Any) -> None:
    [own] = report.versions
    assert (report.figure, own.champion, own.images) == ("accuracy", True, report.measured["images"])
    assert own.interval[0] < own.value <= own.interval[1]
    assert "say nothing about which version is better" not in report_page(report)
    other = dataclasses.replace(own, version=2, image_set="fedcba", champion=False, promoted=(), rival=(1, 0.5))
    text = report_page(dataclasses.replace(report, versions=(own, other)))
    assert "say nothing about which version is better" in text
    assert "A diamond is the champion then" in text
    assert "(fedcba)" in text


def test_without_a_choice_or_a_finding_there_is_the_command(report: Any) -> None:
    text = report_page(report)
    assert "drillcore label-next shells-forest@1 FOLDER" in text
    assert "drillcore score shells-forest@1 IMAGES OUTPUT\ndrillcore drift shells-forest@1 --scored OUTPUT" in text


@pytest.mark.parametrize("task", ["dense_labels", "dense_regression", "multilabel", "segments"])
def test_what_other_tasks_have_not_is_said(report: Any, task: str) -> None:
    version = dataclasses.replace(report.version, metadata={**report.version.metadata, "task": task})
    text = report_page(dataclasses.replace(report, version=version))
    assert f"the task of this one is {task}" in text
    assert "drillcore label-next" not in text
    assert ("drillcore drift" in text) == (task == "multilabel")


def test_a_choice_stands_with_its_pictures(retrained: Retrained, tmp_path: Path) -> None:
    settings, _ = retrained
    found = label_next(settings, "shells-forest", write_shells(tmp_path / "new", 6, first=300), 14)
    write_label_next(settings, found, tmp_path / "elsewhere")
    report = gather_report(settings, "shells-forest")
    assert report.to_label.digests == tuple(one.sha256 for one in found.chosen)
    text = report_page(report)
    assert "this version asked for 14 of 18 images of the folder new" in text
    assert text.count("perhaps: ") == MAX_KEPT
    assert str(tmp_path) not in text.partition('id="label-next"')[2].partition("</section>")[0]
    assert "labelled by now" not in text
    assert "version 1, not this one, asked" in report_page(
        dataclasses.replace(report, version=dataclasses.replace(report.version, version=2), labelled=3)
    )
    (settings.state / "label-next/shells-forest/chosen.json").write_text('{"schema": 1}')
    assert gather_report(settings, "shells-forest").to_label is None


def test_unknown_models_and_versions_are_named(retrained: Retrained) -> None:
    settings, _ = retrained
    with pytest.raises(UnknownNameError, match="shells-forest"):
        gather_report(settings, "shels-forest")
    with pytest.raises(UnknownNameError, match="9"):
        gather_report(settings, "shells-forest@9")


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": ' * 5000])
def test_a_damaged_artifact_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"evaluation\.json"):
        read_json(path)
    assert read_json(tmp_path / "none.json") == {}


def test_the_command_writes_the_page(retrained: Retrained, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings, _ = retrained
    monkeypatch.setenv("DRILLCORE_ROOT", str(settings.root))
    target = tmp_path / "report.html"
    done = CliRunner().invoke(cli, ["report", "shells-forest@1", "--output", str(target), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["version"] == 1
    assert target.read_text().startswith("<!doctype html>")
    png = re.search(r"data:image/png;base64,([^\"]+)", target.read_text())
    assert png is not None
    import base64

    assert np.asarray(Image.open(io.BytesIO(base64.b64decode(png[1])))).size > 1000
    failed = CliRunner().invoke(cli, ["report", "shells-forest", "--output", str(tmp_path / "none" / "r.html")])
    assert "no such folder" in str(failed.exception)
