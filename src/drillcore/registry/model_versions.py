"""Registering a model file as a version, once, byte for byte; and listing the versions there are."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drillcore.digests import sha256_file
from drillcore.errors import IntegrityError, RegistryError, UnknownNameError
from drillcore.json_types import Json
from drillcore.registry import flavour
from drillcore.registry.agreement import require_agreement
from drillcore.registry.own_database import read_names, read_versions
from drillcore.settings import Settings
from drillcore.tracking.connection import NOTE_LENGTH, mlflow_client, mlflow_library

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL_FILE = "model.onnx"  # MLflow's name of the file inside a logged ONNX model
_SHA256 = "sha256"
_METADATA = "drillcore"


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A registered version.

    Attributes:
        model: registered name.
        version: 1, 2, ...
        run_id: of the run that made it.
        sha256: of its ONNX file.
        metadata: the JSON inside the file, as plain values.
        tags: all tags, `sha256` and the metadata left out.
        created: milliseconds since 1970.
    """

    model: str
    version: int
    run_id: str
    sha256: str
    metadata: Json
    tags: dict[str, str]
    created: int

    @property
    def lineage(self) -> str:
        """`sample` or `import-<n>`."""
        return str(self.metadata.get("lineage", ""))


def register(
    settings: Settings,
    model_file: Path,
    *,
    name: str,
    run_id: str,
    sha256: str,
    metadata: Mapping[str, object],
    tags: Mapping[str, str] | None = None,
    description: str = "",
    model_description: str = "",
) -> int:
    """Register a model file as a new version of `name`, or return the version this run made of the same bytes.

    The file is logged, its stored bytes are verified, and one request makes the version with all its tags: a kill at
    any point leaves either the whole version or none, and calling again ends with exactly one.

    Args:
        settings: where MLflow is.
        model_file: the ONNX file, without external data.
        name: registered name.
        run_id: of the run that made it.
        sha256: what the file must have.
        metadata: the JSON inside the file.
        tags: more tags of the version, for instance `data_dvc`, `lineage`; at most 100,000 characters each.
        description: of the version on MLflow's page, Markdown.
        model_description: of the model, of all its versions; empty: the one there is stays.

    Raises:
        IntegrityError: the file, or what MLflow stored of it, does not match the digest; nothing is registered.
        RegistryError: MLflow cannot be reached or refuses.
    """
    if (found := sha256_file(model_file)) != sha256:
        raise IntegrityError(f"{model_file} has digest {found[:12]}, {sha256[:12]} is expected; export it again")
    with mlflow_client(settings) as client:
        for version in _of_run(client, name, run_id):
            if version.sha256 == sha256:
                return version.version
        uri, model_id = _logged(client, run_id, sha256) or _log(client, run_id, model_file, sha256, metadata)
        _verify_stored(client, model_id, sha256)
        _make_registered_model(client, name)
        if model_description:
            client.update_registered_model(name, model_description[:NOTE_LENGTH])
        made = client.create_model_version(
            name,
            source=uri,
            run_id=run_id,
            model_id=model_id,
            description=description[:NOTE_LENGTH] or None,
            tags={**(tags or {}), _SHA256: sha256, _METADATA: json.dumps(dict(metadata), sort_keys=True)},
        )
        if made.status != "READY":
            raise RegistryError(f"version {made.version} of {name} is {made.status}: {made.status_message}")
        return int(made.version)


def versions(settings: Settings, name: str) -> list[ModelVersion]:
    """Return the registered versions of a model, newest first; empty where there is none. Raises RegistryError."""
    rows: Sequence[object] | None = read_versions(settings, _checked(name))
    if rows is None:
        with mlflow_client(settings) as client:
            rows = _pages(client, f"name = '{name}'")
    found = [_version(row) for row in rows]
    return sorted((row for row in found if row is not None), key=lambda row: -row.version)


def get_version(settings: Settings, name: str, version: int) -> ModelVersion:
    """Return one version.

    Raises:
        UnknownNameError: no such model or version; names the known ones.
        IntegrityError: the history knows the number with another file: a database was lost.
        RegistryError: MLflow cannot be reached.
    """
    found = versions(settings, name)
    row = next((row for row in found if row.version == version), None)
    require_agreement(settings, name, version, row.sha256 if row else None)
    if row is not None:
        return row
    if not found:
        known = model_names(settings)
        raise UnknownNameError("registered model", name, known)
    raise UnknownNameError(f"version of {name}", str(version), [str(row.version) for row in found])


