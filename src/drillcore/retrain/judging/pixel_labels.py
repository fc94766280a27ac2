"""How labels of pixels are measured and judged: confusion matrices, image by image, and what counts for ships."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drillcore.ahead import side_by_side
from drillcore.arrays import Array, Doubles
from drillcore.datasets.targets import label_reader, read_labels
from drillcore.errors import BadImageError, InputError
from drillcore.evaluation.figures.dense_metrics import ImageConfusions, confusion_axes, dense_figures
from drillcore.evaluation.figures.ships import CLASSES as SHIP_CLASSES
from drillcore.evaluation.figures.ships import ShipScores
from drillcore.json_types import Json
from drillcore.promotion.candidates import LabelCandidate
from drillcore.promotion.dense_gate import gate_labels
from drillcore.promotion.verdict import Verdict
from drillcore.recipes import Recipe
from drillcore.retrain.judging.measuring import PICTURES, Evidence, Measuring, Standing, Truths, gate_limits
from drillcore.retrain.records import Figures
from drillcore.runtime.dense.answering import segment
from drillcore.runtime.images.decode import decode_file
from drillcore.runtime.model.session import Model
from drillcore.settings import Settings

if TYPE_CHECKING:
    from drillcore.datasets.base import DatasetLayout, FoundItem
    from drillcore.retrain.run import Run

Labels = NDArray[np.uint8]


class LabelMeasuring(Measuring):
    """Of `dense_labels`."""

    evidence_file = "confusions.npy"  # int64 [M,K,K]

    def truths(self, run: Run) -> Truths:
        """Return the annotations of the manifest's rows."""
        rows = run.evaluated_rows()
        read, listed = label_reader(run.settings, run.manifest), rows.to_dict("records")
        return Truths(paths=run.paths(rows), of=lambda row: (read(listed[row]),), classes=run.manifest.classes)

    def outside(self, settings: Settings, model: Model, items: Sequence[FoundItem], layout: DatasetLayout) -> Truths:
        """Return the items' annotations."""
        classes = list(layout.classes or ())
        if not set(model.metadata.classes) <= set(classes):
            raise InputError(
                f"the labels are of {', '.join(classes[:8])}; model {model.metadata.model} knows "
                f"{', '.join(model.metadata.classes[:8])}"
            )

        def read(row: int) -> tuple[Labels, ...]:
            target = items[row].target
            if target is None:
                raise BadImageError("no_label", f"{items[row].path} has no annotation image of its name")
            return (read_labels(layout, target, settings),)

        return Truths(paths=[item.source for item in items], of=read, classes=classes)

    def evidence(self, settings: Settings, model: Model, truths: Truths, *, whole: bool = True) -> LabelScores:
        """Answer images side by side and count them in their order."""
        ships = tuple(truths.classes) == SHIP_CLASSES == tuple(model.metadata.classes)
        scores = _ShipLabelScores() if ships and whole else LabelScores(truths.classes, model)
        scores.add_all(settings, model, truths)
        return scores

    def each(self, numbers: Array) -> tuple[str, Doubles]:
        """Return the share of each image's pixels that is labelled right."""
        pixels = numbers.sum(axis=(1, 2))
        right = np.trace(numbers, axis1=1, axis2=2)
        return "global_average", np.divide(right, pixels, out=np.full(len(numbers), np.nan), where=pixels > 0)

    def draw(self, run: Run, model: Model, evidence: Any, figures: Figures) -> list[str]:
        """Draw examples, confusions, classes, and the maps that rows are read from."""
        from drillcore.retrain.pictures.pixel_pictures import draw_labels, draw_maps

        rows, folder = run.evaluated_rows(), run.path / PICTURES
        names = draw_labels(run.settings, folder, run.manifest, rows, model, evidence, figures)
        return names + draw_maps(run, rows, folder)

    def said(self, recipe: Recipe, figures: Figures) -> str:
        """Return the first three figures the recipe names."""
        shown = {name: figures[name] for name in recipe.evaluate.metrics if name in figures}
        return ", ".join(f"{name} {value:.4f}" for name, value in list(shown.items())[:3])

    def judge(self, run: Run, challenger: Standing, champion: Standing | None) -> Verdict:
        """Ask the gate about two models' labels of the same images; the bootstrap draws whole groups."""
        rows = run.evaluated_rows()
        images = list(rows["sha256"])

        def candidate(one: Standing) -> LabelCandidate:
            axes = confusion_axes(run.manifest.classes, one.classes)
            return LabelCandidate(axes=axes, classes=one.classes, counts=one.evidence, images=images, **one.facts())

        rival = None if champion is None else candidate(champion)
        groups, seed = list(rows["group"]), run.recipe.seeds.bootstrap
        return gate_labels(gate_limits(run.recipe), candidate(challenger), rival, groups=groups, seed=seed)


class LabelScores(Evidence):
    """Confusion matrices of a model's answers, image by image."""

    probabilities = False

    def __init__(self, classes: Sequence[str], model: Model) -> None:
        self.confusions = ImageConfusions(classes, model.metadata.classes)
        self.bad = []

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The counts."""
        return self.counts

    @property
    def counts(self) -> NDArray[np.int64]:
        """Confusion matrices in the order of the images that could be scored, int64 [M,K,K]."""
        return self.confusions.counts

    def add(self, truth: Labels, label: Labels, probabilities: Any) -> None:
        """Count one image."""
        self.confusions.add(truth, label)

    def figures(self) -> Json:
        """Return the figures of everything that was added."""
        return dense_figures(self.counts, self.confusions.axes)

    def add_all(self, settings: Settings, model: Model, truths: Truths) -> None:
        """Answer images side by side and count them in their order."""
        for path, answer in zip(truths.paths, answered(settings, model, truths, self.probabilities), strict=True):
            if answer is None:
                self.bad.append((path, ""))
            else:
                self.add(*answer)


class _ShipLabelScores(LabelScores):
    """The same with what counts for ships: probabilities, missed ships, false blobs, halo pixels."""

    probabilities = True

    def __init__(self) -> None:
        self.ships = ShipScores()
        self.bad = []

    @property
    def counts(self) -> NDArray[np.int64]:
        return self.ships.counts

    def add(self, truth: Labels, label: Labels, probabilities: Any) -> None:
        self.ships.add(truth, probabilities[1], label)

    def figures(self) -> Json:
        return self.ships.figures()

    def pictures(self) -> dict[str, bytes]:
        if not self.ships.histogram.own.any():  # no ship among the images: there is no curve
            return {}
        from drillcore.evaluation.pictures.ship_pictures import precision_recall_png

        return {"precision-recall": precision_recall_png({"this model": self.ships.histogram})}


def answered(
    settings: Settings, model: Model, truths: Truths, probabilities: bool
) -> Iterator[tuple[Labels, Labels, Any] | None]:
    """Yield (truth, label, probabilities or None) of image files in order; None where one cannot be judged.

    As many images at a time as there are threads; memory does not grow with their number.
    """
    channels, paths = model.metadata.channels, truths.paths

    def work(index: int) -> tuple[Labels, Labels, Any] | None:
        try:
            image = decode_file(paths[index], channels, **settings.decoding(model.metadata.value_range))
            (target,) = truths.of(index)
            if target.shape != image.shape[:2]:
                return None
            found = segment(model, image, probabilities=probabilities)
        except (BadImageError, InputError):
            return None
        return target, found.label, found.probabilities

    yield from side_by_side(work, len(paths), settings.cpu_threads, "evaluating")
