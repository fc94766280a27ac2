"""`drillcore drift` on a real version: its own images raise no alarm, others do; the report tells of it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from drift_case import MODEL, evaluated, only_bars, scored
from shells import write_shells

from drillcore import registry
from drillcore.analysis.reporting import gather_report
from drillcore.analysis.shifts.drift import LEAST_LEVEL, _class_shifts, compare, find_drift, keep_drift
from drillcore.analysis.shifts.drift_kept import drift_file
from drillcore.cli import cli
from drillcore.datasets.ingest import current_manifest
from drillcore.errors import InputError, ReceiptError, TooFewAnswersError
from drillcore.files import write_json
from drillcore.pages.report_origin import moment
from drillcore.pages.report_page import report_page
from drillcore.runtime.batch.sketch import merged, sketch_of
from drillcore.settings import Settings

Retrained = tuple[Settings, dict[str, Any]]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small checkout is evaluated on few images."""
    monkeypatch.setattr("drillcore.analysis.shifts.drift.LEAST", 5)


def test_its_own_images_have_the_reference_sketch(retrained: Retrained, tmp_path: Path) -> None:
    settings, _ = retrained
    output = scored(settings, evaluated(settings, tmp_path / "images"), tmp_path / "outputs" / "1")
    before = sorted(output.iterdir())
    found = find_drift(settings, MODEL, [tmp_path / "outputs"])
    assert found.since.sketch.to_bytes() == found.reference.to_bytes()
    assert not found.drifted
    assert [test.value for test in found.tests[:2]] == [0, 0]
    twice = find_drift(settings, MODEL, [tmp_path / "outputs", output, tmp_path / "outputs"])
    assert twice.to_dict() == found.to_dict()
    assert sorted(output.iterdir()) == before  # nothing is added to an output
    assert found.to_dict() == find_drift(settings, MODEL, [output]).to_dict()


