"""What fetch brings is what was registered, from inside the artifact root, or nothing."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from drillcore import registry
from drillcore.errors import InputError, IntegrityError, RegistryError, UnknownNameError
from drillcore.registry import fetching
from drillcore.runtime.model.served import pointer_path, read_pointer, resolve
from drillcore.settings import Settings
from drillcore.tracking.connection import mlflow_client

Add = Callable[..., int]


def stored_file(settings: Settings, version: int) -> Path:
    sha256 = registry.get_version(settings, "tiny", version).sha256
    files = (settings.state / "artifacts").rglob("model.onnx")
    return next(file for file in files if fetching.sha256_file(file) == sha256)


def test_fetch_follows_the_alias(tracked: Settings, add_version: Add) -> None:
    add_version(1)
    add_version(2)
    registry.promote(tracked, "tiny", 1)
    assert registry.fetch(tracked, "tiny").version == 1
    assert resolve(tracked, "tiny").version == 1
    registry.promote(tracked, "tiny", 2)
    assert resolve(tracked, "tiny").version == 1  # until it is fetched
    assert registry.fetch(tracked, "tiny").version == 2
    assert resolve(tracked, "tiny").sha256 == registry.get_version(tracked, "tiny", 2).sha256
    assert registry.fetch(tracked, "tiny@1").version == 1
    assert read_pointer(tracked, "tiny").version == 2


def test_an_unmoved_alias_needs_no_mlflow(tracked: Settings, add_version: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    add_version(1)
    registry.promote(tracked, "tiny", 1)
    first = registry.fetch(tracked, "tiny")
    monkeypatch.setattr(fetching, "get_version", None)
    assert registry.fetch(tracked, "tiny") == first


def test_a_damaged_blob_or_pointer_is_fetched_anew(tracked: Settings, add_version: Add) -> None:
    add_version(1)
    registry.promote(tracked, "tiny", 1)
    pointer = registry.fetch(tracked, "tiny")
    served = resolve(tracked, "tiny").path
    served.write_bytes(b"damaged")
    assert registry.fetch(tracked, "tiny") == pointer
    resolve(tracked, "tiny")
    pointer_path(tracked, "tiny").write_text("{")
    assert registry.fetch(tracked, "tiny") == pointer
    resolve(tracked, "tiny")


def test_unknown_references(tracked: Settings, add_version: Add) -> None:
    add_version(1)
    with pytest.raises(UnknownNameError, match="known: tiny"):
        registry.fetch(tracked, "tinny")
    with pytest.raises(InputError, match="no champion yet"):
        registry.fetch(tracked, "tiny")
    with pytest.raises(UnknownNameError, match="version"):
        registry.fetch(tracked, "tiny@4")
    registry.promote(tracked, "tiny", 1)
    with pytest.raises(UnknownNameError, match="known: champion"):
        registry.fetch(tracked, "tiny@best")


def test_a_stored_file_that_was_changed_is_not_used(tracked: Settings, add_version: Add) -> None:
    add_version(1)
    add_version(2)
    registry.promote(tracked, "tiny", 1)
    registry.fetch(tracked, "tiny")
    registry.promote(tracked, "tiny", 2)
    stored_file(tracked, 2).write_bytes(b"something else")
    with pytest.raises(IntegrityError, match="registry says"):
        registry.fetch(tracked, "tiny")
    assert resolve(tracked, "tiny").version == 1  # the last good one stays


def test_a_stored_file_that_is_gone(tracked: Settings, add_version: Add) -> None:
    add_version(1)
    registry.promote(tracked, "tiny", 1)
    stored_file(tracked, 1).unlink()
    with pytest.raises(RegistryError, match="gone"):
        registry.fetch(tracked, "tiny")


def test_a_symbolic_link_out_of_the_artifact_root_is_refused(tracked: Settings, add_version: Add) -> None:
    add_version(1)
    registry.promote(tracked, "tiny", 1)
    file = stored_file(tracked, 1)
    outside = tracked.root / "outside.onnx"
    shutil.move(file, outside)
    file.symlink_to(outside)
    with pytest.raises(IntegrityError, match="outside the artifact root"):
        registry.fetch(tracked, "tiny")


@pytest.mark.parametrize("trick", ["/etc", "file:///etc", "{root}/.drillcore/artifacts/../../secret"])
def test_a_source_elsewhere_is_refused(tracked: Settings, add_version: Add, trick: str) -> None:
    add_version(1)
    registry.promote(tracked, "tiny", 1)
    (tracked.root / "secret").mkdir()
    (tracked.root / "secret" / "model.onnx").write_bytes(b"secret")
    import sqlite3

    with sqlite3.connect(tracked.state / "mlflow.db") as database:
        source = trick.format(root=tracked.root)
        database.execute("UPDATE model_versions SET source = ?, storage_location = ?", (source, source))
    with pytest.raises((IntegrityError, RegistryError)) as caught:
        registry.fetch(tracked, "tiny")
    assert "outside" in str(caught.value)
    assert not pointer_path(tracked, "tiny").exists()


@pytest.mark.parametrize(
    ("root", "location", "allowed"),
    [
        ("s3://bucket/mlflow", "s3://bucket/mlflow/tiny/models/m-1/artifacts/model.onnx", True),
        ("s3://bucket/mlflow", "s3://bucket/mlflow-other/tiny/model.onnx", False),
        ("s3://bucket/mlflow", "s3://bucket/mlflow/../secret/model.onnx", False),
        ("s3://bucket/mlflow", "s3://other/mlflow/tiny/model.onnx", False),
        ("s3://bucket/mlflow", "/etc/model.onnx", False),
        ("s3://bucket/mlflow", "http://elsewhere/model.onnx", False),
    ],
)
def test_sources_in_a_bucket(settings: Settings, root: str, location: str, allowed: bool) -> None:
    there = dataclasses.replace(settings, artifact_root=root)
    if allowed:
        assert fetching._inside(there, "tiny", location) is None
    else:
        with pytest.raises(IntegrityError):
            fetching._inside(there, "tiny", location)


def test_a_server_brings_its_own_artifacts_only(settings: Settings) -> None:
    there = dataclasses.replace(settings, tracking_uri="http://mlflow:5000")
    assert fetching._inside(there, "tiny", "mlflow-artifacts:/1/models/m-1/artifacts/model.onnx") is None
    with pytest.raises(IntegrityError):
        fetching._inside(there, "tiny", "file:///etc/model.onnx")


def test_a_server_that_is_away_is_one_line(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    there = dataclasses.replace(settings, tracking_uri="http://me:secret@127.0.0.1:9")
    with pytest.raises(RegistryError) as caught, mlflow_client(there) as client:
        client.search_registered_models()
    assert "\n" not in str(caught.value)
    assert "secret@" not in str(caught.value).split("failed:")[0]
