"""Events that flows raise on a Prefect server, for triggers of deployments to act on: docs/how-to/schedules.md."""

from __future__ import annotations

from prefect.events import emit_event

from drillcore.json_types import Json

DATA = "drillcore.data"  # a data set has a new version
PROMOTION = "drillcore.promotion"  # a model has a new champion
DRIFT = "drillcore.drift"  # a model's answers have changed


def dataset_resource(name: str) -> str:
    """Return the id of a data set among Prefect's resources, which triggers match."""
    return f"drillcore.dataset.{name}"


def model_resource(name: str) -> str:
    """Return the id of a model among Prefect's resources."""
    return f"drillcore.model.{name}"


def raise_data(summary: Json) -> None:
    """Tell of the data set's version of an ingest that accepted one."""
    name = str(summary["dataset"])
    payload = {key: summary[key] for key in ("data_digest", "images", "set_aside", "splits")}
    resource = {"prefect.resource.id": dataset_resource(name), "prefect.resource.name": name}
    emit_event(event=DATA, resource=resource, payload=payload)


def raise_promotion(summary: Json) -> None:
    """Tell of the champion that a retrain or the gate has made."""
    _of_model(PROMOTION, summary, ("version", "reason"))


def raise_drift(summary: Json) -> None:
    """Tell of answers that have changed."""
    _of_model(DRIFT, summary, ("version", "reason", "level", "answers", "tests"))


def _of_model(event: str, summary: Json, told: tuple[str, ...]) -> None:
    name = str(summary["model"])
    resource = {
        "prefect.resource.id": model_resource(name),
        "prefect.resource.name": name,
        "drillcore.version": str(summary["version"]),
    }
    emit_event(event=event, resource=resource, payload={key: summary[key] for key in told})
