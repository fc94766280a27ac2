"""Events that flows raise on a Prefect server, for triggers of deployments to act on: docs/how-to/schedules.md."""

from __future__ import annotations

from prefect.events import emit_event

from drillcore.json_types import Json

DATA = "drillcore.data"  # a data set has a new version
PROMOTION = "drillcore.promotion"  # a model has a new champion
DRIFT = "drillcore.drift"  # a model's answers have changed


def raise_data(summary: Json) -> None:
    """Tell of the data set's version of an ingest that accepted one."""
    _raise(DATA, "dataset", summary, ("data_digest", "images", "set_aside", "splits"))


def raise_promotion(summary: Json) -> None:
    """Tell of the champion that a retrain or the gate has made."""
    _raise(PROMOTION, "model", summary, ("version", "reason"))


def raise_drift(summary: Json) -> None:
    """Tell of answers that have changed."""
    _raise(DRIFT, "model", summary, ("version", "reason", "level", "answers", "tests"))


def _raise(event: str, kind: str, summary: Json, told: tuple[str, ...]) -> None:
    """Raise an event of what triggers match as `drillcore.KIND.NAME`."""
    name = str(summary[kind])
    resource = {"prefect.resource.id": f"drillcore.{kind}.{name}", "prefect.resource.name": name}
    if "version" in told:
        resource["drillcore.version"] = str(summary["version"])
    emit_event(event=event, resource=resource, payload={key: summary[key] for key in told})
