"""How the answers of a task are measured and judged: what every task offers, and what measuring has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from drillcore.arrays import Array, Doubles
from drillcore.errors import DataError
from drillcore.json_types import Json
from drillcore.promotion.verdict import Verdict
from drillcore.recipes import Recipe
from drillcore.retrain.records import Figures
from drillcore.runtime.model.session import Model
from drillcore.settings import Settings
from drillcore.tasks import GateLimits

if TYPE_CHECKING:
    from drillcore.datasets.base import DatasetLayout, FoundItem
    from drillcore.retrain.run import Run

PICTURES = "pictures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A version before the gate.

    Attributes:
        version: registered version.
        lineage: `sample` or `import-<n>`.
        classes: names in the order of its outputs.
        evidence: its answers per image of the evaluation split, as the task's evidence has them; None where it is of
            another lineage, with which nothing is compared.
        sha256: of its ONNX file.
        weights: where its backbone's weights are from; `seed:N` for random ones; "" where nobody asks.
        ms: milliseconds for one image; None when not measured.
        mb: size of the ONNX file in units of 1,000,000 bytes; None when not measured.
    """

    version: int
    lineage: str
    classes: Sequence[str]
    evidence: Any
    sha256: str
    weights: str = ""
    ms: float | None = None
    mb: float | None = None

    def facts(self) -> Json:
        """Return what every task's contender at the gate is told (`promotion.candidates.Contender`), but its images."""
        return {name: getattr(self, name) for name in ("version", "lineage", "sha256", "weights", "ms", "mb")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Truths:
    """Images, and what is true of each.

    Attributes:
        paths: the files.
        of: number of an image to its truths: one, several, or none; called in several threads.
        classes: that the truths name.
    """

    paths: Sequence[Path]
    of: Callable[[int], Sequence[Any]]
    classes: Sequence[str] = ()


class Evidence(ABC):
    """What a model's answers to images amount to: a record for each image, figures of all, and what was left out.

    Attributes:
        bad: files that could not be judged, with the reason; "": none is known.
    """

    bad: list[tuple[Path, str]]

    @property
    @abstractmethod
    def numbers(self) -> Array:
        """A record for each image that was judged, [M, ...], for the gate's bootstrap; none where nothing is true."""

    @abstractmethod
    def figures(self) -> Figures:
        """Return the figures of all images."""

    def pictures(self) -> dict[str, bytes]:
        """Return further pictures by name, as PNG."""
        return {}


class Measuring(ABC):
    """What a task does with answers; named in its declaration (`tasks.Task.measuring`).

    Attributes:
        evidence_file: where a run keeps the numbers of its evidence, npy.
        decimals: of the milliseconds in the note.
    """

    evidence_file: ClassVar[str]
    decimals: ClassVar[int] = 0

    @abstractmethod
    def truths(self, run: Run) -> Truths:
        """Return what is true of the images of the evaluation split, in the order of its rows."""

    @abstractmethod
    def outside(self, settings: Settings, model: Model, items: Sequence[FoundItem], layout: DatasetLayout) -> Truths:
        """Return what is true of the items of a source. Raises InputError: its classes are not those of the model."""

    @abstractmethod
    def evidence(self, settings: Settings, model: Model, truths: Truths, *, whole: bool = True) -> Evidence:
        """Ask a model about images.

        Args:
            settings: threads and limits.
            model: open.
            truths: of the images.
            whole: whether figures are wanted; else the numbers alone.
        """

    def each(self, numbers: Array) -> tuple[str, Doubles] | None:
        """Return what a figure of a single image is called and is, float64 [M], NaN where it has none; None: no such.

        Args:
            numbers: of the evidence.
        """
        return None

    @abstractmethod
    def draw(self, run: Run, model: Model, evidence: object, figures: Figures) -> list[str]:
        """Draw what an evaluation found; return the files' names in the run's folder."""

    @abstractmethod
    def said(self, recipe: Recipe, figures: Figures) -> str:
        """Return the figures in a few words."""

    @abstractmethod
    def judge(self, run: Run, challenger: Standing, champion: Standing | None) -> Verdict:
        """Ask the gate about versions whose evidence has numbers."""

    def better(self, run: Run, challenger: Standing, champion: Standing) -> Json | None:
        """Return the gate's paired bootstrap of two versions of a lineage; None: of no image anything is known."""
        if not len(challenger.evidence):
            return None
        rules = self.judge(run, challenger, champion).rules
        return next((rule.figures for rule in rules if rule.name == "better"), None)


def gate_limits(recipe: Recipe) -> GateLimits:
    """Return the limits of a recipe's gate."""
    section = recipe.gate
    return GateLimits(**{name: getattr(section, name) for name in GateLimits.__dataclass_fields__})


def unreadable(path: Path | str, reason: str = "") -> DataError:
    """Return the error for an image that the manifest vouches for and that cannot be read."""
    why = f" ({reason})" if reason else ""
    return DataError(f"{path} cannot be read any more{why}; run drillcore data check")
