"""The report of the plankton paper's benchmark: what has been measured beside what the paper says, and what is open."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.plankton_paper.figures import SHOWN
from benchmarks.plankton_paper.found import NAME, NETWORKS, PAPER_IMAGES, Found
from benchmarks.plankton_paper.sections import (
    claims_section,
    clusters_section,
    deconvolution_section,
    dropout_section,
    epochs_section,
    memory_section,
    networks_section,
    significance_section,
    sweep_section,
)
from benchmarks.report import RESULTS, write_report
from drillcore.errors import InputError
from drillcore.settings import Settings

if TYPE_CHECKING:
    from benchmarks.plankton_paper.experiments import Experiments


def write_paper_report(experiments: Experiments, settings: Settings, *, quick: bool) -> dict[str, Any]:
    """Write figures, trees, Markdown and JSON, and log them to MLflow.

    Args:
        experiments: whose records are read; what is not there is a row that says so.
        settings: where MLflow is.
        quick: the report goes to the benchmark's own folder, not to benchmarks/results.

    Returns:
        what the JSON holds.

    Raises:
        InputError: nothing has been measured yet.
    """
    found = Found(experiments)
    if not found.all():
        raise InputError("nothing of the plankton paper has been measured yet; run the benchmark without --only report")
    results = experiments.folder / "results" if quick else RESULTS
    pictures = results / NAME
    pictures.mkdir(parents=True, exist_ok=True)
    for file in sorted((experiments.folder / "pictures").glob("*")):
        shutil.copyfile(file, pictures / file.name)
    found.draw(pictures)
    figures = found.figures()
    raw = {"records": found.all(), "not_run": found.missing(), "counts": experiments.images.counts()}
    seeds = {"networks": experiments.scale.seed, "heads": experiments.scale.heads.seed}
    value = write_report(NAME, figures, raw, _text(found), seeds=seeds, folder=results)
    _log(settings, value, results, quick)
    return value


def _text(found: Found) -> str:
    parts = [
        _about(found),
        claims_section(found),
        networks_section(found),
        *(sweep_section(found, network) for network in (*NETWORKS, "squeezenet1_0")),
        significance_section(found),
        epochs_section(found),
        dropout_section(found),
        memory_section(found),
        clusters_section(found),
        deconvolution_section(found),
        _open(found),
    ]
    return "\n\n".join(part.strip() for part in parts if part)


def _about(found: Found) -> str:
    images, counts = found.experiments.images, found.experiments.images.counts()
    error = (0.24 / max(1, counts["test"])) ** 0.5 * 100
    seconds = sum(found.records.seconds(name) for name in found.records.pieces)
    done, total = len(found.all()), len(found.records.pieces)
    shown = ", ".join(f"{counts[split]:,} {split}" for split in PAPER_IMAGES)
    return f"""Every experiment of "CNN features with random forests and SVMs" (paper 004) on {images.source}:
{sum(counts.values()):,} images of {len(images.classes)} classes, {shown}, the paper's proportion of 25,000 / 1,500 /
3,800 kept class by class. Second stages are fitted on train + val and tested on test; the standard error of an accuracy
there is about {error:.1f} points. {done} of {total} pieces are done, in {seconds / 60:.0f} minutes of wall time; one
seed each. Bring it up to date by `drillcore bench plankton-paper`; what is there is not computed again."""


def _open(found: Found) -> str:
    costs = [
        f"{SHOWN[scheme]} {record['cost']:g}"
        for scheme in ("one_vs_rest", "one_vs_one")
        if (record := found.records.value(f"cost/{scheme}"))
    ]
    chosen = f" (chosen: {', '.join(costs)})" if costs else ""
    missing = found.missing()
    skipped = "\n".join(f"- {name}: {why}" for name, why in missing.items())
    pairs = found.layer("cnn1", "layer3", "one_vs_one")
    machines = f" The one-vs-one SVM is the real one, {pairs['machines']:,} machines." if pairs else ""
    scale = found.experiments.scale
    return f"""## What the paper leaves open, and what we took

- Learning rate, batch, schedule, max-norm, initial weights: CNN1 {scale.cnn1.epochs} epochs from rate
  {scale.cnn1.learning_rate:g}, the bag's other members {scale.bag.epochs} from {scale.bag.learning_rate:g}, CNN2 up to
  {scale.cnn2.epochs} from {scale.cnn2.learning_rate:g}, CNN3 and its variants up to {scale.cnn3.epochs} from
  {scale.cnn3.learning_rate:g}; cosine to 0, batches of {scale.cnn1.batch}, momentum 0.9, max-norm 3 (CNN3: its own),
  He's initial weights. The epoch of the lowest validation loss counts. No augmentation: the paper names none.
- Images: 26,536 of its 30,300 are open; x = 1 - v / 255, squashed to 28x28 or 40x40 with antialiasing.
- CNN3's maxout pieces (2, 2, 4) and norms are Pylearn2's for MNIST; dropout keeps 0.8 of the pixels and is used at the
  first layer alone, as table III says; `cnn3-all-layers` has Pylearn2's 0.5 in the others too.
- SVMs: linear, on standardised features, C / number of features with C chosen on validation images on CNN1's third
  layer{chosen}.{machines}
- Forests: scikit-learn's defaults. Linkage: average. Figure 5's SVM: one-vs-one. The subset of features of the third
  tree: by importance.
- CNN2's first layer has 41,472 features, 4.4 GB in float32: the store keeps them as float16 in memory-mapped shards
  (2.2 GB); the forest is fitted on all rows, the SVMs on a part of them through their Gram matrix.

{"## Not run" + chr(10) + chr(10) + skipped if missing else ""}"""


def _log(settings: Settings, value: Mapping[str, Any], results: Path, quick: bool) -> None:
    from drillcore.tracking.mlflow_run import start_run

    numbers = {name: one for name, one in value.items() if isinstance(one, int | float)}
    with start_run(
        settings, NAME, name="quick" if quick else "", tags={"revision": value["machine"]["revision"]}
    ) as run:
        run.params({"seeds": value["seeds"], "counts": value["raw"]["counts"]})
        run.metrics(numbers)
        run.file(results / f"{NAME}.md")
        run.file(results / f"{NAME}.json")
        run.folder(results / NAME, NAME)
