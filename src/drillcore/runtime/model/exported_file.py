"""A model file that somebody has exported, used as it is: without a project, a registry or a version."""

from __future__ import annotations

from pathlib import Path

from drillcore.digests import sha256_bytes
from drillcore.errors import InputError, UnsafeModelError
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.runtime.model.reference import parse_reference
from drillcore.runtime.model.safety import check_model_bytes
from drillcore.runtime.model.served import ServedModel
from drillcore.runtime.model.session import read_model
from drillcore.runtime.model.signatures import require
from drillcore.settings import Settings

NO_VERSION = 0  # no registry gave the file one


def read_metadata(data: bytes) -> ModelMetadata:
    """Return what a model file says of itself, checked as `read_exported` does. Raises UnsafeModelError."""
    return ModelMetadata.of_model(check_model_bytes(data))


def read_exported(path: Path, settings: Settings) -> ServedModel:
    """Return an exported file under the name that its metadata has; its version is `NO_VERSION`.

    Raises:
        SignatureError: the settings name trusted keys, and no signature of one of them is here for these bytes.
        InputError: there is no such file.
        UnsafeModelError: it is refused before anything in it runs, or has no metadata of ours.
    """
    data = read_model(path)
    metadata = read_metadata(data)
    try:
        wanted = parse_reference(metadata.model)
    except InputError:
        wanted = None
    if wanted is None or wanted.name != metadata.model:
        raise UnsafeModelError(f"{path}: its model is called {metadata.model[:80]!r}, which is no model's name")
    sha256 = sha256_bytes(data)
    require(settings, metadata.model, sha256, path)
    return ServedModel(metadata.model, NO_VERSION, sha256, path)
