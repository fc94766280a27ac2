"""`drillcore run`, what `make run` calls: sample data, retrain, gate, promotion, batch scoring, and where it all is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drillcore.cli.serving_models import bring
from drillcore.cli.session import begin, json_option, print_json, print_table, shown
from drillcore.settings import Settings

if TYPE_CHECKING:
    from drillcore.workflow.retraining import Summary

MODEL, DATASET = "plankton-forest", "plankton"


@click.command()
@json_option
def run(as_json: bool) -> None:
    """Do the main job end to end on the bundled sample data: train, gate, promote, score.

    \b
    Example:
      drillcore run
    """
    settings = begin(as_json=as_json)
    started = time.monotonic()
    _say(as_json, "writing the sample data")
    from drillcore.datasets.landing import sample_datasets

    sample_datasets(settings)
    _say(as_json, f"retraining {MODEL}: versions, checks, features, forest, ONNX, gate (a minute or two at first)")
    from drillcore.workflow.retraining import Retrain, Summary

    summary = Retrain(settings, MODEL, promote=True).peek()
    if summary is None:
        from pipelines.retrain import retrain
        from pipelines.terminal import own_server

        with own_server(settings):
            summary = Summary.from_dict(retrain(MODEL, promote=True))
    served = bring(settings, MODEL)
    _say(as_json, "scoring the sample's images")
    from serving.batch import score

    output = settings.state / "scored" / f"{MODEL}-{served.version}-{summary.data_digest[:12]}"
    result = score(settings, served, settings.data / DATASET, output, device=settings.device)
    facts = _facts(settings, summary, served.path, output)
    facts |= {"scored": result.scored, "set_aside": result.set_aside, "seconds": round(time.monotonic() - started, 1)}
    if as_json:
        print_json(facts)
        return
    print_table("done", ("what", "value"), facts.items())
    click.echo("one image:   .venv/bin/drillcore predict plankton-forest IMAGE")
    click.echo(f"MLflow page: {facts['mlflow']}")


def _facts(settings: Settings, summary: Summary, onnx: Path, output: Path) -> dict[str, object]:
    uri = settings.resolved_tracking_uri.replace(str(settings.root) + "/", "")
    return {
        "model": summary.model,
        "version": summary.version,
        "status": summary.status,
        "accuracy": summary.figures["accuracy"],
        "onnx": shown(settings, onnx),
        "predictions": shown(settings, output),
        "pictures": shown(settings, Path(summary.folder) / "pictures"),
        "mlflow": f".venv/bin/mlflow ui --backend-store-uri {uri} --port 5000",
    }


def _say(as_json: bool, text: str) -> None:
    if not as_json:
        click.echo(f"- {text}", err=True)
