"""The stages of a model that labels pixels: core samples, a head on them, one label per pixel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drillcore.datasets.manifest import Manifest
from drillcore.errors import InputError
from drillcore.evaluation.dense_metrics import ImageConfusions, confusion_axes, dense_figures
from drillcore.evaluation.ships import CLASSES as SHIP_CLASSES
from drillcore.evaluation.ships import ShipScores
from drillcore.promotion.candidates import LabelCandidate
from drillcore.promotion.dense_gate import gate_labels
from drillcore.promotion.verdict import Verdict
from drillcore.recipes import Recipe
from drillcore.runtime.dense import segment
from drillcore.runtime.session import Model
from drillcore.settings import Settings
from drillcore.workflow import core_fitting, coring
from drillcore.workflow.measuring import PICTURES, evaluation_record, unreadable
from drillcore.workflow.opening import MODEL_FILE, open_for_batches
from drillcore.workflow.records import Record
from drillcore.workflow.steps import Standing, gate_limits

EVIDENCE_FILE = "confusions.npy"  # int64 [M,K,K]

Labels = NDArray[np.uint8]
Truth = Callable[[int], Labels]

fill_store = coring.fill_store
export_model = coring.export_model
prove_parity = coring.prove_parity
fit_head = core_fitting.fit_head


def evaluate_run(
    settings: Settings, recipe: Recipe, manifest: Manifest, record: Record, folder: Path
) -> tuple[Record, list[str]]:
    """Measure the run's ONNX file on the recipe's evaluation split.

    Returns:
        the record (`figures`, `ms`, `mb`) and the files made: confusion matrices and pictures.

    Raises:
        DataError: the split is empty, or a versioned image cannot be read any more.
    """
    from drillcore.datasets.targets import label_reader
    from drillcore.workflow.dense_pictures import draw_labels

    rows = manifest.rows(recipe.evaluate.split)
    paths = [manifest.path_of(path) for path in rows["path"]]
    read = label_reader(settings, manifest)
    model = open_for_batches(settings, folder / MODEL_FILE)
    scores = _scores(manifest.classes, model)
    listed = rows.to_dict("records")
    bad = scores.add_all(settings, model, paths, lambda index: read(listed[index]))
    if bad:
        raise unreadable(bad[0])
    figures = scores.figures()
    pictures = draw_labels(settings, folder / PICTURES, manifest, rows, model, scores, figures)
    pictures += coring.draw_maps(settings, recipe, manifest, record, rows, folder / PICTURES)
    shown = {name: figures[name] for name in recipe.evaluate.metrics if name in figures}
    text = ", ".join(f"{name} {value:.4f}" for name, value in list(shown.items())[:3])
    return evaluation_record(
        settings, folder, paths, figures, pictures, evidence=(EVIDENCE_FILE, scores.counts), summary=text
    )


def evidence(settings: Settings, recipe: Recipe, model: Model, manifest: Manifest) -> NDArray[np.int64]:
    """Return a model's confusion matrices int64 [M,K,K] for the rows of the evaluation split, in their order.

    Raises:
        DataError: an image that the manifest vouches for cannot be read.
    """
    from drillcore.datasets.targets import label_reader

    rows = manifest.rows(recipe.evaluate.split)
    read, listed = label_reader(settings, manifest), rows.to_dict("records")
    scores = LabelScores(manifest.classes, model)
    paths = [manifest.path_of(path) for path in rows["path"]]
    if bad := scores.add_all(settings, model, paths, lambda index: read(listed[index])):
        raise unreadable(bad[0])
    return scores.counts


def judge(recipe: Recipe, manifest: Manifest, challenger: Standing, champion: Standing | None) -> Verdict:
    """Ask the gate about two models' labels of the same images; the bootstrap draws whole groups."""
    rows = manifest.rows(recipe.evaluate.split)
    images = list(rows["sha256"])

    def candidate(one: Standing) -> LabelCandidate:
        axes = confusion_axes(manifest.classes, one.classes)
        return LabelCandidate(axes=axes, classes=one.classes, counts=one.evidence, images=images, **one.facts())

    rival = None if champion is None else candidate(champion)
    groups, seed = list(rows["group"]), recipe.seeds.bootstrap
    return gate_labels(gate_limits(recipe), candidate(challenger), rival, groups=groups, seed=seed)


