"""`drillcore run`, what `make run` calls: sample data, retrain, gate, promotion, batch scoring, and where it all is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drillcore.cli.retrain import run_flow
from drillcore.cli.serving_models import bring
from drillcore.cli.session import begin, json_option, print_json, print_table, program, shown
from drillcore.cli.uncommitted import say_uncommitted
from drillcore.errors import InputError
from drillcore.settings import Settings

if TYPE_CHECKING:
    from drillcore.retrain.retraining import Summary

MODEL, DATASET = "plankton-forest", "plankton"
PRETRAINED = "plankton-lite"  # on features of a network trained elsewhere


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
    from drillcore.retrain.retraining import Retrain, Summary

    summary = Retrain(settings, MODEL, promote=True).peek()
    if summary is None:
        summary = Summary.from_dict(run_flow(settings, MODEL, promote=True))
    served = bring(settings, MODEL)
    pretrained = _pretrained(settings, as_json)
    _say(as_json, "scoring the sample's images")
    from drillcore_serving.batch.score_batch import score

    output = settings.state / "scored" / f"{MODEL}-{served.version}-{summary.data_digest[:12]}"
    result = score(settings, served, settings.data / DATASET, output, device=settings.device)
    facts = _facts(settings, summary, served.path, output)
    facts |= pretrained
    facts |= {"scored": result.scored, "set_aside": result.set_aside, "seconds": round(time.monotonic() - started, 1)}
    if as_json:
        print_json(facts)
        return
    print_table("done", ("what", "value"), facts.items())
    click.echo(f"one image:   {program(settings, 'drillcore')} predict {MODEL} IMAGE")
    click.echo(f"MLflow page: {facts['mlflow']}")
    say_uncommitted(settings, settings.root / "data.dvc", why="The sample data")


def _pretrained(settings: Settings, as_json: bool) -> dict[str, object]:
    """Retrain the model on pretrained features too, where its recipe and weights are here; returns its figures."""
    if not (settings.models / f"{PRETRAINED}.yaml").is_file():
        return {}
    _say(as_json, f"retraining {PRETRAINED}: features of EfficientNet-Lite0, pretrained on ImageNet, and a linear SVM")
    from drillcore.retrain.retraining import Retrain, Summary

    try:
        summary = Retrain(settings, PRETRAINED, promote=True).peek()
        if summary is None:
            summary = Summary.from_dict(run_flow(settings, PRETRAINED, promote=True))
    except InputError as error:  # its weights are not installed: the main job is done all the same
        _say(as_json, f"{PRETRAINED} was left out: {error}")
        return {}
    bring(settings, PRETRAINED)
    return {"pretrained_model": PRETRAINED, "pretrained_accuracy": summary.figures["accuracy"]}


def _facts(settings: Settings, summary: Summary, onnx: Path, output: Path) -> dict[str, object]:
    uri = settings.shown_tracking_uri.replace(str(settings.root) + "/", "")
    return {
        "model": summary.model,
        "version": summary.version,
        "status": summary.status,
        "accuracy": summary.figures["accuracy"],
        "onnx": shown(settings, onnx),
        "predictions": shown(settings, output),
        "pictures": shown(settings, Path(summary.folder) / "pictures"),
        "mlflow": f"{program(settings, 'mlflow')} ui --backend-store-uri {uri} --port 5000",
    }


def _say(as_json: bool, text: str) -> None:
    if not as_json:
        click.echo(f"- {text}", err=True)
