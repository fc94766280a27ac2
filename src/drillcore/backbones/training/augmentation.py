"""What may be done to a training batch; off by default, since paper 004 names none."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from drillcore.backbones.training.training_plan import WARP
from drillcore.errors import UnknownNameError

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def flip_and_turn(x: Tensor, generator: torch.Generator) -> Tensor:
    """Give each square image one of the eight flips and quarter turns; exact, no interpolation.

    Args:
        x: float32 [N, C, side, side].
        generator: on the CPU; 3 bits per image are drawn.
    """
    turn = torch.randint(8, (x.shape[0],), generator=generator)
    result = x.clone()
    for number in range(1, 8):
        chosen = (turn == number).nonzero()[:, 0].to(x.device)
        turned = torch.rot90(x[chosen], number % 4, (2, 3))
        result[chosen] = turned.flip(3) if number >= 4 else turned
    return result


def rotate(x: Tensor, generator: torch.Generator) -> Tensor:
    """Turn each image by any angle, mirror every second one, scale by 0.86 to 1.16; bilinear, 0 outside.

    Plankton lies in the water at any angle. The input's background has to be 0, as the plankton networks' is.

    Args:
        x: float32 [N, C, side, side].
        generator: on the CPU; three numbers per image are drawn.
    """
    angle, mirror, zoom = torch.rand((3, x.shape[0]), generator=generator)
    angle = angle * (2 * torch.pi)
    scale = torch.exp((zoom - 0.5) * 0.3)
    sign = torch.where(mirror < 0.5, -1.0, 1.0) * scale
    zero = torch.zeros_like(angle)
    first = torch.stack([sign * angle.cos(), -scale * angle.sin(), zero], dim=1)
    second = torch.stack([sign * angle.sin(), scale * angle.cos(), zero], dim=1)
    matrix = torch.stack([first, second], dim=1).to(x.device)
    return grid_sample(x, affine_grid(matrix, list(x.shape), align_corners=False), align_corners=False)


def warp(
    x: Tensor,
    generator: torch.Generator,
    side: int,
    *,
    zoom: float = 1.25,
    stretch: float = 1.15,
    shear: float = 0.1,
    shift: float = 0.08,
) -> Tensor:
    """Turn each image by any angle, mirror every second one, zoom, stretch, shear and shift it; one bilinear look-up.

    Args:
        x: float32 [N, C, c, c], background 0.
        generator: on the CPU; seven numbers per image are drawn.
        side: of the result.
        zoom: factor of both axes, from 1 / zoom to zoom, evenly in its logarithm.
        stretch: factor between the axes, likewise.
        shear: tangent of the shear at most.
        shift: along either axis at most, as a share of the side.

    Returns:
        float32 [N, C, side, side].
    """
    count = x.shape[0]
    angle, mirror, zoomed, stretched, sheared, right, down = torch.rand((7, count), generator=generator)
    angle = angle * (2 * torch.pi)
    sign = torch.where(mirror < 0.5, -1.0, 1.0)
    scale = torch.exp((2 * zoomed - 1) * math.log(zoom))
    narrow = torch.exp((stretched - 0.5) * math.log(stretch))
    slope = (2 * sheared - 1) * shear
    cos, sin = angle.cos() * scale, angle.sin() * scale
    # Stretched and mirrored last, along the image's own axes, whatever the angle.
    wide, high = sign * narrow, 1.0 / narrow
    first = torch.stack([wide * cos, wide * (slope * cos - sin), 2 * shift * (2 * right - 1)], dim=1)
    second = torch.stack([high * sin, high * (slope * sin + cos), 2 * shift * (2 * down - 1)], dim=1)
    matrix = torch.stack([first, second], dim=1).to(x.device)
    grid = affine_grid(matrix, [count, x.shape[1], side, side], align_corners=False)
    return grid_sample(x, grid, align_corners=False)


AUGMENTATIONS: dict[str, Augmentation | None] = {"none": None, "flip_and_turn": flip_and_turn, "rotate": rotate}


def get_augmentation(name: str) -> Augmentation | None:
    """Return an augmentation of prepared images by name; None is "none". Raises UnknownNameError."""
    if name not in AUGMENTATIONS:
        raise UnknownNameError("augmentation", name, [*AUGMENTATIONS, WARP])
    return AUGMENTATIONS[name]
