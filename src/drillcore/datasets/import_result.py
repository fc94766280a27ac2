"""What an import did, or would do: counts by split and class, and what was left out and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from drillcore.datasets.base import FoundItem
from drillcore.json_types import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """What an import did.

    Attributes:
        dataset: its name.
        lineage: "sample" or "import-<n>".
        images: how many labelled images the landing zone has now.
        added: how many of them are new.
        note: why nothing was done; "" where something was.
        set_aside: how many files of the source were left out, each with its reason.
        first: the first of them with its reason; "" where there is none.
        composed: folders of classes whose names were brought to composed form (NFC).
        taken: images by split and class, "train/ship"; by split alone where every pixel has a label. One of several
            labels counts for each.
        left_out: files by the reason that sets them aside.
    """

    dataset: str
    lineage: str
    images: int
    added: int
    note: str = ""
    set_aside: int = 0
    first: str = ""
    composed: tuple[str, ...] = ()
    taken: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """One line for a person, one more for each thing that was done otherwise than asked."""
        done = self.note or f"{self.added:,} added to the landing zone"
        lines = [f"{self.dataset}: {self.images:,} images, lineage {self.lineage}, {done}"]
        if self.set_aside:
            lines.append(f"set aside: {self.set_aside:,}, for instance {self.first}")
        if self.composed:
            lines.append(f"class names brought to composed form (NFC): {', '.join(self.composed[:8])}")
        return "\n".join(lines)

    def to_dict(self) -> Json:
        """Return plain values for JSON."""
        return asdict(self)


def looked(name: str, lineage: str, items: Sequence[FoundItem]) -> ImportResult:
    """Return what an import of these items would take; no image is opened."""
    odd = [item for item in items if item.fault is not None]
    return ImportResult(
        dataset=name,
        lineage=lineage,
        images=len(items) - len(odd),
        added=0,
        note="would be taken; nothing was imported",
        set_aside=len(odd),
        first=fault_line(odd[0]) if odd else "",
        taken=taken_of(items, odd),
        left_out=reasons_of(odd),
    )


def taken_of(items: Sequence[FoundItem], odd: Sequence[FoundItem]) -> dict[str, int]:
    """Return how many of the items are not among the odd ones, by split and class, or by split and each label."""
    left = {(item.path, item.source) for item in odd}
    found = Counter(
        "/".join(part for part in (item.split, label) if part) or "images"
        for item in items
        if (item.path, item.source) not in left
        for label in ((item.label,) if item.labels is None else item.labels or ("no label",))
    )
    return dict(sorted(found.items()))


def reasons_of(odd: Sequence[FoundItem]) -> dict[str, int]:
    """Return how many items are set aside, by reason, the commonest first."""
    return dict(Counter(item.fault[0] for item in odd if item.fault).most_common())


def fault_line(item: FoundItem) -> str:
    """Return an item that is set aside and why, in one line."""
    reason, detail = item.fault or ("", "")
    return f"{item.path}: {reason}, {detail}"
