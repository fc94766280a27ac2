"""Signing a version that is registered already: one from before signatures were asked for, or of a new key."""

from __future__ import annotations

import tempfile
from pathlib import Path

from drillcore.errors import RegistryError
from drillcore.files import read_object
from drillcore.registry.fetching import download, resolve_version
from drillcore.registry.model_versions import MODEL_FILE, ModelVersion, get_version
from drillcore.runtime.model.reference import parse_reference
from drillcore.runtime.model.signatures import TAG, sign
from drillcore.settings import Settings
from drillcore.tracking import bring_artifacts
from drillcore.tracking.connection import mlflow_client


def sign_version(settings: Settings, reference: str) -> ModelVersion:
    """Sign MODEL[@ALIAS|@VERSION] with the settings' key; a signature that it has is replaced.

    Raises:
        UnknownNameError, InputError: no such model, alias or version; no key, or one that cannot be used.
        IntegrityError: the stored file or recipe is not the one that was registered.
        RegistryError: MLflow cannot be reached, or the run's recipe is gone.
    """
    wanted = parse_reference(reference)
    row = get_version(settings, wanted.name, resolve_version(settings, wanted))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        file = download(settings, row.model, row.version, folder / MODEL_FILE)
        bring_artifacts(settings, row.run_id, folder, ["recipe.json"])
        try:
            recipe = read_object(folder / "recipe.json")
        except (OSError, ValueError):
            raise RegistryError(
                f"the run of {row.model} version {row.version} keeps no recipe: it cannot be signed; retrain it"
            ) from None
        text = sign(settings, file, recipe)
    with mlflow_client(settings) as client:
        client.set_model_version_tag(row.model, str(row.version), TAG, text)
    return row
