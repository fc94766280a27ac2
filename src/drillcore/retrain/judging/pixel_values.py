"""How values of pixels are measured and judged: colour from grey (paper 000, the framework's other use)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drillcore.ahead import side_by_side
from drillcore.arrays import Array, Doubles
from drillcore.datasets.targets import colour_values
from drillcore.errors import BadImageError
from drillcore.evaluation.figures.regression_metrics import ImageErrors, mean_squared_error, regression_figures
from drillcore.promotion.candidates import ValueCandidate
from drillcore.promotion.dense_gate import gate_values
from drillcore.promotion.verdict import Verdict
from drillcore.recipes import Recipe
from drillcore.recipes.parts import value_range
from drillcore.retrain.judging.measuring import PICTURES, Evidence, Measuring, Standing, Truths, gate_limits
from drillcore.retrain.records import Figures
from drillcore.runtime.dense.answering import regress
from drillcore.runtime.images.decode import decode_file
from drillcore.runtime.images.value_range import Range
from drillcore.runtime.model.session import Model
from drillcore.settings import Settings

if TYPE_CHECKING:
    from drillcore.datasets.base import DatasetLayout, FoundItem
    from drillcore.retrain.run import Run

OUTPUTS, PEAK = ("red", "green", "blue"), 1.0


class ValueEvidence(Evidence):
    """Sums of errors, image by image."""

    def __init__(self, settings: Settings, model: Model, truths: Truths) -> None:
        self.errors, self.bad = ImageErrors(OUTPUTS), []
        for path, pair in zip(truths.paths, predicted(settings, model, truths), strict=True):
            if pair is None:
                self.bad.append((path, ""))
            else:
                self.errors.add(*pair)

    @property
    def numbers(self) -> NDArray[np.float64]:
        """Sums of errors float64 [M,D,4]."""
        return self.errors.sums

    def figures(self) -> Figures:
        """Return the figures of all images."""
        return regression_figures(self.errors.sums, OUTPUTS, peak=PEAK)


class ValueMeasuring(Measuring):
    """Of `dense_regression`: an image's own colours are its truth."""

    evidence_file = "errors.npy"  # float64 [M,D,4]

    def truths(self, run: Run) -> Truths:
        """Return the colours of the images of the manifest's rows."""
        return _colours(run.settings, run.paths(run.evaluated_rows()), value_range(run.recipe))

    def outside(self, settings: Settings, model: Model, items: Sequence[FoundItem], layout: DatasetLayout) -> Truths:
        """Return the items' own colours."""
        return _colours(settings, [item.source for item in items], model.metadata.value_range)

    def evidence(self, settings: Settings, model: Model, truths: Truths, *, whole: bool = True) -> ValueEvidence:
        """Ask a model about grey images."""
        return ValueEvidence(settings, model, truths)

    def each(self, numbers: Array) -> tuple[str, Doubles]:
        """Return the mean squared error of each image."""
        return "mean_squared_error", mean_squared_error(numbers)

    def draw(self, run: Run, model: Model, evidence: Any, figures: Figures) -> list[str]:
        """Draw examples, and the maps that rows are read from."""
        from drillcore.retrain.pictures.pixel_pictures import draw_maps, draw_values

        rows, folder = run.evaluated_rows(), run.path / PICTURES
        names = draw_values(run.settings, folder, rows, run.paths(rows), model, evidence.numbers)
        return names + draw_maps(run, rows, folder)

    def said(self, recipe: Recipe, figures: Figures) -> str:
        """Return the error beside that of always answering the mean."""
        mean = figures["mean_answer_mean_squared_error"]
        return f"mean squared error {figures['mean_squared_error']:.5f} (always the mean colour: {mean:.5f})"

    def judge(self, run: Run, challenger: Standing, champion: Standing | None) -> Verdict:
        """Ask the gate about two models' errors on the same images; the bootstrap draws whole groups."""
        rows = run.evaluated_rows()
        images = list(rows["sha256"])

        def candidate(one: Standing) -> ValueCandidate:
            return ValueCandidate(outputs=OUTPUTS, sums=one.evidence, images=images, **one.facts())

        rival = None if champion is None else candidate(champion)
        groups, seed = list(rows["group"]), run.recipe.seeds.bootstrap
        return gate_values(gate_limits(run.recipe), candidate(challenger), rival, groups=groups, seed=seed)


def _colours(settings: Settings, paths: Sequence[Path], bounds: Range | None) -> Truths:
    def read(row: int) -> tuple[NDArray[np.float32]]:
        colour = decode_file(paths[row], 3, **settings.decoding(bounds))
        return (colour_values(colour).transpose(2, 0, 1),)

    return Truths(paths=paths, of=read)


def predicted(
    settings: Settings, model: Model, truths: Truths
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]] | None]:
    """Yield (true colour, predicted colour) float32 [3,H,W] from 0 to 1 of image files, None where one is unreadable.

    As many images at a time as there are threads; memory does not grow with their number.
    """
    how = settings.decoding(model.metadata.value_range)

    def work(index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        try:
            (colour,) = truths.of(index)
            grey = decode_file(truths.paths[index], model.metadata.channels, **how)
        except BadImageError:
            return None
        return colour, regress(model, grey)

    yield from side_by_side(work, len(truths.paths), settings.cpu_threads, "evaluating")
