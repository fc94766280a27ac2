"""What a search has found: images most like one, or segments most like a part of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from drillcore.analysis.searched import Searched, SearchedImage
from drillcore.json_types import Json
from drillcore.runtime.model.served import ServedModel

COLUMNS = ("rank", "path", "distance", "segment", "area", "box", "sha256")
COSINE, HAMMING = "cosine", "hamming"
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """What was found.

    Attributes:
        image: where.
        distance: bits that differ, or 1 minus the cosine.
        segment: id of a segment in its image; None: the whole image.
        area: pixels of the segment.
        box: x0, y0, x1, y1 of it in pixels, half-open.
    """

    image: SearchedImage
    distance: float
    segment: int | None = None
    area: int | None = None
    box: Box | None = None

    def to_dict(self, rank: int) -> Json:
        """Return plain values."""
        found = {name: getattr(self, name) for name in ("distance", "segment", "area")}
        box = None if self.box is None else list(self.box)
        return {"rank": rank, "path": self.image.path, "sha256": self.image.sha256, "box": box, **found}


@dataclass(frozen=True, slots=True, kw_only=True)
class Similar:
    """What is like an image.

    Attributes:
        served: the model that was asked.
        image: the file that was asked about.
        sha256: of it.
        channels: of images as the model sees them.
        box: the part of it that was; None: all of it.
        searched: where was looked.
        measure: HAMMING or COSINE.
        bits: of a code; None: there are none.
        rows: images or segments that were compared.
        added: images that had to be looked at first.
        hits: the nearest first.
        left_out: path and reason.
    """

    served: ServedModel
    image: Path
    sha256: str
    channels: int
    box: Box | None
    searched: Searched
    measure: str
    bits: int | None
    rows: int
    added: int
    hits: list[Hit]
    left_out: list[tuple[str, str]]

    def table(self) -> list[Json]:
        """Return a row for each hit."""
        return [hit.to_dict(rank) for rank, hit in enumerate(self.hits, 1)]

    def to_dict(self) -> Json:
        """Return plain values for JSON."""
        return {
            "model": self.served.model,
            "version": self.served.version,
            "model_sha256": self.served.sha256,
            "image": str(self.image),
            "sha256": self.sha256,
            "box": None if self.box is None else list(self.box),
            "searched": self.searched.name,
            "images": len(self.searched.images),
            "measure": self.measure,
            "bits": self.bits,
            "rows": self.rows,
            "added": self.added,
            "hits": self.table(),
            "left_out": [{"path": path, "reason": reason} for path, reason in self.left_out],
        }
