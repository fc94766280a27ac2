"""DeConvNet: what in an image a unit of a network responds to (Zeiler and Fergus 2014, section 2.1; paper 004, II.C).

A unit's activation, all others set to 0, is taken back down to the pixels, layer by layer: a max pooling puts values
back where its maxima were (the switches), what passed a rectifier is rectified again, a convolution is undone by its
own filters, transposed; biases are left out. Each of these is the gradient of the layer, but for the rectifier, whose
rule looks at what comes from above and not at what once came from below (Springenberg et al. 2014, section 3.4). So the
network is run as it is, with that one rule in the place of the rectifiers' own, and the unit's value is propagated
backwards: branches (SqueezeNet's concatenation), poolings that round up and layers of any size need nothing more.

Where the papers are silent:

- overlapping poolings: a value that was the maximum of several windows receives the sum of theirs;
- maxout (Goodfellow et al. 2013): to the winning piece. Its values may be negative, so nothing is rectified;
- batch normalisation, frozen: by its scale, as the linear layer it is;
- a mean over the whole map: to each cell as much as it contributed, which projects each cell's own activation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from drillcore.backbones.base import TappedModule
from drillcore.errors import InputError

_RECTIFIERS: set[object] = {
    functional.relu,
    functional.relu6,
    torch.relu,
    torch.relu_,
    torch.Tensor.relu,
    torch.Tensor.relu_,
}
_MEANS: set[object] = {torch.mean, torch.Tensor.mean, functional.adaptive_avg_pool2d, functional.avg_pool2d}
# Their value says nothing about what came from below having been positive: DeConvNet has no rule for them.
_OTHERS: set[object] = {
    functional.silu,
    functional.gelu,
    functional.hardswish,
    functional.hardsigmoid,
    functional.sigmoid,
    functional.tanh,
    functional.softmax,
    functional.leaky_relu,
    functional.elu,
    torch.sigmoid,
    torch.tanh,
    torch.softmax,
    torch.Tensor.sigmoid,
    torch.Tensor.tanh,
    torch.Tensor.softmax,
}


class NoRuleError(InputError):
    """A network that DeConvNet has no rule for."""


def project(module: TappedModule, x: Tensor, tap: str, units: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Take one unit of each image back to the pixels.

    Args:
        module: the network; its parameters and buffers stay as they are.
        x: prepared images float32 [N, C, h, w], on its device.
        tap: a tap of it.
        units: for each image the number of a unit in the flattened activation of the tap.

    Returns:
        the projections float32 [N, C, h, w], and the units' activations float32 [N].

    Raises:
        InputError: a unit that is not there.
        NoRuleError: a network with other non-linearities than rectifiers and maxout.
    """
    with torch.enable_grad(), _Rectified():
        pixels = x.detach().clone().requires_grad_(True)
        activations = module.forward_taps(pixels, [tap])[tap].flatten(1)
        chosen = torch.as_tensor(list(units), device=activations.device)
        if chosen.shape != (len(x),):
            raise InputError(f"one unit for each of {len(x)} images is expected, {list(chosen.shape)} came")
        if len(chosen) and not 0 <= int(chosen.min()) <= int(chosen.max()) < activations.shape[1]:
            raise InputError(f"units of {tap} are 0 to {activations.shape[1] - 1}, {list(units)} came")
        values = activations.gather(1, chosen[:, None])[:, 0]
        (projected,) = torch.autograd.grad(values, pixels, grad_outputs=values.detach())
    return projected.detach(), values.detach()


class _Rectified(TorchFunctionMode):
    """Inside it rectifiers and means over the whole map have DeConvNet's rule for the way back."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _RECTIFIERS:
            upper = 6.0 if func is functional.relu6 else None
            return _Rectifier.apply(args[0] if args else kwargs["input"], upper)
        if func in _OTHERS:
            raise NoRuleError(
                f"DeConvNet explains networks of rectifiers (ReLU) and maxout; this one has {func.__name__}"
            )
        result = func(*args, **kwargs)
        if func in _MEANS and args and _over_the_map(args[0], result):
            return _Mean.apply(args[0], result.shape)
        return result


class _Rectifier(torch.autograd.Function):
    """max(0, x); on the way back max(0, what comes from above), whatever x was."""

    @staticmethod
    def forward(ctx: object, x: Tensor, upper: float | None) -> Tensor:
        return x.clamp(min=0.0, max=upper)

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0].clamp(min=0.0), None


class _Mean(torch.autograd.Function):
    """The mean of a map; on the way back each cell gets the share it contributed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(x)
        return x.mean((2, 3)).reshape(shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        total = x.sum((2, 3), keepdim=True)
        share = torch.where(total.abs() > 0, x / torch.where(total == 0, 1.0, total), 0.0)
        return gradients[0].reshape(total.shape) * share, None


def _over_the_map(x: object, result: object) -> bool:
    """Whether a mean left one value of each map [N, C, h, w]."""
    if not (isinstance(x, Tensor) and isinstance(result, Tensor)) or x.dim() != 4 or x.shape[2] * x.shape[3] == 1:
        return False
    return result.shape[:2] == x.shape[:2] and result.numel() == x.shape[0] * x.shape[1]
