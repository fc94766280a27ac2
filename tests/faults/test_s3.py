"""An S3 store that is not there, or that fails in the middle: one clear line, and the last good state stays."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from s3_case import S3

from drillcore import registry
from drillcore.digests import sha256_file
from drillcore.errors import DrillcoreError
from drillcore.settings import Settings
from drillcore.tracking import start_run


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    from moto.backends import get_backend

    started = S3()
    for name, value in started.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    yield started
    started.kill()
    get_backend("s3").reset()


def registered(settings: Settings, file: Path) -> int:
    with start_run(settings, "tiny") as run:
        return registry.register(settings, file, name="tiny", run_id=run.id, sha256=sha256_file(file), metadata={})


@pytest.mark.parametrize("puts", [0, 2])
def test_artifacts_on_a_store_that_fails(
    tracked: Settings, tiny_models: ModuleType, tmp_path: Path, store: S3, puts: int
) -> None:
    settings = dataclasses.replace(tracked, artifact_root="s3://models")
    first, second = (tiny_models.write_tiny_model(tmp_path / f"{bias}.onnx", bias=bias) for bias in (1, 2))
    fails(settings, first, "NoSuchBucket")
    assert registry.versions(settings, "tiny") == []
    store.make("models")
    assert registered(settings, first) == 1
    registry.promote(settings, "tiny", 1)
    store.puts = puts
    fails(settings, second, "503")
    assert [row.version for row in registry.versions(settings, "tiny")] == [1]
    assert registry.aliases(settings, "tiny")["champion"] == 1
    store.puts = -1
    assert registry.fetch(settings, "tiny").sha256 == sha256_file(first)
    assert registered(settings, second) == 2


def test_artifacts_without_the_client_of_s3(
    tracked: Settings, tiny_model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    fails(dataclasses.replace(tracked, artifact_root="s3://models"), tiny_model_file, "boto3")


def fails(settings: Settings, file: Path, part: str) -> None:
    with pytest.raises(DrillcoreError, match=part) as caught:
        registered(settings, file)
    assert "s3://models" in str(caught.value)
    assert "\n" not in str(caught.value)
