"""Reading a run back: what was logged, and its artifacts as files on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from drillcore.errors import RegistryError
from drillcore.settings import Settings
from drillcore.tracking.connection import mlflow_client


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run as MLflow has it.

    Attributes:
        id: MLflow's run id.
        name: of the run.
        status: FINISHED, RUNNING, FAILED or KILLED.
        started: milliseconds since 1970.
        ended: the same; None while it runs.
        params: as text.
        metrics: last value of each.
        tags: ours; MLflow's own (`mlflow.*`) are left out.
    """

    id: str
    name: str
    status: str
    started: int
    ended: int | None
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]


def run_facts(settings: Settings, run_id: str) -> RunFacts:
    """Return what was logged in a run. Raises RegistryError: it is not there, or MLflow cannot be reached."""
    with mlflow_client(settings) as client:
        run = client.get_run(run_id)
    info, data = run.info, run.data
    tags = {name: value for name, value in data.tags.items() if not name.startswith("mlflow.")}
    ended = int(info.end_time) if info.end_time else None
    return RunFacts(
        run_id,
        info.run_name or "",
        info.status,
        int(info.start_time),
        ended,
        dict(data.params),
        dict(data.metrics),
        tags,
    )


def bring_artifacts(settings: Settings, run_id: str, target: Path, wanted: Sequence[str] = ()) -> Path:
    """Copy a run's artifacts under `target`, an existing folder, and return where they are.

    Args:
        settings: where MLflow is.
        run_id: of the run.
        target: where they go.
        wanted: names of files and folders of the run, of which those that are there come; (): all but the model.

    Raises:
        RegistryError: the run or its artifacts are gone, or MLflow cannot be reached.
    """
    with mlflow_client(settings) as client:
        names = [item.path for item in client.list_artifacts(run_id) if item.path != "model"]
        if not names:
            raise RegistryError(f"run {run_id} has no artifacts any more; restore them from a backup")
        for name in names if not wanted else [name for name in names if name in wanted]:
            client.download_artifacts(run_id, name, str(target))
    return target


def remove_pictures(settings: Settings, run_id: str) -> None:
    """Remove the pictures kept with a run. Raises RegistryError: MLflow or the store of artifacts cannot be reached."""
    with mlflow_client(settings) as client:
        if any(item.path == "pictures" for item in client.list_artifacts(run_id)):
            from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

            get_artifact_repository(client.get_run(run_id).info.artifact_uri).delete_artifacts("pictures")
