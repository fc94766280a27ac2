"""The chain of a real version: signed as it is registered, asked for by all who use it, broken by any change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from signing_case import with_keys, write_keys

from drillcore import registry
from drillcore.errors import InputError, SignatureError
from drillcore.registry.signing import sign_version
from drillcore.retrain.releasing import promote_reference, rollback_model
from drillcore.retrain.retraining import Retrain
from drillcore.runtime.model.served import read_pointer, resolve
from drillcore.runtime.model.signatures import TAG, signed_path, verify
from drillcore.settings import Settings
from drillcore.tracking.connection import mlflow_client

NAME = "shells-forest"


def test_versions_are_signed_and_unsigned_ones_refused(retrained: tuple[Settings, dict[str, Any]]) -> None:
    settings, _ = retrained
    pem, pub = write_keys(settings.root)
    keyed = with_keys(settings, sign=Path(pem.name), trust=(Path(pub.name),))  # meant from the root
    with pytest.raises(SignatureError, match=rf"{NAME} version 1 is refused: it is not signed"):
        registry.fetch(keyed, NAME)
    signing = with_keys(settings, sign=pem)
    with Retrain(signing, NAME, changes=["head.params.n_estimators=11"]) as work:
        assert work.run_all().version == 2
    row = registry.get_version(keyed, NAME, 2)
    registry.fetch(keyed, f"{NAME}@2")
    signed = verify(keyed, row.tags[TAG], resolve(keyed, f"{NAME}@2").path, NAME)
    assert signed.recipe_sha256 == row.metadata["recipe_sha256"]
    assert signed.data_digest == row.metadata["data_digest"]
    promote_reference(signing, NAME, force=True)
    with pytest.raises(SignatureError, match="version 1 is refused"):
        rollback_model(keyed, NAME)
    assert registry.aliases(keyed, NAME)["champion"] == 2  # refused before anything moved

    assert sign_version(keyed, f"{NAME}@1").version == 1
    assert rollback_model(keyed, NAME)["version"] == 1
    assert resolve(keyed, NAME).version == 1


def test_a_registry_that_was_tampered_with(retrained: tuple[Settings, dict[str, Any]]) -> None:
    settings, _ = retrained
    pem, pub = write_keys(settings.root)
    keyed = with_keys(settings, sign=pem, trust=(pub,))
    with pytest.raises(InputError, match="no `signing_key`"):
        sign_version(settings, NAME)
    row = sign_version(keyed, NAME)
    pointer = registry.fetch(keyed, NAME)
    kept = signed_path(keyed, pointer.sha256)
    assert kept.is_file()

    text = registry.get_version(keyed, NAME, 1).tags[TAG]
    parts = json.loads(text)
    parts["recipe.json"] = parts["recipe.json"].replace('"n_estimators":10', '"n_estimators":99')
    assert parts != json.loads(text)
    with mlflow_client(keyed) as client:
        client.set_model_version_tag(NAME, "1", TAG, json.dumps(parts))
    kept.unlink()
    with pytest.raises(SignatureError, match=r"recipe\.json changed"):
        registry.fetch(keyed, NAME)
    assert read_pointer(keyed, NAME).version == row.version
    with mlflow_client(keyed) as client:
        client.set_model_version_tag(NAME, "1", TAG, text)
    registry.fetch(keyed, NAME)
    assert resolve(keyed, NAME).version == 1
