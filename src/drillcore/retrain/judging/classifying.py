"""How answers that name images are measured and judged: probabilities of the classes, one true class per image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drillcore.evaluation.figures.abstaining import abstaining_figures
from drillcore.evaluation.figures.metrics import align_columns, classification_metrics, predictions
from drillcore.promotion.gate import Candidate, gate
from drillcore.promotion.verdict import Verdict
from drillcore.recipes import Recipe
from drillcore.retrain.judging.measuring import PICTURES, Evidence, Measuring, Standing, Truths, gate_limits
from drillcore.retrain.opening import answers
from drillcore.retrain.records import Figures
from drillcore.runtime.model.abstaining import answered
from drillcore.runtime.model.session import Model
from drillcore.settings import Settings

if TYPE_CHECKING:
    from drillcore.datasets.base import DatasetLayout, FoundItem
    from drillcore.retrain.run import Run


class NamingEvidence(Evidence):
    """Probabilities of the classes of the images that could be scored, and what they are judged by."""

    def __init__(self, settings: Settings, model: Model, truths: Truths) -> None:
        found = answers(settings, model, truths.paths)
        self.probabilities, self.scored = found.probabilities, found.rows
        self.bad = [(Path(row.path), row.reason) for row in found.set_aside]
        self._about, self._known, self._truths = model.metadata, model.metadata.classes, truths

    @property
    def numbers(self) -> NDArray[np.float32]:
        """Probabilities float32 [M, K], columns in the model's order."""
        return self.probabilities


def naming_candidate(one: Standing, images: Sequence[str]) -> Candidate:
    """Return a version for the gate, with the digests of the images its evidence is of."""
    evidence = one.evidence
    if evidence is None:
        evidence = np.zeros((len(images), len(one.classes)), np.float32)
    return Candidate(classes=one.classes, probabilities=evidence, images=images, **one.facts())


class ClassEvidence(NamingEvidence):
    """With one true class of each image."""

    def figures(self) -> Figures:
        """Return the figures of all images, over all classes that are known or true."""
        classes = list(self._truths.classes)
        index = {name: number for number, name in enumerate(classes)}
        truth = np.array([index[self._truths.of(int(row))[0]] for row in self.scored], dtype=np.int64)
        aligned = align_columns(self.probabilities, self._known, classes)
        found = classification_metrics(truth, aligned, classes)
        kept = answered(self._about, self.probabilities)
        return found if kept is None else {**found, **abstaining_figures(predictions(aligned) == truth, kept)}


class ClassMeasuring(Measuring):
    """Of `classification`."""

    evidence_file = "probabilities.npy"  # float32 [N,K]
    decimals = 2

    def truths(self, run: Run) -> Truths:
        """Return the manifest's labels."""
        rows = run.evaluated_rows()
        labels = list(rows["label"])
        return Truths(paths=run.paths(rows), of=lambda row: (labels[row],), classes=run.manifest.classes)

    def outside(self, settings: Settings, model: Model, items: Sequence[FoundItem], layout: DatasetLayout) -> Truths:
        """Return the items' labels; those the model does not know count as missed."""
        labels = [str(item.label) for item in items]
        classes = sorted({*labels, *model.metadata.classes})
        return Truths(paths=[item.source for item in items], of=lambda row: (labels[row],), classes=classes)

    def evidence(self, settings: Settings, model: Model, truths: Truths, *, whole: bool = True) -> ClassEvidence:
        """Ask a classifier about images."""
        return ClassEvidence(settings, model, truths)

    def draw(self, run: Run, model: Model, evidence: Any, figures: Figures) -> list[str]:
        """Draw confusions, calibration, classes and examples."""
        from drillcore.retrain.pictures.evaluation_pictures import draw_evaluation

        rows = run.evaluated_rows()
        return draw_evaluation(run.settings, run.path / PICTURES, run.manifest, rows, evidence.probabilities, figures)

    def said(self, recipe: Recipe, figures: Figures) -> str:
        """Return the accuracy; of a model that does not answer every image that of the answered too."""
        said = f"accuracy {figures['accuracy']:.4f}"
        if "coverage" in figures:
            sure = f", {figures['answered_accuracy']:.4f} of them" if "answered_accuracy" in figures else ""
            said += f" ({figures['coverage']:.1%} answered{sure})"
        return said

    def judge(self, run: Run, challenger: Standing, champion: Standing | None) -> Verdict:
        """Ask the gate about two classifiers' probabilities for the same images."""
        rows = run.evaluated_rows()
        images = list(rows["sha256"])
        rival = None if champion is None else naming_candidate(champion, images)
        truth, seed = list(rows["label"]), run.recipe.seeds.bootstrap
        return gate(gate_limits(run.recipe), truth, naming_candidate(challenger, images), rival, seed=seed)