def model_names(settings: Settings) -> list[str]:
    """Return the names that have a registered version, sorted. Raises RegistryError."""
    own = read_names(settings)
    return asked_names(settings) if own is None else own


def asked_names(settings: Settings) -> list[str]:
    """Return what `model_names` does, as MLflow itself answers. Raises RegistryError."""
    with mlflow_client(settings) as client:
        names: list[str] = []
        token: str | None = None
        while True:
            page = client.search_registered_models(page_token=token)
            names += [row.name for row in page if row.latest_versions]
            token = page.token
            if not token:
                return sorted(names)


def _of_run(client: MlflowClient, name: str, run_id: str) -> list[ModelVersion]:
    rows = _pages(client, f"name = '{_checked(name)}' and run_id = '{run_id}'")
    return [row for row in map(_version, rows) if row is not None]


def _pages(client: MlflowClient, query: str) -> list[object]:
    rows: list[Any] = []
    token: str | None = None
    while True:
        page = client.search_model_versions(query, page_token=token)
        rows += page
        token = page.token
        if not token:
            return rows


def _version(row: Any) -> ModelVersion | None:
    """Return MLflow's version as ours, None where it was not made by us (no digest among its tags)."""
    tags = dict(row.tags)
    sha256, metadata = tags.pop(_SHA256, ""), tags.pop(_METADATA, "")
    if not sha256 or row.status != "READY":
        return None
    try:
        values = json.loads(metadata or "{}")
        if not isinstance(values, dict):
            raise ValueError("a JSON object is expected")
    except (ValueError, RecursionError):
        raise RegistryError(f"version {row.version} of {row.name}: its tag {_METADATA!r} is not JSON") from None
    return ModelVersion(
        row.name, int(row.version), row.run_id or "", sha256, values, tags, int(row.creation_timestamp or 0)
    )


def _checked(name: str) -> str:
    if "'" in name or "`" in name:
        raise UnknownNameError("model", name, [])
    return name


def _make_registered_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except mlflow_library().exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _logged(client: MlflowClient, run_id: str, sha256: str) -> tuple[str, str] | None:
    """Return a model that was logged whole before a kill: (URI, id)."""
    experiment = client.get_run(run_id).info.experiment_id
    query = f"source_run_id = '{run_id}' and tags.`{_SHA256}` = '{sha256}'"
    for model in client.search_logged_models([experiment], query):
        if str(model.status) in ("READY", "LoggedModelStatus.READY"):
            return str(model.model_uri), str(model.model_id)
    return None


def _log(
    client: MlflowClient, run_id: str, model_file: Path, sha256: str, metadata: Mapping[str, object]
) -> tuple[str, str]:
    import onnx
    from mlflow.models import Model

    mlflow = mlflow_library()
    # They warn that an environment has no pip, as uv makes them, and that there is no signature.
    for name in ("mlflow.utils.environment", "mlflow.models.model"):
        logging.getLogger(name).setLevel(logging.ERROR)
    proto = onnx.load(str(model_file), load_external_data=False)
    before = client.get_run(run_id).info
    with mlflow.start_run(run_id=run_id, log_system_metrics=False):
        # Without a signature: MLflow would let through the tensors it names alone, and no path or file.
        info = Model.log(
            None,
            flavour,
            name="model",
            onnx_model=proto,
            pip_requirements=flavour.requirements(),  # MLflow would guess for seconds, and wrongly
            metadata={_METADATA: dict(metadata), _SHA256: sha256},
            save_as_external_data=False,
            tags={_SHA256: sha256},
        )
    # Leaving the block marks the run finished; it goes on after registering.
    if before.status == "RUNNING":
        client.update_run(run_id, status="RUNNING")
    return str(info.model_uri), str(info.model_id)


def _verify_stored(client: MlflowClient, model_id: str, sha256: str) -> None:
    location = client.get_logged_model(model_id).artifact_location.rstrip("/")
    with tempfile.TemporaryDirectory() as temporary:
        uri = f"{location}/{MODEL_FILE}"
        stored = Path(mlflow_library().artifacts.download_artifacts(artifact_uri=uri, dst_path=temporary))
        found = sha256_file(stored)
    if found != sha256:
        client.delete_logged_model(model_id)
        raise IntegrityError(
            f"MLflow stored digest {found[:12]} of a model of digest {sha256[:12]}: nothing is registered; write the "
            "file with onnx's SerializeToString, which a second writing keeps as it is"
        )
