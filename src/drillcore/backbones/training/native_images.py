"""Training images kept at their own size as uint8, shown to a network at any size and warped on the way.

Each image is drawn once for a size, letterboxed on a canvas a third larger than the network's input; a batch is one
affine warp from there. Turned by bilinear interpolation it is about as sharp as an image that was never turned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from drillcore.backbones.preprocessing import Preprocessing, resize, size_features
from drillcore.backbones.training.augmentation import warp
from drillcore.backbones.training.training_plan import TrainingPlan
from drillcore.digests import sha256_bytes, sha256_json
from drillcore.errors import InputError
from drillcore.progress import progress

CANVAS = 4 / 3  # canvas side as a share of the input's


@dataclass(frozen=True)
class NativeImages:
    """Labelled images of many sizes.

    Attributes:
        images: uint8 [H, W, C] each.
        labels: int64 [N].
        preprocessing: the backbone's, letterboxed; its input is square.

    Raises:
        InputError: numbers of images and labels differ, or images are squashed.
    """

    images: Sequence[npt.NDArray[np.uint8]]
    labels: Tensor
    preprocessing: Preprocessing

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels) or self.labels.dtype != torch.int64:
            raise InputError(f"{len(self.images)} images and labels {list(self.labels.shape)} do not fit together")
        size = self.preprocessing["resize"]
        if size is None or size[0] != size[1] or "letterbox" not in self.preprocessing:
            raise InputError(
                "images are warped for a backbone with a square letterboxed input; leave out warp and sizes"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def digests(self) -> list[str]:
        """Return digests of all that is learnt from."""
        images = [[list(image.shape), sha256_bytes(np.ascontiguousarray(image).data)] for image in self.images]
        return [sha256_json(images), sha256_bytes(self.labels.numpy().tobytes())]

    def shown(self, side: int, device: torch.device) -> ShownImages:
        """Draw the images for an input of `side` pixels; 0: the preprocessing's own."""
        rule = self.preprocessing
        own = (rule["resize"] or [0])[0]
        side = side or own
        length = round(CANVAS * side)
        channels = len(rule["scale"])
        canvases = np.empty((len(self), channels, length, length), np.uint8)
        features = np.empty((len(self), 2), np.float32)
        with progress(f"drawing at {side}", len(self)) as advance:
            for number, image in enumerate(self.images):
                drawn = resize(image, (length, length), rule["letterbox"])
                canvases[number] = np.clip(np.rint(drawn), 0, 255)
                features[number] = size_features(image.shape[0], image.shape[1], (own, own))
                advance(1)
        sizes = torch.from_numpy(features).to(device) if rule.get("sizes") else None
        return ShownImages(torch.from_numpy(canvases).to(device), self.labels.to(device), sizes, rule, side)


@dataclass(frozen=True)
class ShownImages:
    """Images on canvases of one size.

    Attributes:
        canvases: uint8 [N, C, c, c].
        labels: int64 [N].
        sizes: `preprocessing.size_features` float32 [N, 2]; None: the backbone does not take them.
        preprocessing: the backbone's.
        side: of the input.
    """

    canvases: Tensor
    labels: Tensor
    sizes: Tensor | None
    preprocessing: Preprocessing
    side: int

    def batch(self, chosen: Tensor, generator: torch.Generator, plan: TrainingPlan) -> Tensor:
        """Return the images `chosen` as the network takes them, float32 [n, planes, side, side], warped."""
        scale, offset = (
            torch.tensor(self.preprocessing[key], device=self.canvases.device)[:, None, None]
            for key in ("scale", "offset")
        )
        x = self.canvases[chosen].float() * scale + offset
        x = warp(x, generator, self.side, zoom=plan.zoom, stretch=plan.stretch, shear=plan.shear, shift=plan.shift)
        if self.sizes is None:
            return x
        planes = self.sizes[chosen][:, :, None, None].expand(-1, -1, self.side, self.side)
        return torch.cat([x, planes], dim=1)