def measure(
    settings: Settings, model: Model, items: Sequence[Any], layout: Any, recipe: Recipe
) -> tuple[dict[str, Any], int, int]:
    """Return figures on labelled items, images scored and images set aside.

    Raises:
        InputError: the source's classes are not those of the model.
    """
    from drillcore.datasets.targets import read_labels

    classes = list(layout.classes or ())
    if not set(model.metadata.classes) <= set(classes):
        raise InputError(
            f"the labels are of {', '.join(classes[:8])}; model {model.metadata.model} knows "
            f"{', '.join(model.metadata.classes[:8])}"
        )
    scores = _scores(classes, model)
    bad = scores.add_all(
        settings,
        model,
        [item.source for item in items],
        lambda index: _target(layout, items[index], settings, read_labels),
    )
    scored = len(items) - len(bad)
    return (scores.figures() if scored else {}), scored, len(bad)


def _target(layout: Any, item: Any, settings: Settings, read: Any) -> Labels:
    from drillcore.errors import BadImageError

    if item.target is None:
        raise BadImageError("no_label", f"{item.path} has no annotation image of its name")
    found: Labels = read(layout, item.target, settings)
    return found


class LabelScores:
    """Confusion matrices of a model's answers, image by image."""

    probabilities = False

    def __init__(self, classes: Sequence[str], model: Model) -> None:
        self.confusions = ImageConfusions(classes, model.metadata.classes)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Confusion matrices in the order of the images that could be scored, int64 [M,K,K]."""
        return self.confusions.counts

    def add(self, truth: Labels, label: Labels, probabilities: Any) -> None:
        """Count one image."""
        self.confusions.add(truth, label)

    def figures(self) -> dict[str, Any]:
        """Return the figures of everything that was added."""
        return dense_figures(self.counts, self.confusions.axes)

    def pictures(self) -> dict[str, bytes]:
        """Return further pictures by name, as PNG."""
        return {}

    def add_all(self, settings: Settings, model: Model, paths: Sequence[Path], truth: Truth) -> list[Path]:
        """Answer images side by side, count them in their order, and return those that could not be judged."""
        bad = []
        for index, answer in enumerate(answered(settings, model, paths, truth, self.probabilities)):
            if answer is None:
                bad.append(paths[index])
            else:
                self.add(*answer)
        return bad


class _ShipLabelScores(LabelScores):
    """The same with what counts for ships: probabilities, missed ships, false blobs, halo pixels."""

    probabilities = True

    def __init__(self) -> None:
        self.ships = ShipScores()

    @property
    def counts(self) -> NDArray[np.int64]:
        return self.ships.counts

    def add(self, truth: Labels, label: Labels, probabilities: Any) -> None:
        self.ships.add(truth, probabilities[1], label)

    def figures(self) -> dict[str, Any]:
        return self.ships.figures()

    def pictures(self) -> dict[str, bytes]:
        from drillcore.evaluation.ship_pictures import precision_recall_png

        if not self.ships.histogram.own.any():  # no ship among the images: there is no curve
            return {}
        return {"precision-recall": precision_recall_png({"this model": self.ships.histogram})}


def _scores(classes: Sequence[str], model: Model) -> LabelScores:
    ships = tuple(classes) == SHIP_CLASSES == tuple(model.metadata.classes)
    return _ShipLabelScores() if ships else LabelScores(classes, model)


def answered(
    settings: Settings, model: Model, paths: Sequence[Path], truth: Truth, probabilities: bool
) -> Iterator[tuple[Labels, Labels, Any] | None]:
    """Yield (truth, label, probabilities or None) of image files in order; None where one cannot be judged.

    As many images at a time as there are threads; memory does not grow with their number.
    """
    from drillcore.errors import BadImageError
    from drillcore.runtime.decode import decode_file
    from drillcore.workflow.side_by_side import in_order

    channels = model.metadata.channels

    def work(index: int) -> tuple[Labels, Labels, Any] | None:
        try:
            image = decode_file(paths[index], channels, **settings.decoding(model.metadata.value_range))
            target = truth(index)
            if target.shape != image.shape[:2]:
                return None
            found = segment(model, image, probabilities=probabilities)
        except (BadImageError, InputError):
            return None
        return target, found.label, found.probabilities

    yield from in_order(work, len(paths), settings.cpu_threads, "evaluating")
