"""How segments are measured and judged: against what several people each said of an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drillcore.ahead import side_by_side
from drillcore.arrays import Array, Doubles
from drillcore.datasets.targets import truth_reader
from drillcore.errors import BadImageError, InputError
from drillcore.evaluation.figures.segment_scores import (
    ImageScores,
    merged,
    score_tables,
    segment_figures,
    shared_pixels,
)
from drillcore.promotion.segment_gate import SegmentCandidate, gate_segments
from drillcore.promotion.verdict import Verdict
from drillcore.recipes import Recipe
from drillcore.retrain.judging.measuring import PICTURES, Evidence, Measuring, Standing, Truths, gate_limits
from drillcore.retrain.pictures.segment_pictures import draw_segments, parts_of
from drillcore.retrain.records import Figures
from drillcore.runtime.images.decode import decode_file
from drillcore.runtime.model.session import Model
from drillcore.runtime.segments.segmenting import Parts
from drillcore.settings import Settings

if TYPE_CHECKING:
    from drillcore.datasets.base import DatasetLayout, FoundItem
    from drillcore.retrain.run import Run

Map = NDArray[np.int32]


class SegmentEvidence(Evidence):
    """Scores of each image at the model's own parameter (the first) and at those around it."""

    def __init__(self, settings: Settings, model: Model, truths: Truths) -> None:
        self.bad, self.images, self.sums = [], list[ImageScores](), list[NDArray[np.float64]]()
        for path, found in zip(truths.paths, scored(settings, model, truths), strict=True):
            if isinstance(found, str):
                self.bad.append((path, found))
            elif found is None:  # nothing is known to be true of it
                self.sums.append(np.zeros(3))
            else:
                scores, whole = found
                self.images.append(scores)
                self.sums.append(np.array([scores.covered[0], scores.area.sum(), whole]))

    @property
    def numbers(self) -> NDArray[np.float64]:
        """Sums of `promotion.segment_gate`, float64 [M, 3]; zeros for an image without a truth, none without any."""
        return np.array(self.sums) if self.images else np.empty((0, 3))

    def figures(self) -> Figures:
        """Return the figures of the images of which something is known to be true."""
        return {**segment_figures(self.images), "judged_images": len(self.images)} if self.images else {}


class SegmentMeasuring(Measuring):
    """Of `segments`."""

    evidence_file = "coverings.npy"  # float64 [M, 3]

    def truths(self, run: Run) -> Truths:
        """Return the segments of the manifest's rows."""
        rows = run.evaluated_rows()
        read, listed = truth_reader(run.settings, run.manifest), rows.to_dict("records")
        return Truths(paths=run.paths(rows), of=lambda row: read(listed[row]))

    def outside(self, settings: Settings, model: Model, items: Sequence[FoundItem], layout: DatasetLayout) -> Truths:
        """Return the items' segments."""

        def read(row: int) -> list[Map]:
            target = items[row].target
            return [] if target is None else layout.read_truths(target, max_pixels=settings.max_pixels)

        return Truths(paths=[item.source for item in items], of=read)

    def evidence(self, settings: Settings, model: Model, truths: Truths, *, whole: bool = True) -> SegmentEvidence:
        """Ask a model about images."""
        return SegmentEvidence(settings, model, truths)

    def each(self, numbers: Array) -> tuple[str, Doubles]:
        """Return how well people's segments of each image are covered."""
        covered, area = numbers[:, 0], numbers[:, 1]
        return "covering", np.divide(covered, area, out=np.full(len(numbers), np.nan), where=area > 0)

    def draw(self, run: Run, model: Model, evidence: Any, figures: Figures) -> list[str]:
        """Draw some images with people's segments and the model's."""
        return draw_segments(run, model, run.path / PICTURES, self.truths(run))

    def said(self, recipe: Recipe, figures: Figures) -> str:
        """Return the first figures."""
        if not figures:
            return "nothing is known to be true of the images"
        names = ("covering", "covering_ods", "segmentation_iou")
        return ", ".join(f"{name} {figures[name]:.3f}" for name in names)

    def judge(self, run: Run, challenger: Standing, champion: Standing | None) -> Verdict:
        """Ask the gate about two models' coverings of the same images."""
        rows = run.evaluated_rows()
        images = list(rows["sha256"])

        def candidate(one: Standing) -> SegmentCandidate:
            return SegmentCandidate(sums=one.evidence, images=images, **one.facts())

        rival = None if champion is None else candidate(champion)
        groups, seed = list(rows["group"]), run.recipe.seeds.bootstrap
        return gate_segments(gate_limits(run.recipe), candidate(challenger), rival, groups=groups, seed=seed)


def scored(settings: Settings, model: Model, truths: Truths) -> Iterator[tuple[ImageScores, float] | str | None]:
    """Yield the scores of images in order, with what the whole image as one segment would cover of people's.

    None where nothing is known to be true, why in words where an image cannot be judged. As many images at a time as
    there are threads; memory does not grow with their number.
    """
    how = settings.decoding(model.metadata.value_range)

    def work(index: int) -> tuple[ImageScores, float] | str | None:
        try:
            people = [one for one in truths.of(index) if (one >= 0).any()]
            image = decode_file(truths.paths[index], model.metadata.channels, **how)
            if any(one.shape != image.shape[:2] for one in people):
                return f"people's segments have {people[0].shape}, the image {image.shape[:2]}"
            parts = parts_of(model, image)
        except (BadImageError, InputError) as error:
            return str(error)
        if not people:
            return None
        return score_parts(parts, people)

    yield from side_by_side(work, len(truths.paths), settings.cpu_threads, "evaluating")


def score_parts(parts: Parts, people: Sequence[Map]) -> tuple[ImageScores, float]:
    """Return the scores of an image's sweep, and what the whole image as one segment covers."""
    tables = [shared_pixels(parts.map, one) for one in people]
    scores = score_tables([[merged(table, groups) for table in tables] for groups in parts.sweep()])
    one = np.zeros(len(tables[0]), np.int32)
    return scores, float(score_tables([[merged(table, one) for table in tables]]).covered[0])
