"""Which images are good, and why the others are not.

They are unreadable, unlike what the layout says, without a label that fits, or one image has two labels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from drillcore.datasets.base import DatasetLayout, FoundItem
from drillcore.datasets.manifest_table import IMAGE_FACTS
from drillcore.datasets.probe import Facts
from drillcore.json_types import Json
from drillcore.quality.thresholds import limits_of, oddity

Row = Json


def sort_out(
    layout: DatasetLayout, folder: Path, items: Mapping[str, FoundItem], facts: Mapping[str, Facts]
) -> tuple[list[Row], list[Row]]:
    """Return the good rows, without their splits, and the rows of the quarantine.

    Args:
        layout: of the data set.
        folder: where the data set is.
        items: by path under `folder`.
        facts: of every image and annotation, by path under `folder`.
    """
    good: list[Row] = []
    bad: list[Row] = []
    for name, item in sorted(items.items()):
        seen = facts[name]
        target = None if item.target is None else item.target.relative_to(folder).as_posix()
        reason, detail = _fault(layout, seen, target, facts)
        if not reason and (outside := _outside(item, seen)):
            reason, detail = "box", outside
        if reason:
            bad.append(_bad_row(name, seen["sha256"] or None, reason, detail))
            continue
        good.append(
            {
                **{name: seen[name] for name, _ in IMAGE_FACTS},
                "id": seen["sha256"],
                "path": name,
                "group": item.group or seen["sha256"],
                "label": item.label,
                "labels": None if item.labels is None else list(item.labels),
                "boxes": None if item.labels is None else [asdict(box) for box in item.boxes],
                "target_path": target,
                "target_sha256": None if target is None else facts[target]["sha256"],
            }
        )
    return _set_aside_conflicts(good, bad)


def _fault(layout: DatasetLayout, seen: Facts, target: str | None, facts: Mapping[str, Facts]) -> tuple[str, str]:
    if seen["reason"]:
        return seen["reason"], seen["detail"]
    if odd := oddity(limits_of(layout.name), seen):
        return odd
    if target is None:
        return ("no_label", "no annotation image of its name") if layout.task == "dense" else ("", "")
    mask = facts[target]
    if mask["reason"]:
        reason = "label_value" if mask["reason"] == "label_value" else "label_unreadable"
        return reason, f"{target}: {mask['detail']}"
    if (mask["width"], mask["height"]) != (seen["width"], seen["height"]):
        sizes = f"{mask['width']} x {mask['height']} pixels, the image {seen['width']} x {seen['height']}"
        return "label_size", f"{target} has {sizes}"
    return "", ""


def _outside(item: FoundItem, seen: Facts) -> str:
    """Return which box reaches beyond the image; "": none."""
    for box in item.boxes:
        if min(box.x0, box.y0) < 0 or box.x1 > seen["width"] or box.y1 > seen["height"]:
            place = f"columns {box.x0} to {box.x1}, rows {box.y0} to {box.y1}"
            return f"a box of {box.label} ({place}) reaches outside {seen['width']} x {seen['height']} pixels"
    return ""


def _set_aside_conflicts(good: list[Row], bad: list[Row]) -> tuple[list[Row], list[Row]]:
    truths: dict[str, set[tuple[str | None, str | None]]] = defaultdict(set)
    for row in good:
        label = row["label"] if row["labels"] is None else " and ".join(row["labels"]) or "nothing"
        truths[row["sha256"]].add((label, row["target_sha256"]))
    kept = []
    for row in good:
        found = truths[row["sha256"]]
        if len(found) == 1:
            kept.append(row)
            continue
        labels = sorted({str(label) for label, _ in found})
        detail = (
            f"the same image is labelled {', '.join(labels[:5])}" if len(labels) > 1 else "two annotations of it differ"
        )
        bad.append(_bad_row(row["path"], row["sha256"], "conflicting_label", detail))
    return kept, bad


def unopened(path: str, reason: str, detail: str) -> Row:
    """Return the quarantine's row of a file that was set aside before it was opened."""
    return _bad_row(path, None, reason, detail)


def _bad_row(name: str, sha256: str | None, reason: str, detail: str) -> Row:
    return {"path": name, "sha256": sha256, "reason": reason, "detail": detail}
