"""Which images are good, and why the others are not.

They are unreadable, unlike what the layout says, without a label that fits, or one image has two labels.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from drillcore.datasets.base import DatasetLayout, FoundItem
from drillcore.datasets.manifest_table import IMAGE_FACTS, ROWS
from drillcore.datasets.probe import Facts
from drillcore.json_types import Json
from drillcore.quality.thresholds import limits_of, oddity

_JUDGED = ("width", "height", "mode", "dtype")


@dataclass(slots=True, kw_only=True)
class Row:
    """A good image: the manifest's columns (`manifest_table.ROWS`). No dictionary: there may be a million."""

    path: str
    sha256: str
    bytes: int
    width: int
    height: int
    channels: int
    mode: str
    dtype: str
    group: str
    label: str | None
    labels: list[str] | None
    boxes: list[Json] | None
    target_path: str | None
    target_sha256: str | None
    split: str | None = None

    @property
    def id(self) -> str:
        """Name of the image."""
        return self.sha256

    def keys(self) -> list[str]:
        """Return the columns' names, so that `dict` takes a row."""
        return list(ROWS.names)

    def __getitem__(self, name: str) -> object:
        """Return a column's value."""
        return getattr(self, name)


BadRow = Json


def sort_out(
    layout: DatasetLayout, folder: Path, items: Mapping[str, FoundItem], facts: Mapping[str, Facts]
) -> tuple[list[Row], list[BadRow]]:
    """Return the good rows, without their splits, and the rows of the quarantine.

    Args:
        layout: of the data set.
        folder: where the data set is.
        items: by path under `folder`.
        facts: of every image and annotation, by path under `folder`.
    """
    good: list[Row] = []
    bad: list[BadRow] = []
    for name, item in sorted(items.items()):
        seen = facts[name]
        target = None if item.target is None else item.target.relative_to(folder).as_posix()
        reason, detail = _fault(layout, seen, target, facts)
        if not reason and (outside := _outside(item, seen)):
            reason, detail = "box", outside
        if reason:
            bad.append(_bad_row(name, seen.sha256 or None, reason, detail))
            continue
        good.append(
            Row(
                path=name,
                **{fact: getattr(seen, fact) for fact, _ in IMAGE_FACTS},
                group=item.group or seen.sha256,
                label=item.label,
                labels=None if item.labels is None else list(item.labels),
                boxes=None if item.labels is None else [asdict(box) for box in item.boxes],
                target_path=target,
                target_sha256=None if target is None else facts[target].sha256,
            )
        )
    return _set_aside_conflicts(good, bad)


def _fault(layout: DatasetLayout, seen: Facts, target: str | None, facts: Mapping[str, Facts]) -> tuple[str, str]:
    if seen.reason:
        return seen.reason, seen.detail
    if odd := oddity(limits_of(layout.name), {name: getattr(seen, name) for name in _JUDGED}):
        return odd
    if target is None:
        return ("no_label", "no annotation image of its name") if layout.task == "dense" else ("", "")
    mask = facts[target]
    if mask.reason:
        reason = "label_value" if mask.reason == "label_value" else "label_unreadable"
        return reason, f"{target}: {mask.detail}"
    if (mask.width, mask.height) != (seen.width, seen.height):
        sizes = f"{mask.width} x {mask.height} pixels, the image {seen.width} x {seen.height}"
        return "label_size", f"{target} has {sizes}"
    return "", ""


def _outside(item: FoundItem, seen: Facts) -> str:
    """Return which box reaches beyond the image; "": none."""
    width, height = seen.width or 0, seen.height or 0
    for box in item.boxes:
        if min(box.x0, box.y0) < 0 or box.x1 > width or box.y1 > height:
            place = f"columns {box.x0} to {box.x1}, rows {box.y0} to {box.y1}"
            return f"a box of {box.label} ({place}) reaches outside {width} x {height} pixels"
    return ""


def _set_aside_conflicts(good: list[Row], bad: list[BadRow]) -> tuple[list[Row], list[BadRow]]:
    several = {digest for digest, count in Counter(row.sha256 for row in good).items() if count > 1}
    truths: dict[str, set[tuple[str | None, str | None]]] = defaultdict(set)
    for row in good:
        if row.sha256 in several:
            label = row.label if row.labels is None else " and ".join(row.labels) or "nothing"
            truths[row.sha256].add((label, row.target_sha256))
    kept = []
    for row in good:
        found = truths.get(row.sha256, ())
        if len(found) <= 1:
            kept.append(row)
            continue
        labels = sorted({str(label) for label, _ in found})
        detail = (
            f"the same image is labelled {', '.join(labels[:5])}" if len(labels) > 1 else "two annotations of it differ"
        )
        bad.append(_bad_row(row.path, row.sha256, "conflicting_label", detail))
    return kept, bad


def unopened(path: str, reason: str, detail: str) -> BadRow:
    """Return the quarantine's row of a file that was set aside before it was opened."""
    return _bad_row(path, None, reason, detail)


def _bad_row(name: str, sha256: str | None, reason: str, detail: str) -> BadRow:
    return {"path": name, "sha256": sha256, "reason": reason, "detail": detail}
