"""The stages of a classifier: one row of activations per image, a head on it, one label per image."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drillcore.datasets.manifest import Manifest
from drillcore.evaluation.metrics import align_columns, classification_metrics
from drillcore.promotion.gate import Candidate, gate
from drillcore.promotion.verdict import Verdict
from drillcore.recipes import Recipe
from drillcore.recipes.building import build_head, store_dtype
from drillcore.runtime.session import Model
from drillcore.settings import Settings
from drillcore.workflow.drilling import GROWTH_FOLDER, HEAD_FOLDER, load_backbone, load_images
from drillcore.workflow.exporting import DecodedImages, keep_model, metadata_of, parity_rows
from drillcore.workflow.measuring import PICTURES, evaluation_record, unreadable
from drillcore.workflow.opening import MODEL_FILE, answers, open_for_batches
from drillcore.workflow.records import Record
from drillcore.workflow.steps import Standing, gate_limits

if TYPE_CHECKING:
    import pandas as pd

    from drillcore.backbones.base import Backbone
    from drillcore.representations.activations import FeatureTable

EVIDENCE_FILE = "probabilities.npy"  # float32 [N,K]
FIT_SPLITS = ("train", "val")  # paper 004, II.B.1: the second stage learns from both


def fill_store(settings: Settings, recipe: Recipe, manifest: Manifest, record: Record) -> Record:
    """Bring the features of all labelled images into the store; only those that are missing pass the backbone."""
    backbone = load_backbone(settings, recipe, manifest, record)
    splits = sorted({*_fit_splits(recipe, manifest), recipe.evaluate.split})
    rows = manifest.table[manifest.table["split"].isin(splits)]
    table = features(settings, recipe, manifest, backbone, rows)
    passed = table.extracted
    text = f"{len(rows):,} x {table.rows.shape[1]:,} {store_dtype(recipe)}, {passed:,} images passed the backbone"
    return {"rows": len(rows), "width": int(table.rows.shape[1]), "passed": passed, "note": text, "reused": not passed}


def features(
    settings: Settings, recipe: Recipe, manifest: Manifest, backbone: Backbone, rows: pd.DataFrame
) -> FeatureTable:
    """Return the features of manifest rows, in their order, from the store where it has them."""
    from drillcore.representations.activations import extract

    paths = [manifest.path_of(path) for path in rows["path"]]
    load = load_images(settings, backbone.channels, paths, backbone.value_range)
    return extract(backbone, recipe.backbone.taps, list(rows["sha256"]), load, settings, dtype=store_dtype(recipe))


def fit_head(
    settings: Settings, recipe: Recipe, manifest: Manifest, record: Record, folder: Path
) -> tuple[Record, list[str]]:
    """Fit the head, on train + val as a rule, and keep it in the run's folder; growth goes on after a kill."""
    from drillcore.heads.base import FitRun, save_head
    from drillcore.progress import progress

    rows = manifest.rows(_fit_splits(recipe, manifest))
    table = features(settings, recipe, manifest, load_backbone(settings, recipe, manifest, record), rows)
    more: Any = {"n_jobs": settings.cpu_threads, "device": settings.device}
    head = build_head(recipe, n_classes=len(manifest.classes), **more)
    growth = folder / GROWTH_FOLDER
    with progress(f"fitting {recipe.head.name}", head.work(len(rows)), unit="steps") as advance:
        run = FitRun(checkpoint=growth, advance=advance)
        head.fit(np.asarray(table.rows), manifest.label_indices(rows), run=run)
    digest = save_head(folder / HEAD_FOLDER, head)
    shutil.rmtree(growth, ignore_errors=True)
    text = f"{recipe.head.name} on {len(rows):,} rows"
    made = [f"{HEAD_FOLDER}/{path.name}" for path in sorted((folder / HEAD_FOLDER).iterdir())]
    return {"arrays_sha256": digest, "rows": len(rows), "note": text}, made


def _fit_splits(recipe: Recipe, manifest: Manifest) -> tuple[str, ...]:
    """Return the splits the head learns from; one that says itself has what its network has not learnt from."""
    from drillcore.heads.catalogue import head_row

    wanted = head_row(recipe.head.name).fit_splits
    return wanted if manifest.table["split"].isin(wanted).any() else FIT_SPLITS


def export_model(
    settings: Settings, recipe: Recipe, manifest: Manifest, record: Record, folder: Path
) -> tuple[Record, list[str]]:
    """Write `model.onnx` to the run's folder.

    Args:
        settings: where things are.
        recipe: of the model.
        manifest: the data it learned from.
        record: of the backbone stage.
        folder: the run's, with its fitted head.

    Returns:
        the record (`sha256`, `bytes`, `metadata`) and the file made.
    """
    from drillcore.export.assemble import export_classifier
    from drillcore.heads.base import load_head

    backbone = load_backbone(settings, recipe, manifest, record)
    metadata = metadata_of(settings, recipe, manifest, backbone)
    head = load_head(folder / HEAD_FOLDER)
    data = export_classifier(backbone, recipe.backbone.taps, head, dtype=store_dtype(recipe), metadata=metadata)
    return keep_model(folder, data, metadata)


