"""The main figure of each registered version of a model, by the images it was measured on, as its report draws them.

Figures of different images are never ranked against each other: what was asked about other images stands by itself.
Where the gate has asked a champion about a later version's images, that figure stands beside the later version's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drillcore.evaluation.figures.abstaining import accuracy_bound
from drillcore.json_types import Json
from drillcore.registry import CHAMPION
from drillcore.tasks import CLASSIFICATION, get_task

if TYPE_CHECKING:
    from drillcore.registry import ModelVersion
    from drillcore.state.aliases import AliasMove

CONFIDENCE = 0.95  # of the interval, two-sided
ACCURACY = "accuracy"


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFigure:
    """A version and its main figure.

    Attributes:
        version: its number.
        created: milliseconds since 1970.
        value: of the figure; None where the version has none.
        interval: of it, lower and upper end; None where it is not known.
        images: that it was measured on; None where an older release did not keep it.
        image_set: a digest of them, "" where it was not kept; figures of one digest may be compared.
        lineage: of the data it learned from.
        promoted: when it became champion, UTC, ISO 8601, oldest first.
        champion: whether it is now.
        rival: the champion then and its figure on the same images, where the gate compared them.
    """

    version: int
    created: int
    value: float | None
    interval: tuple[float, float] | None
    images: int | None
    image_set: str
    lineage: str
    promoted: tuple[str, ...]
    champion: bool
    rival: tuple[int, float] | None


def main_figure(task: str, gate_metric: str, versions: Iterable[ModelVersion]) -> str:
    """Return the figure by which versions of a task are shown; "": none has one.

    Accuracy of images, which has an interval; for other tasks the one that the gate compares, else the first they have.
    """
    kept = {name for row in versions for name in row.tags}
    first = [ACCURACY] if task == CLASSIFICATION else [gate_metric]
    return next((name for name in (*first, *get_task(task).metrics) if name in kept), "")


def version_figures(
    figure: str, task: str, versions: Sequence[ModelVersion], moves: Sequence[AliasMove], champion: int | None
) -> tuple[VersionFigure, ...]:
    """Return the versions with their figure, oldest first.

    Args:
        figure: see `main_figure`.
        task: of the model.
        versions: as registered.
        moves: of the model's aliases.
        champion: the version that is champion now.
    """
    promoted = dict[int, list[str]]()
    for move in moves:
        if move.alias == CHAMPION:
            promoted.setdefault(move.version, []).append(move.when)
    rivals = {move.version: found for move in moves if (found := _rival(figure, move)) is not None}
    return tuple(
        _figure(figure, task, row, tuple(promoted.get(row.version, ())), row.version == champion, rivals)
        for row in sorted(versions, key=lambda row: row.version)
    )


def accuracy_interval(accuracy: float, images: int) -> tuple[float, float]:
    """Return the interval of Clopper and Pearson of an accuracy of images that were drawn each by itself.

    Example:
        >>> [round(end, 3) for end in accuracy_interval(0.9, 100)]
        [0.824, 0.951]
    """
    right, one_sided = round(accuracy * images), 1 - (1 - CONFIDENCE) / 2
    low = float(accuracy_bound(right, images, one_sided))
    return low, 1 - float(accuracy_bound(images - right, images, one_sided))


def _figure(
    figure: str,
    task: str,
    row: ModelVersion,
    promoted: tuple[str, ...],
    champion: bool,
    rivals: dict[int, tuple[int, float]],
) -> VersionFigure:
    value = float(row.tags[figure]) if figure in row.tags else None
    images = int(row.tags["images"]) if "images" in row.tags else None
    known = figure == ACCURACY and task == CLASSIFICATION and value is not None and images
    return VersionFigure(
        version=row.version,
        created=row.created,
        value=value,
        interval=accuracy_interval(value, images) if known and value is not None and images else None,
        images=images,
        image_set=row.tags.get("images_sha256", "")[:6],
        lineage=row.lineage,
        promoted=promoted,
        champion=champion,
        rival=rivals.get(row.version),
    )


def _rival(figure: str, move: AliasMove) -> tuple[int, float] | None:
    told: Json = (move.verdict or {}).get("champion") or {}
    value = told.get(figure)
    return (int(told["version"]), float(value)) if isinstance(value, int | float) else None
