from __future__ import annotations

import json
from pathlib import Path

import pytest

from drillcore.errors import InputError, IntegrityError, UnknownNameError
from drillcore.runtime.model.served import blob_path, pointer_path, put_blob, read_pointer, resolve, write_pointer
from drillcore.settings import Settings


@pytest.fixture
def blob(settings: Settings, tmp_path: Path) -> str:
    source = tmp_path / "model.onnx"
    source.write_bytes(b"the bytes of a model")
    return put_blob(settings, source)


def test_a_pointer_leads_to_the_verified_file(settings: Settings, blob: str) -> None:
    write_pointer(settings, "tiny", 3, blob)
    assert json.loads(pointer_path(settings, "tiny").read_text()) == {"version": 3, "sha256": blob}
    found = resolve(settings, "tiny")
    assert (found.model, found.version, found.sha256) == ("tiny", 3, blob)
    assert found.path.read_bytes() == b"the bytes of a model"


def test_aliases_and_versions_have_pointers_of_their_own(settings: Settings, blob: str) -> None:
    write_pointer(settings, "tiny", 4, blob, alias="challenger")
    write_pointer(settings, "tiny", 2, blob, alias="2")
    assert resolve(settings, "tiny@challenger").version == 4
    assert resolve(settings, "tiny@2").version == 2
    with pytest.raises(InputError, match="drillcore fetch tiny`"):
        resolve(settings, "tiny")


def test_a_changed_blob_is_refused(settings: Settings, blob: str) -> None:
    write_pointer(settings, "tiny", 1, blob)
    path = blob_path(settings, blob)
    path.write_bytes(path.read_bytes()[:-1] + b"L")
    with pytest.raises(IntegrityError, match=r"digest .* is expected"):
        resolve(settings, "tiny")
    path.unlink()
    with pytest.raises(IntegrityError, match="is gone"):
        resolve(settings, "tiny")


def test_a_damaged_blob_is_put_again(settings: Settings, blob: str, tmp_path: Path) -> None:
    blob_path(settings, blob).write_bytes(b"damaged")
    put_blob(settings, tmp_path / "model.onnx")
    write_pointer(settings, "tiny", 1, blob)
    assert resolve(settings, "tiny").sha256 == blob


@pytest.mark.parametrize("text", ["", "[]", "{", '{"version": 1}', '{"version": "1", "sha256": "x"}', "null"])
def test_a_damaged_pointer_is_one_line(settings: Settings, text: str) -> None:
    settings.served.mkdir(parents=True)
    pointer_path(settings, "tiny").write_text(text)
    with pytest.raises(IntegrityError, match="is damaged"):
        read_pointer(settings, "tiny")


def test_a_pointer_cannot_lead_out_of_the_blobs(settings: Settings) -> None:
    settings.served.mkdir(parents=True)
    pointer_path(settings, "tiny").write_text(json.dumps({"version": 1, "sha256": "../../../etc/passwd"}))
    with pytest.raises(IntegrityError, match="is damaged"):
        resolve(settings, "tiny")


def test_nothing_points_at_what_is_not_there(settings: Settings) -> None:
    with pytest.raises(IntegrityError, match="must be put there first"):
        write_pointer(settings, "tiny", 1, "0" * 64)
    assert not pointer_path(settings, "tiny").exists()


def test_unknown_models_list_the_known_ones(settings: Settings, blob: str) -> None:
    write_pointer(settings, "tiny", 1, blob)
    (settings.models / "other.yaml").write_text("schema: 1\n")
    with pytest.raises(UnknownNameError, match=r"did you mean tiny\?\); known: other, tiny"):
        resolve(settings, "tinny")
    with pytest.raises(InputError, match="drillcore fetch other`"):
        resolve(settings, "other")
