"""The pictures of an evaluation: files that a person opens and MLflow shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from drillcore.datasets.manifest import Manifest
from drillcore.files import write_bytes


def draw_evaluation(
    folder: Path,
    truth: Any,
    probabilities: Any,
    classes: list[str],
    figures: dict[str, Any],
    manifest: Manifest,
) -> list[str]:
    """Draw what an evaluation found.

    Args:
        folder: where the PNG files go.
        truth: true class of each image, int64 [N].
        probabilities: float32 [N, K].
        classes: names of the K classes.
        figures: as `classification_metrics` gives them.
        manifest: of the data set.

    Returns:
        the files' names relative to the folder above `folder`.
    """
    from drillcore.evaluation import plots

    drawn = {
        "confusion": plots.confusion_png(truth, probabilities, classes),
        "calibration": plots.calibration_png(truth, probabilities, classes),
        "per-class": plots.class_bars_png(figures["per_class"]),
        "class-shares": plots.class_shares_png(_shares(manifest)),
    }
    names = []
    for name, png in drawn.items():
        write_bytes(folder / f"{name}.png", png)
        names.append(f"{folder.name}/{name}.png")
    return names


def _shares(manifest: Manifest) -> dict[str, dict[str, int]]:
    shares = {}
    for split in ("train", "val", "test"):
        counts = manifest.table.loc[manifest.table["split"] == split, "label"].value_counts()
        shares[split] = {str(label): int(count) for label, count in counts.items()}
    return {split: counts for split, counts in shares.items() if counts}
