"""`drillcore data forget` on a real project: an image that was learnt from is nowhere any more; a record says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from drift_case import MODEL, scored

from drillcore import registry, versions
from drillcore.cli.forget import forget
from drillcore.datasets.ingest import check_dataset, current_manifest
from drillcore.digests import sha256_file
from drillcore.errors import DataError, InputError, LeaseHeldError
from drillcore.runtime.batch.receipt import verify
from drillcore.settings import Settings
from drillcore.state.leases import hold_lease
from drillcore.store.spec import FeatureSpec
from drillcore.store.store import FeatureStore, tables
from drillcore.upkeep import forgetting, forgetting_landed, forgetting_records
from drillcore.upkeep.doctor import examine

Retrained = tuple[Settings, dict[str, Any]]


@pytest.fixture
def run(retrained: Retrained, monkeypatch: pytest.MonkeyPatch) -> Any:
    settings, _ = retrained
    check_dataset(settings, "shells")  # the copy's files have times of their own
    monkeypatch.setattr("drillcore.cli.forget.begin", lambda **_: settings)

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(forget, [str(argument) for argument in arguments])

    return call


def copies(settings: Settings, digest: str) -> list[Path]:
    """All files of the project that are the image."""
    return [path for path in settings.root.rglob("*") if path.is_file() and sha256_file(path) == digest]


def stored(settings: Settings, digests: list[str]) -> int:
    count = 0
    for table in tables(settings):
        spec = FeatureSpec(**{**table.spec, "taps": tuple(table.spec["taps"])})  # type: ignore[arg-type]
        store = FeatureStore.of(settings, spec)
        count += int((~store.missing(spec.keys(digests))).sum())
    return count


def test_an_image_goes_from_everywhere(retrained: Retrained, run: Any, tmp_path: Path) -> None:
    settings, _ = retrained
    manifest = current_manifest(settings, "shells")
    rows = manifest.rows("train")
    digest, others = rows["sha256"].iloc[3], [one for one in rows["sha256"] if one != rows["sha256"].iloc[3]]
    image = manifest.path_of(rows["path"].iloc[3])
    (tmp_path / "copy").mkdir()
    shutil.copyfile(image, tmp_path / "copy" / "withdrawn.png")
    shutil.copytree(image.parent, settings.state / "inbox" / MODEL)
    output = scored(settings, settings.state / "inbox" / MODEL, settings.state / "scored" / MODEL)
    (settings.state / "reports").mkdir()
    before, lines = len(copies(settings, digest)), stored(settings, others)
    assert before >= 5  # landing zone, data/, cache, remote, inbox
    assert stored(settings, [digest]) >= 1

    said = run(tmp_path / "copy" / "withdrawn.png")
    assert said.exit_code == 0, said.output
    assert "would be forgotten; --yes does it" in said.output
    assert f"{MODEL}@1" in said.output
    assert len(copies(settings, digest)) == before

    done = run(digest, "--yes", "--json")
    assert done.exit_code == 0, done.output
    assert copies(settings, digest) == []
    assert stored(settings, [digest]) == 0
    assert stored(settings, others) == lines
    left = current_manifest(settings, "shells")
    assert set(left.table["sha256"]) == set(manifest.table["sha256"]) - {digest}
    assert verify(output).scored == len(list((settings.state / "inbox" / MODEL).iterdir()))
    assert not (settings.state / "reports").exists()
    record = json.loads(Path(json.loads(done.stdout)["record"]).read_text())
    assert [(one["model"], one["version"], one["split"]) for one in record["learnt"]] == [(MODEL, 1, "train")]
    assert record["done"]
    text = registry.get_version(settings, MODEL, 1).tags["data_dvc"]
    with pytest.raises(DataError, match="neither the DVC cache nor the remote has that version"):
        versions.restore(settings, text)
    assert run(digest, "--yes").exit_code == 0  # again: there is nothing left


@pytest.mark.parametrize("step", ["drop_objects", "check_dataset", "StoreWriter"])
def test_what_a_kill_left_is_finished_by_the_next_call(
    retrained: Retrained, run: Any, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    settings, _ = retrained
    first, second = current_manifest(settings, "shells").rows("train")["sha256"].iloc[:2]

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(forgetting_landed if step == "check_dataset" else forgetting, step, killed)
        assert run(first, "--yes").exit_code != 0
    assert forgetting_records.unfinished(settings) == {first}
    if step == "drop_objects":
        assert any(first in finding.text for finding in examine(settings))
    assert run(second, "--yes").exit_code == 0
    assert forgetting_records.unfinished(settings) == set()
    for digest in (first, second):
        assert copies(settings, digest) == []
        assert stored(settings, [digest]) == 0


def test_what_is_refused(retrained: Retrained, run: Any) -> None:
    settings, _ = retrained
    known = current_manifest(settings, "shells").table["sha256"].iloc[0]
    for arguments, error, text in (
        (["0" * 64, known, "--yes"], InputError, "no image of digest 000"),
        (["typo.png", "--yes"], InputError, "there is no file 'typo.png'"),
        (["abc", "--yes"], InputError, "no SHA-256 digest"),
    ):
        assert isinstance(found := run(*arguments).exception, error)
        assert text in str(found)
    with hold_lease(settings, "retrain:shells-forest"):
        assert isinstance(run(known, "--yes").exception, LeaseHeldError)
    assert copies(settings, known)
    assert not (settings.state / "forgotten").exists()
