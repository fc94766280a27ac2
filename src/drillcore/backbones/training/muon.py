"""Muon (Jordan 2024) on a network's inner layers: momentum whose singular values are all brought near 1.

A step of gradient descent follows the few directions in which a layer's gradient is large; orthogonalised, it goes as
far in the many small ones, where most of what tells one class of plankton from the next has to be learnt. Scaled to
the size of AdamW's steps (Liu et al. 2025, Muon is Scalable for LLM Training, section 2.2), learning rate and decay of
AdamW serve. The first layer, the classifier and the biases are left to AdamW, as the method's authors do.
"""

from __future__ import annotations

import torch
from torch import nn


def inner_weights(module: nn.Module, classifier: str) -> list[nn.Parameter]:
    """Return the weights Muon moves: those of all layers but the first and the ones named `classifier`.

    Filters of one channel (depthwise convolutions) do not mix any: their rows make no matrix of a layer. What requires
    no gradient is not moved.

    Args:
        module: a network; its first parameter of two or more dimensions is its first layer's.
        classifier: what the names of the classifier's parameters begin with.
    """
    weights = [(name, parameter) for name, parameter in module.named_parameters() if parameter.ndim > 1]
    inner = [parameter for name, parameter in weights[1:] if not name.startswith(classifier)]
    return [parameter for parameter in inner if parameter.shape[1] > 1 and parameter.requires_grad]


class Muon(torch.optim.Muon):
    """torch's, which takes matrices only, on weights of any shape: each filter of a convolution is a row.

    Args:
        weights: of two dimensions or more, moved in place.
        rate: learning rate, as for AdamW.
        momentum: of the running sum of gradients.
        decay: weight decay.
    """

    def __init__(self, weights: list[nn.Parameter], rate: float, momentum: float, decay: float) -> None:
        self._matrices = {weight: nn.Parameter(weight.detach().flatten(1).clone()) for weight in weights}
        group = {"params": list(self._matrices.values()), "factor": 1.0}
        super().__init__([group], rate, decay, momentum, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move the weights once by their gradients."""
        for weight, matrix in self._matrices.items():
            matrix.copy_(weight.flatten(1))  # norms are limited, and checkpoints read, in the weights
            matrix.grad = None if weight.grad is None else weight.grad.flatten(1)
        super().step()  # type: ignore[no-untyped-call]
        for weight, matrix in self._matrices.items():
            weight.copy_(matrix.view(weight.shape))

    def matrix_of(self, parameter: nn.Parameter) -> nn.Parameter | None:
        """Return what `state` knows a weight by; None of a parameter that is not Muon's."""
        return self._matrices.get(parameter)
