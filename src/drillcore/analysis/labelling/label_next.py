"""Which images of a folder should be labelled next, by a registered classifier: unsure ones, far from what is labelled.

Features come through the store: an image that was looked at before costs no forward pass. Images that the data set has
already, copies, and files that cannot be read are left out with their reason.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from drillcore.analysis.labelling.choosing import choose, unsureness
from drillcore.analysis.trained_parts import TrainedParts, find_parts, fitted_head, recipe_of
from drillcore.errors import BadImageError, InputError
from drillcore.json_types import Json
from drillcore.progress import progress
from drillcore.runtime.images.decode import probe_file
from drillcore.runtime.images.walking import walk_images
from drillcore.settings import Settings

COLUMNS = ("path", "label", "suggested", "probability", "unsure", "wanted", "sha256")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An image that should be labelled.

    Attributes:
        path: below the folder.
        sha256: of the file.
        suggested: what the model answers.
        probability: of that answer.
        unsure: 1 minus the margin to the second answer, from 0 to 1.
        wanted: `unsure` times the distance to the nearest labelled or chosen image, when it was chosen.
    """

    path: str
    sha256: str
    suggested: str
    probability: float
    unsure: float
    wanted: float

    def to_dict(self) -> Json:
        """Return plain values; `label` is empty, for a person to fill in."""
        return {"label": "", **dataclasses.asdict(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelNext:
    """What should be labelled next.

    Attributes:
        parts: of the model that was asked.
        folder: of the images.
        images: that could be asked for.
        extracted: that passed the network for this; the others were in the store.
        chosen: the most wanted first.
        left_out: path and reason.
    """

    parts: TrainedParts
    folder: Path
    images: int
    extracted: int
    chosen: list[Candidate]
    left_out: list[tuple[str, str]]

    def table(self) -> list[Json]:
        """Return a row for each chosen image."""
        return [one.to_dict() for one in self.chosen]

    def to_dict(self) -> Json:
        """Return plain values for JSON."""
        return {
            "model": self.parts.version.model,
            "version": self.parts.version.version,
            "folder": str(self.folder),
            "images": self.images,
            "extracted": self.extracted,
            "chosen": self.table(),
            "left_out": [{"path": path, "reason": reason} for path, reason in self.left_out],
        }


def label_next(settings: Settings, reference: str, folder: Path, count: int) -> LabelNext:
    """Choose images of a folder, searched through, that are worth a label.

    Args:
        settings: where things are.
        reference: MODEL[@ALIAS|@VERSION] of a classifier.
        folder: of unlabelled images.
        count: how many.

    Raises:
        InputError: no folder, no image in it that could be asked for, or a model whose parts are not here.
        UnknownNameError, DataError, RegistryError: as `find_parts`.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder of images")
    parts = find_parts(settings, reference, command="label-next")
    asked = parts  # what the head reads; distances are between the activations below a network's own class scores
    if not parts.own_taps:
        own = recipe_of(settings, parts.version).backbone.taps
        asked = find_parts(settings, reference, command="label-next", taps=own)
    head = fitted_head(settings, asked)
    if head is None:
        raise InputError(
            f"the fitted head of {parts.name} is not on this machine any more; drillcore retrain {parts.version.model} "
            "makes it again, or a version that has one"
        )
    known = set(parts.manifest.table["sha256"])
    table, left_out = _candidates(settings, parts, folder, known)
    if table.empty:
        first = f"; the first: {left_out[0][0]}, {left_out[0][1]}" if left_out else ""
        raise InputError(f"no image in {folder} could be asked for: {len(left_out):,} are left out{first}")
    looked = parts.features_outside(folder, table)
    rows = np.asarray(looked.rows, np.float32)
    read = rows if parts.own_taps else np.asarray(asked.features_outside(folder, table).rows, np.float32)
    probabilities = np.asarray(head.predict_proba(read))
    labelled = parts.features(parts.manifest.rows(list(parts.representation.fit_splits(parts.run))))
    unsure = unsureness(probabilities)
    positions, wanted = choose(rows, unsure, count, labelled=labelled)
    chosen = [
        Candidate(
            path=str(table["path"].iloc[position]),
            sha256=str(table["sha256"].iloc[position]),
            suggested=parts.manifest.classes[int(probabilities[position].argmax())],
            probability=float(probabilities[position].max()),
            unsure=float(unsure[position]),
            wanted=float(want),
        )
        for position, want in zip(positions.tolist(), wanted.tolist(), strict=True)
    ]
    return LabelNext(
        parts=parts,
        folder=folder,
        images=len(table),
        extracted=looked.extracted,
        chosen=chosen,
        left_out=left_out,
    )


def _candidates(
    settings: Settings, parts: TrainedParts, folder: Path, known: set[str]
) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Return the images that could be asked for as rows of a manifest, and what is left out."""
    rows, left_out = list[tuple[str, str]](), list[tuple[str, str]]()
    seen = set(known)
    paths = sorted(walk_images(folder))
    with progress("looking at images", len(paths)) as advance:
        for path in paths:
            try:
                digest = probe_file(folder / path, max_pixels=settings.max_pixels).sha256
            except (BadImageError, OSError) as error:
                left_out.append((path, str(error)))
            else:
                if digest in seen:
                    left_out.append((path, "labelled already" if digest in known else "a copy of another image"))
                else:
                    seen.add(digest)
                    rows.append((path, digest))
            advance(1)
    return parts.outside_table(rows), left_out
