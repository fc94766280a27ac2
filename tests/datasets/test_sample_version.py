"""The committed data.dvc is the version of the sample data sets, on every machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from drillcore import versions
from drillcore.datasets.landing import sample_datasets
from drillcore.datasets.synthetic import SAMPLES
from drillcore.settings import Settings

CHECKOUT = Path(__file__).resolve().parents[2]


def test_committed_data_dvc_is_the_samples_version(settings: Settings, tmp_path: Path) -> None:
    sample_datasets(settings)
    versions.update(settings)
    fresh, committed = settings.root / "data.dvc", CHECKOUT / "data.dvc"
    # HEAD's, as the file of a checkout that is worked in follows that checkout's data (`make run` moves it on).
    head = subprocess.run(["git", "show", "HEAD:./data.dvc"], cwd=CHECKOUT, capture_output=True, check=True)
    if head.stdout != fresh.read_bytes():
        kept = tmp_path / "data.dvc"
        shutil.copy(fresh, kept)
        pytest.fail(
            "the samples' bytes changed (or another version of data.dvc was committed). If the change is meant: "
            f"cp {kept} {committed} && git commit -m 'feat(datasets): new sample version' data.dvc"
        )


def test_all_samples_are_in_it(settings: Settings) -> None:
    results = sample_datasets(settings)
    assert [result.dataset for result in results] == list(SAMPLES)
    assert {result.lineage for result in results} == {"sample"}
    assert all(result.images == result.added > 0 for result in results)
    again = sample_datasets(settings)
    assert [result.added for result in again] == [0] * len(SAMPLES)


def test_dvc_configuration_is_the_committed_one(settings: Settings) -> None:
    versions.ensure(settings)
    for name in ("config", ".gitignore"):
        assert (settings.root / ".dvc" / name).read_text() == (CHECKOUT / ".dvc" / name).read_text()
    assert not (settings.root / ".dvc/config.local").exists()
