"""A small SegNet for ships, trained from nothing on 224-crops: the rival of figure 5 of the core sampling paper.

Badrinarayanan, Kendall and Cipolla 2017: an encoder of convolution, batch normalisation, ReLU and pooling; a decoder
that unpools with the encoder's pooling indices. Smaller than theirs, so that a CPU trains it in minutes: four stages of
the given widths, 3x3 convolutions, two to a stage but in the first. Ship pixels weigh the root of sea over ship in
the crops; where ship begins is chosen on the training images, as for every other detector. Measured on seven images
after 600 steps, at a probability of one half: with these weights bright land becomes ship (overlap 0.20, area under
precision over recall 0.64), without any nothing does (0.00, 0.44).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Grey = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a SegNet is trained.

    Attributes:
        widths: channels of the stages; every stage halves height and width.
        steps: of Adam, one batch each; the rate falls as a half cosine.
        batch: crops per step, half of them around a ship.
        crop: side of a crop, pixels.
        rate: learning rate at the start.
        seed: of weights, crops and flips.
    """

    widths: tuple[int, ...] = (8, 16, 32, 32)
    steps: int = 400
    batch: int = 8
    crop: int = 224
    rate: float = 3e-3
    seed: int = 0


class SegNet(nn.Module):
    """Grey levels [N,1,H,W], standardised, to logits [N,2,H,W]; H and W multiples of 2^stages."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        inner = [1, *widths]
        self.down = nn.ModuleList(
            _stage(narrow, wide, 1 if index == 0 else 2)
            for index, (narrow, wide) in enumerate(itertools.pairwise(inner))
        )
        outer = [*reversed(widths), widths[0]]
        self.up = nn.ModuleList(_stage(wide, narrow, 1) for wide, narrow in itertools.pairwise(outer))
        self.last = nn.Conv2d(widths[0], 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        places = []
        for stage in self.down:
            x, indices = nn.functional.max_pool2d(stage(x), 2, return_indices=True)
            places.append(indices)
        for stage in self.up:
            x = stage(nn.functional.max_unpool2d(x, places.pop(), 2))
        logits: torch.Tensor = self.last(x)
        return logits


@dataclass(frozen=True, slots=True)
class TrainedSegNet:
    """A SegNet with the constants it was trained with, and its loss at every step."""

    network: SegNet
    mean: float
    scale: float
    losses: tuple[float, ...]

    def probability(self, image: Grey) -> NDArray[np.float32]:
        """Return the probability of ship, float32 [H,W], of grey levels [H,W]."""
        unit = 2 ** len(self.network.down)
        height, width = image.shape
        padded = np.pad(image, ((0, -height % unit), (0, -width % unit)), mode="symmetric")
        x = torch.from_numpy((padded.astype(np.float32) - self.mean) / self.scale)[None, None]
        with torch.inference_mode():
            found = self.network(x).softmax(dim=1)[0, 1, :height, :width]
        return found.numpy()


def train_segnet(images: Sequence[Grey], masks: Sequence[Grey], plan: Plan) -> TrainedSegNet:
    """Train on crops.

    Args:
        images: grey levels, uint8 [H,W] each; one smaller than a crop is mirrored at its border.
        masks: 1 = ship, 0 = background.
        plan: how.
    """
    torch.manual_seed(plan.seed)
    rng = np.random.default_rng(plan.seed)
    network = SegNet(plan.widths).to(memory_format=torch.channels_last).train()  # 1.6 times the rate on a CPU
    mean = float(np.mean([image.mean() for image in images]))
    scale = float(np.sqrt(np.mean([((image - mean) ** 2).mean() for image in images])))
    images, masks = ([_at_least(array, plan.crop) for array in part] for part in (images, masks))
    ships = [np.argwhere(mask == 1) for mask in masks]
    optimiser = torch.optim.Adam(network.parameters(), lr=plan.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, plan.steps)
    losses = []
    for _ in range(plan.steps):
        crops = [_crop(images, masks, ships, plan.crop, index % 2 == 0, rng) for index in range(plan.batch)]
        x = torch.from_numpy((np.stack([crop[0] for crop in crops]).astype(np.float32) - mean) / scale)[:, None]
        y = torch.from_numpy(np.stack([crop[1] for crop in crops]).astype(np.int64))
        share = max(float((y == 1).float().mean()), 1e-4)
        weights = torch.tensor([1.0, ((1 - share) / share) ** 0.5])
        loss = nn.functional.cross_entropy(network(x), y, weight=weights)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return TrainedSegNet(network.eval(), mean, scale, tuple(losses))


def _stage(inputs: int, outputs: int, convolutions: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index in range(convolutions):
        layers += [
            nn.Conv2d(inputs if index == 0 else outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def _at_least(array: Grey, side: int) -> Grey:
    missing = [max(0, side - have) for have in array.shape]
    return np.pad(array, [(0, more) for more in missing], mode="symmetric")


def _crop(
    images: Sequence[Grey],
    masks: Sequence[Grey],
    ships: Sequence[NDArray[np.int64]],
    side: int,
    around_ship: bool,
    rng: np.random.Generator,
) -> tuple[Grey, Grey]:
    """Return a crop and its mask [side,side], turned and mirrored at random."""
    with_ships = [index for index, places in enumerate(ships) if len(places)]
    index = int(rng.choice(with_ships)) if around_ship and with_ships else int(rng.integers(len(images)))
    height, width = images[index].shape
    if around_ship and len(ships[index]):
        row, column = ships[index][rng.integers(len(ships[index]))] - rng.integers(0, side, 2)
    else:
        row, column = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    top, left = int(np.clip(row, 0, height - side)), int(np.clip(column, 0, width - side))
    turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    parts = []
    for array in (images[index], masks[index]):
        part = np.rot90(array[top : top + side, left : left + side], turns)
        parts.append(np.ascontiguousarray(part[:, ::-1] if mirrored else part))
    return parts[0], parts[1]
