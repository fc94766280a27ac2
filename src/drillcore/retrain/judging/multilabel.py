"""How answers of several labels are measured and judged: a probability of each, any number of them true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from drillcore.evaluation.figures.metrics import align_columns
from drillcore.evaluation.figures.voc_precision import ABSENT, PRESENT, UNJUDGED, Truth, multilabel_metrics
from drillcore.promotion.multilabel_gate import gate_multilabel
from drillcore.promotion.verdict import Verdict
from drillcore.recipes import Recipe
from drillcore.retrain.judging.classifying import NamingEvidence, naming_candidate
from drillcore.retrain.judging.measuring import Measuring, Standing, Truths, gate_limits
from drillcore.retrain.records import Figures
from drillcore.runtime.model.session import Model
from drillcore.settings import Settings

if TYPE_CHECKING:
    from drillcore.datasets.base import DatasetLayout, FoundItem
    from drillcore.retrain.run import Run

Labels = tuple[Sequence[str], Sequence[str]]  # of an image: present; not judged


class MultilabelEvidence(NamingEvidence):
    """With any number of true classes of each image."""

    def figures(self) -> Figures:
        """Return the figures of all images, over all classes that are known or true."""
        classes = list(self._truths.classes)
        truth = truth_matrix([self._truths.of(int(row))[0] for row in self.scored], classes)
        return multilabel_metrics(truth, align_columns(self.probabilities, self._known, classes), classes)


class MultilabelMeasuring(Measuring):
    """Of `multilabel`."""

    evidence_file = "probabilities.npy"  # float32 [N,K]
    decimals = 1

    def truths(self, run: Run) -> Truths:
        """Return the manifest's labels."""
        rows = run.evaluated_rows()
        labels = list(zip(rows["labels"], (unjudged_labels(boxes) for boxes in rows["boxes"]), strict=True))
        return Truths(paths=run.paths(rows), of=lambda row: (labels[row],), classes=run.manifest.classes)

    def outside(self, settings: Settings, model: Model, items: Sequence[FoundItem], layout: DatasetLayout) -> Truths:
        """Return the items' labels; those the model does not know count as missed."""
        labels: list[Labels] = [(item.labels or (), item.unjudged) for item in items]
        classes = sorted({*model.metadata.classes, *(name for present, _ in labels for name in present)})
        return Truths(paths=[item.source for item in items], of=lambda row: (labels[row],), classes=classes)

    def evidence(self, settings: Settings, model: Model, truths: Truths, *, whole: bool = True) -> MultilabelEvidence:
        """Ask a model about images."""
        return MultilabelEvidence(settings, model, truths)

    def draw(self, run: Run, model: Model, evidence: Any, figures: Figures) -> list[str]:
        """Draw the average precision of each class, and where in images the surest are seen."""
        from drillcore.retrain.pictures.score_pictures import draw_evaluation

        return draw_evaluation(run, evidence.probabilities, figures)

    def said(self, recipe: Recipe, figures: Figures) -> str:
        """Return the mean average precision."""
        return f"mean average precision {figures['mean_average_precision']:.4f}"

    def judge(self, run: Run, challenger: Standing, champion: Standing | None) -> Verdict:
        """Ask the gate about two models' probabilities for the same images."""
        rows = run.evaluated_rows()
        images, groups = list(rows["sha256"]), list(rows["group"])
        known = [challenger.classes, *([champion.classes] if champion else [])]
        classes = sorted({*run.manifest.classes, *(name for one in known for name in one)})
        truths = self.truths(run)
        truth = truth_matrix([truths.of(row)[0] for row in range(len(images))], classes)
        rival = None if champion is None else naming_candidate(champion, images)
        limits, seed = gate_limits(run.recipe), run.recipe.seeds.bootstrap
        asking = naming_candidate(challenger, images)
        return gate_multilabel(limits, truth, classes, asking, rival, groups=groups, seed=seed)


def truth_matrix(labels: Sequence[Labels], classes: Sequence[str]) -> Truth:
    """Return what is true of images, int8 [N, K] (`voc_precision`); names that are no class are left out."""
    place = {name: column for column, name in enumerate(classes)}
    found = np.full((len(labels), len(classes)), ABSENT, np.int8)
    for row, (present, unjudged) in enumerate(labels):
        for value, names in ((UNJUDGED, unjudged), (PRESENT, present)):
            found[row, [place[name] for name in names if name in place]] = value
    return found


def unjudged_labels(boxes: Any) -> list[str]:
    """Return the names that only difficult boxes of an image have; `boxes` as the manifest has them, or None."""
    given = [] if boxes is None else list(boxes)
    easy = {box["label"] for box in given if not box["difficult"]}
    return sorted({box["label"] for box in given} - easy)
