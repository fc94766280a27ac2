"""One run in MLflow: parameters, seeds, figures, curves, pictures, the data as dataset input, where the code stood."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from drillcore.errors import RegistryError
from drillcore.json_types import Values
from drillcore.settings import Settings
from drillcore.tracking.connection import (
    NOTE,
    NOTE_LENGTH,
    artifact_location,
    mlflow_client,
    mlflow_library,
    shown_uri,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

_DIGEST_LENGTH = 36  # of an MLflow dataset digest; the whole one is kept as a tag
_PARAM_BATCH, _METRIC_BATCH = 100, 1000  # MLflow's limits for one request


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """A run that is open. Every method raises RegistryError where MLflow cannot be reached.

    Attributes:
        id: MLflow's run id.
        experiment_id: of the model's experiment.
        settings: where MLflow is.
    """

    id: str
    experiment_id: str
    settings: Settings

    def params(self, values: Values) -> None:
        """Log parameters; nested mappings become dotted names, passwords in addresses are left out.

        MLflow never changes a parameter. Where a resumed run has another value (a setting, perhaps) the first one
        stays and a tag `resumed.<name>` tells the new one.
        """
        flat = {name: _text(_safe(value))[:6000] for name, value in _flatten(values)}
        with self._client() as client:
            entities = mlflow_library().entities
            there = client.get_run(self.id).data.params
            new = [entities.Param(name, value) for name, value in flat.items() if name not in there]
            for start in range(0, len(new), _PARAM_BATCH):
                client.log_batch(self.id, params=new[start : start + _PARAM_BATCH])
            changed = [
                entities.RunTag(f"resumed.{name}", value)
                for name, value in flat.items()
                if there.get(name, value) != value
            ]
            for start in range(0, len(changed), _PARAM_BATCH):
                client.log_batch(self.id, tags=changed[start : start + _PARAM_BATCH])

    def metrics(self, values: Values, *, step: int = 0, prefix: str = "") -> None:
        """Log the numbers of `values`, those that are finite; nested mappings are left out (`json` takes them)."""
        named = {f"{prefix}{name}": [(step, value)] for name, value in values.items() if _is_number(value)}
        self._log_points(named)

    def curves(self, values: Mapping[str, Sequence[float]], *, first_step: int = 1) -> None:
        """Log learning curves: one value per step of each name, for instance {"train_loss": [...], ...}."""
        self._log_points({name: list(enumerate(series, start=first_step)) for name, series in values.items()})

    def tags(self, values: Values) -> None:
        """Log tags, as text."""
        with self._client() as client:
            tag = mlflow_library().entities.RunTag
            client.log_batch(self.id, tags=[tag(name, _text(value)[:8000]) for name, value in values.items()])

    def describe(self, run: str, experiment: str = "") -> None:
        """Put descriptions, Markdown, on the pages of the run and of its experiment; an empty one changes nothing."""
        self.tags({NOTE: run})
        if experiment:
            with self._client() as client:
                client.set_experiment_tag(self.experiment_id, NOTE, experiment[:NOTE_LENGTH])

    def picture(self, name: str, png: bytes) -> None:
        """Keep a PNG under `pictures/`; `name` with or without `.png`."""
        self.bytes(f"pictures/{name.removesuffix('.png')}.png", png)

    def bytes(self, path: str, data: bytes) -> None:
        """Keep bytes as an artifact at `path`, for instance `data/data.dvc`."""
        folder, _, name = path.rpartition("/")
        with tempfile.TemporaryDirectory() as temporary, self._client() as client:
            file = Path(temporary) / name
            file.write_bytes(data)
            client.log_artifact(self.id, str(file), folder or None)

    def text(self, path: str, text: str) -> None:
        """Keep a text as an artifact at `path`."""
        self.bytes(path, text.encode())

    def json(self, path: str, value: object) -> None:
        """Keep plain values as JSON at `path`."""
        self.text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")

    def file(self, file: Path, folder: str = "") -> None:
        """Keep a file as an artifact in `folder`, under its own name."""
        with self._client() as client:
            client.log_artifact(self.id, str(file), folder or None)

    def folder(self, source: Path, folder: str) -> None:
        """Keep a whole folder as artifacts in `folder`."""
        with self._client() as client:
            client.log_artifacts(self.id, str(source), folder)

    def dataset(self, name: str, data_digest: str, manifest: Path, *, lineage: str, context: str = "training") -> None:
        """Log the data as a dataset input.

        Args:
            name: of the data set.
            data_digest: SHA-256 of the manifest's rows; MLflow keeps 36 characters as digest, the tag keeps all.
            manifest: the Parquet file; kept as an artifact by `file`, not here.
            lineage: `sample` or `import-<n>`.
            context: training, or the split that was evaluated.
        """
        labels = {"mlflow.data.context": context, "data_digest": data_digest, "lineage": lineage}
        with self._client() as client:
            from mlflow.data import meta_dataset, sources

            entities = mlflow_library().entities
            source = sources.LocalArtifactDatasetSource(manifest.name)
            data = meta_dataset.MetaDataset(source, name=name, digest=data_digest[:_DIGEST_LENGTH])
            tags = [entities.InputTag(key, value) for key, value in labels.items()]
            client.log_inputs(self.id, [entities.DatasetInput(data._to_mlflow_entity(), tags)])
        self.tags({"data_digest": data_digest, "lineage": lineage, "dataset": name})

    def _log_points(self, named: Mapping[str, Sequence[tuple[int, float]]]) -> None:
        now = int(time.time() * 1000)
        with self._client() as client:
            metric = mlflow_library().entities.Metric
            points = [
                metric(name, float(value), now, step)
                for name, series in named.items()
                for step, value in series
                if math.isfinite(value)
            ]
            for start in range(0, len(points), _METRIC_BATCH):
                client.log_batch(self.id, metrics=points[start : start + _METRIC_BATCH])

    def _client(self) -> contextlib.AbstractContextManager[MlflowClient]:
        return mlflow_client(self.settings)


@contextlib.contextmanager
def start_run(
    settings: Settings,
    model: str,
    *,
    name: str = "",
    tags: Mapping[str, object] | None = None,
    resume: str | None = None,
) -> Iterator[Run]:
    """Open a run in the experiment of a model; it ends FINISHED, or FAILED or KILLED after an exception.

    Args:
        settings: where MLflow is; logged with the run, passwords left out.
        model: the experiment's name.
        name: of the run; MLflow makes one up where it is empty.
        tags: git revision, dirty, weights' digest, recipe's digest, ...
        resume: id of a run that was killed and goes on; where MLflow knows it no more, a new one begins.

    Raises:
        RegistryError: MLflow cannot be reached.
    """
    with mlflow_client(settings) as client:
        experiment = _experiment(settings, client, model)
        run_id = _resumed(client, resume) if resume else None
        if run_id is None:
            # With its tags in one request: a run that was killed in between could never be found again.
            texts = {key: _text(value)[:8000] for key, value in {"model": model, **(tags or {})}.items()}
            run_id = client.create_run(experiment, run_name=name or None, tags=texts).info.run_id
    run = Run(run_id, experiment, settings)
    run.tags({"model": model, **(tags or {})})
    run.json("settings.json", {key: _safe(value) for key, value in settings.as_dict().items()})
    status = "FAILED"
    try:
        yield run
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        _end(settings, run_id, status)


def find_run(settings: Settings, model: str, tags: Mapping[str, str]) -> str | None:
    """Return the id of the newest run of a model that has all these tags, None where there is none."""
    with mlflow_client(settings) as client:
        found = client.get_experiment_by_name(model)
        if found is None:
            return None
        query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        runs = client.search_runs([found.experiment_id], query, max_results=1, order_by=["start_time DESC"])
        return str(runs[0].info.run_id) if runs else None


def _experiment(settings: Settings, client: MlflowClient, model: str) -> str:
    found = client.get_experiment_by_name(model)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(model, artifact_location=artifact_location(settings, model)))
    except mlflow_library().exceptions.MlflowException:
        found = client.get_experiment_by_name(model)  # another process was first
        if found is None:
            raise
        return str(found.experiment_id)


def _resumed(client: MlflowClient, run_id: str) -> str | None:
    try:
        if client.get_run(run_id).info.lifecycle_stage != "active":
            return None
    except mlflow_library().exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    client.update_run(run_id, status="RUNNING")
    return run_id


def _end(settings: Settings, run_id: str, status: str) -> None:
    try:
        with mlflow_client(settings) as client:
            client.set_terminated(run_id, status)
    except RegistryError:
        if status == "FINISHED":
            raise
        # The work's own error is on its way; a run left as RUNNING is resumed or found later.


def _flatten(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, default=str, ensure_ascii=False)


def _safe(value: object) -> object:
    return shown_uri(value) if isinstance(value, str) and "://" in value else value
