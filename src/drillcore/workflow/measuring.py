"""What measuring a run has in common for all tasks: its record, and the error where an image is lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drillcore.errors import DataError
from drillcore.settings import Settings
from drillcore.workflow.opening import MODEL_FILE, one_image_milliseconds
from drillcore.workflow.records import Record

PICTURES = "pictures"


def evaluation_record(
    settings: Settings,
    folder: Path,
    paths: Sequence[Path],
    figures: dict[str, Any],
    pictures: list[str],
    *,
    evidence: tuple[str, NDArray[Any]],
    summary: str,
    decimals: int = 0,
) -> tuple[Record, list[str]]:
    """Keep the evidence of a run's ONNX file and time the file on one image.

    Args:
        settings: where things are.
        folder: the run's, with its `model.onnx`.
        paths: of the images measured on.
        figures: what was measured.
        pictures: names of the files drawn.
        evidence: name of the npy file, and numbers per image in the order of the split's rows.
        summary: the figures in a few words.
        decimals: of the milliseconds in the note.

    Returns:
        the record (`figures`, `images`, `ms`, `mb`, `pictures`, `note`) and the files made.
    """
    name, numbers = evidence
    np.save(folder / name, numbers, allow_pickle=False)
    ms = one_image_milliseconds(folder / MODEL_FILE, paths, settings)
    return {
        "figures": figures,
        "images": len(paths),
        "ms": ms,
        "mb": (folder / MODEL_FILE).stat().st_size / 1e6,
        "pictures": pictures,
        "note": f"{summary} on {len(paths):,} images, {ms:.{decimals}f} ms for one",
    }, [name, *pictures]


def unreadable(path: Path | str, reason: str | None = None) -> DataError:
    """Return the error for an image that the manifest vouches for and that cannot be read."""
    why = f" ({reason})" if reason else ""
    return DataError(f"{path} cannot be read any more{why}; run drillcore data check")
