"""`drillcore predict`: one image, to the terminal."""

from __future__ import annotations

from pathlib import Path

import click

from drillcore.cli.serving_models import bring
from drillcore.cli.session import begin, json_option, print_json, print_table


@click.command()
@click.argument("model")
@click.argument("image", type=click.Path(path_type=Path))
@json_option
def predict(model: str, image: Path, as_json: bool) -> None:
    """Answer for one IMAGE with MODEL[@ALIAS|@VERSION].

    \b
    Example:
      drillcore predict plankton-forest data/plankton/copepod/00017.jpg
    """
    settings = begin(as_json=as_json)
    from drillcore.runtime.session import open_model
    from serving.predict import predict_one

    served = bring(settings, model)
    opened = open_model(served.path, sha256=served.sha256, device=settings.device, threads=settings.cpu_threads)
    answer = predict_one(opened, image, max_pixels=settings.max_pixels)
    if as_json:
        print_json(
            {
                "image": str(image),
                "label": answer.label,
                "top5": [{"label": label, "probability": probability} for label, probability in answer.top5],
                "model": served.model,
                "version": served.version,
                "model_sha256": served.sha256,
            }
        )
        return
    click.echo(f"{image}: {answer.label}   ({served.model} version {served.version})")
    rows = [(label, f"{probability:6.1%}", "█" * round(30 * probability)) for label, probability in answer.top5]
    print_table("", ("class", "probability", ""), rows)