def prove_parity(
    settings: Settings, recipe: Recipe, manifest: Manifest, record: Record, folder: Path
) -> tuple[Record, list[str]]:
    """Compare the run's file with its parts on every validation image and on odd sizes.

    Raises:
        ParityError: names the worst image; nothing is registered.
    """
    from drillcore.export.parity import BATCHES, ODD_SIZES, Reference, check_parity
    from drillcore.heads.base import load_head
    from drillcore.progress import progress

    backbone = load_backbone(settings, recipe, manifest, record)
    reference = Reference(backbone, recipe.backbone.taps, load_head(folder / HEAD_FOLDER), store_dtype(recipe))
    names = list(parity_rows(manifest)["path"])
    paths = [manifest.path_of(name) for name in names]
    images = DecodedImages(settings, paths, backbone.channels, backbone.value_range)
    total = (len(names) + len(ODD_SIZES)) * len(BATCHES)
    with progress("parity", total, unit="answers") as advance:
        report = check_parity(
            folder / MODEL_FILE, reference, images, names=names, threads=settings.cpu_threads, advance=advance
        )
    values = report.to_dict()
    text = f"{values['rows']:,} answers, largest difference {values['max_difference']:.1e}"
    if values["crossings"]:
        text += f", {values['crossings']} threshold crossings proven"
    return {**values, "note": text}, []


def evaluate_run(
    settings: Settings, recipe: Recipe, manifest: Manifest, record: Record, folder: Path
) -> tuple[Record, list[str]]:
    """Measure the run's ONNX file on the recipe's evaluation split.

    Returns:
        the record (`figures`, `ms`, `mb`) and the files made: probabilities float32 [N,K] in the order of the split's
        rows, and pictures.

    Raises:
        DataError: the split is empty, or a versioned image cannot be read any more.
    """
    from drillcore.workflow.pictures import draw_evaluation

    rows = manifest.rows(recipe.evaluate.split)
    model = open_for_batches(settings, folder / MODEL_FILE)
    probabilities = evidence(settings, recipe, model, manifest)
    truth = manifest.label_indices(rows)
    figures = classification_metrics(truth, probabilities, list(manifest.classes))
    pictures = draw_evaluation(settings, folder / PICTURES, manifest, rows, probabilities, figures)
    return evaluation_record(
        settings,
        folder,
        [manifest.path_of(path) for path in rows["path"]],
        figures,
        pictures,
        evidence=(EVIDENCE_FILE, probabilities),
        summary=f"accuracy {figures['accuracy']:.4f}",
        decimals=2,
    )


def evidence(settings: Settings, recipe: Recipe, model: Model, manifest: Manifest) -> NDArray[np.float32]:
    """Return a model's probabilities float32 [N,K] for all rows of the evaluation split, in their order.

    Raises:
        DataError: an image that the manifest vouches for cannot be read.
    """
    rows = manifest.rows(recipe.evaluate.split)
    found = answers(settings, model, [manifest.path_of(path) for path in rows["path"]])
    if found.set_aside:
        first = found.set_aside[0]
        raise unreadable(first.path, first.reason)
    return found.probabilities


def judge(recipe: Recipe, manifest: Manifest, challenger: Standing, champion: Standing | None) -> Verdict:
    """Ask the gate about two classifiers' probabilities for the same images."""
    rows = manifest.rows(recipe.evaluate.split)
    images = list(rows["sha256"])
    rival = None if champion is None else _candidate(champion, images)
    truth, seed = list(rows["label"]), recipe.seeds.bootstrap
    return gate(gate_limits(recipe), truth, _candidate(challenger, images), rival, seed=seed)


def measure(
    settings: Settings, model: Model, items: Sequence[Any], layout: Any, recipe: Recipe
) -> tuple[dict[str, Any], int, int]:
    """Return figures on labelled items, images scored and images set aside."""
    found = answers(settings, model, [item.source for item in items])
    if not len(found.rows):
        return {}, 0, len(found.set_aside)
    labels = [str(items[row].label) for row in found.rows]
    classes = sorted({*labels, *model.metadata.classes})
    index = {name: number for number, name in enumerate(classes)}
    truth = np.array([index[label] for label in labels], dtype=np.int64)
    rows = align_columns(found.probabilities, model.metadata.classes, classes)
    return classification_metrics(truth, rows, classes), len(found.rows), len(found.set_aside)


def _candidate(standing: Standing, images: list[str]) -> Candidate:
    evidence = standing.evidence
    if evidence is None:
        evidence = np.zeros((len(images), len(standing.classes)), np.float32)
    return Candidate(classes=standing.classes, probabilities=evidence, images=images, **standing.facts())
