"""What may be done to a training batch; off by default, since paper 004 names none."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

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


AUGMENTATIONS: dict[str, Augmentation | None] = {"none": None, "flip_and_turn": flip_and_turn, "rotate": rotate}


def get_augmentation(name: str) -> Augmentation | None:
    """Return an augmentation by name; None is "none". Raises UnknownNameError."""
    if name not in AUGMENTATIONS:
        raise UnknownNameError("augmentation", name, AUGMENTATIONS)
    return AUGMENTATIONS[name]
