"""Who stands before the gate, and within which limits: facts of a version, and its answers in the form of its task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from numpy.typing import ArrayLike

from drillcore.arrays import Doubles
from drillcore.errors import InputError
from drillcore.evaluation.figures.metrics import align_columns
from drillcore.tasks import GateLimits

__all__ = ["SAMPLE", "Candidate", "Contender", "GateLimits", "LabelCandidate", "ValueCandidate"]

SAMPLE = "sample"  # the lineage of the bundled synthetic data


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A version and what is known of it, whatever its task.

    Attributes:
        version: registered version; None before it has one.
        lineage: `sample` or `import-<n>`.
        images: digests of the frozen evaluation images, in the order of its answers.
        sha256: of its ONNX file.
        weights: the recipe's `backbone.weights`; `seed:N` may be promoted in the sample lineage only.
        ms: milliseconds for one image; None when not measured.
        mb: size of the ONNX file in units of 1,000,000 bytes; None when not measured.
    """

    version: int | None
    lineage: str
    images: Sequence[str]
    sha256: str = ""
    weights: str = ""
    ms: float | None = None
    mb: float | None = None

    @property
    def called(self) -> str:
        """What it is called in a sentence."""
        return f"version {self.version}" if self.version is not None else "the new version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate(Contender):
    """A version that names images.

    Attributes:
        classes: names of the columns.
        probabilities: float [N,K], in the order of the images.
    """

    classes: Sequence[str]
    probabilities: ArrayLike

    def columns(self, classes: Sequence[str], images: int) -> Doubles:
        """Return the probabilities with a column for each of `classes`, 0 for those it does not know, float64 [N, K].

        Raises:
            InputError: there are not as many answers as images with known truths.
        """
        rows = align_columns(self.probabilities, self.classes, classes)
        if len(rows) != images or len(self.images) != images:
            raise InputError(
                f"{self.called} has {len(rows)} answers for {len(self.images)} images; {images} true labels came"
            )
        return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCandidate(Contender):
    """A version that labels pixels.

    Attributes:
        axes: names of rows and columns of its confusion matrices (`dense_metrics.ImageConfusions.axes`).
        classes: names of the labels it can answer.
        counts: confusion matrices of the images, integers [M,K,K]: row = true class; None where they are not needed,
            for a champion of another lineage.
    """

    axes: Sequence[str]
    classes: Sequence[str]
    counts: ArrayLike | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueCandidate(Contender):
    """A version that predicts values for pixels.

    Attributes:
        outputs: names of the values.
        sums: of the images, float [M,D,4] (`regression_metrics.ImageErrors.sums`); None where they are not needed.
    """

    outputs: Sequence[str]
    sums: ArrayLike | None