def test_a_version_of_an_earlier_release_has_its_reference_made(
    retrained: Retrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, _ = retrained
    output = scored(settings, evaluated(settings, tmp_path / "images"), tmp_path / "out")
    kept = find_drift(settings, MODEL, [output]).reference
    monkeypatch.setattr("drillcore.analysis.shifts.drift.REFERENCE", "of-no-run.npz")
    assert find_drift(settings, MODEL, [output]).reference.to_bytes() == kept.to_bytes()


def test_a_missing_class_is_told_and_reported(
    retrained: Retrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, _ = retrained
    monkeypatch.setattr("drillcore.cli.drift.begin", lambda **_: settings)
    # What the flow `score` has written is found by itself.
    scored(settings, only_bars(tmp_path / "bars"), settings.state / "scored" / MODEL / "2026-01-01" / "000001")
    done = CliRunner().invoke(cli, ["drift", MODEL, "--level", "0.05", "--json"])
    assert done.exit_code == 3, done.output
    said = json.loads(done.stdout)
    assert (said["drifted"], said["answers"], len(said["outputs"])) == (True, 40, 1)
    assert {one["name"]: one["alarm"] for one in said["tests"]}["classes"]
    assert Path(said["picture"]).read_bytes().startswith(b"\x89PNG")
    text = report_page(gather_report(settings, MODEL))
    assert "Drift</h2>" in text
    assert "Drift of classes" in text
    plain = CliRunner().invoke(cli, ["drift", MODEL])
    assert "DRIFT" in plain.output


def test_the_report_says_when_and_what_has_come_since(retrained: Retrained, tmp_path: Path) -> None:
    settings, _ = retrained
    place = settings.state / "scored" / MODEL
    scored(settings, only_bars(tmp_path / "bars"), place / "1")
    before = report_page(gather_report(settings, MODEL))
    assert "Not compared yet: 1 scored output (40 answers" in before
    assert f"drillcore drift {MODEL}@1<" in before
    keep_drift(settings, find_drift(settings, MODEL))
    kept = json.loads(drift_file(settings, MODEL, 1).read_text())
    at_once = report_page(gather_report(settings, MODEL))
    assert f"Looked at on {moment(kept['looked'])}, at 1 scored output." in at_once
    assert "has answered nothing since" in at_once
    scored(settings, only_bars(tmp_path / "more", 30), place / "2")
    later = report_page(gather_report(settings, MODEL))
    assert "Newer than this finding, and not in it: 1 scored output (30 answers" in later
    # Of a folder that was named for the finding, what is new in it counts too.
    keep_drift(settings, find_drift(settings, MODEL, [scored(settings, tmp_path / "bars", tmp_path / "out" / "1")]))
    drift_file(settings, MODEL, 1).write_text(drift_file(settings, MODEL, 1).read_text().replace("/out/1", "/out"))
    scored(settings, tmp_path / "bars", tmp_path / "out" / "2")
    assert f"drillcore drift {MODEL}@1 --scored FOLDER" in report_page(gather_report(settings, MODEL))
    # A finding of another file that had the number says nothing of this one.
    write_json(drift_file(settings, MODEL, 1), {**kept, "model_sha256": "0" * 64})
    assert gather_report(settings, MODEL).drift is None


def test_old_answers_are_reached_by_the_command(retrained: Retrained, tmp_path: Path) -> None:
    settings, _ = retrained
    output = scored(settings, only_bars(tmp_path / "bars"), settings.state / "scored" / MODEL / "1")
    old = time.time() - 20.5 * 86_400
    os.utime(output / "receipt.json", (old, old))
    assert f"drillcore drift {MODEL}@1 --days 21<" in report_page(gather_report(settings, MODEL))
    assert find_drift(settings, MODEL, days=21).since.sketch.rows == 40


def test_what_a_server_has_kept_is_looked_at(retrained: Retrained) -> None:
    settings, _ = retrained
    version = registry.get_version(settings, MODEL, 1)
    classes = list(version.metadata["classes"])
    folder = settings.state / "sketches" / MODEL / version.sha256
    folder.mkdir(parents=True)
    answers = [[1.0, 0.0, 0.0]] * 30
    digests = [f"{number:016x}{'0' * 48}" for number in range(30)]
    for day in ("2000-01-01", "9999-12-31"):  # long ago, and lately
        kept = sketch_of(version.sha256, classes, "classification", answers, digests)
        (folder / f"{day}-abc.npz").write_bytes(kept.to_bytes())
    found = find_drift(settings, MODEL, level=LEAST_LEVEL)
    assert (found.since.served, found.since.sketch.rows) == (1, 30)
    assert found.drifted
    assert found.reference.rows == len(current_manifest(settings, "shells").rows("test"))


def test_terms_of_the_classes_add_up_to_the_index_and_an_image_sent_often_counts_once() -> None:
    random, classes = np.random.default_rng(0), list("abcdef")  # e and f are never answered
    rows = np.pad(random.dirichlet(np.ones(4), 90), ((0, 0), (0, 2)))
    digests = [f"{number:016x}" for number in range(90)]
    before = sketch_of("0" * 64, classes, "classification", rows[:60], digests[:60])
    after = sketch_of("0" * 64, classes, "classification", rows[60:], digests[60:])
    index, *_ = found = compare(before, after)
    shifts = _class_shifts(before, after)
    assert sorted(one.name for one in shifts) == list("abcd")
    assert sum(one.term for one in shifts) == pytest.approx(index.value, abs=1e-12)
    assert [sum(shares) for shares in zip(*((one.reference, one.now) for one in shifts), strict=True)] == pytest.approx(
        [1, 1]
    )
    probe = sketch_of("0" * 64, classes, "classification", rows[[60] * 5_000], digests[60:61] * 5_000)
    assert compare(before, merged([after, probe], "0" * 64, classes)) == found


def test_what_cannot_be_compared(retrained: Retrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, _ = retrained
    with pytest.raises(TooFewAnswersError, match="answers to 0 images since"):
        find_drift(settings, MODEL)
    for level in (0.0029, 1.0, float("nan")):
        with pytest.raises(InputError, match=r"from 0\.003 to below 1 is expected"):
            find_drift(settings, MODEL, level=level)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no finished output"):
        find_drift(settings, MODEL, [tmp_path / "empty"])
    output = scored(settings, write_shells(tmp_path / "new", 4, first=300), tmp_path / "out")
    part = sorted(output.glob("part-*"))[1]
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    with pytest.raises(ReceiptError, match="part-00001"):
        find_drift(settings, MODEL, [output])
    receipt = json.loads((output / "receipt.json").read_text()) | {"model_sha256": "0" * 64, "version": 7}
    (output / "receipt.json").write_text(json.dumps(receipt))
    with pytest.raises(InputError, match="by shells-forest version 7, not by shells-forest version 1"):
        find_drift(settings, MODEL, [output])
    version = registry.get_version(settings, MODEL, 1)
    monkeypatch.setattr("drillcore.analysis.shifts.drift.find_version", lambda *_: version)
    monkeypatch.setitem(version.metadata, "task", "dense_labels")
    with pytest.raises(InputError, match="dense_labels; drift compares answers for whole images"):
        find_drift(settings, MODEL)
