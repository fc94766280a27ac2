"""Batches of standardised rows: x' = (x - mean) / scale, from float16 straight into one reused buffer."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from drillcore.heads.row_source import FloatRows


class Standardisation:
    """Makes float32 batches of the rows of a block.

    Args:
        mean: float32 [D].
        scale: float32 [D], above 0.
        device: where batches are.
    """

    def __init__(self, mean: npt.NDArray[np.float32], scale: npt.NDArray[np.float32], device: torch.device) -> None:
        self.mean = torch.from_numpy(mean).to(device)
        self.inverse = torch.from_numpy(1 / scale.astype(np.float64)).float().to(device)
        self._buffer = torch.empty(0, len(mean), device=device)

    def __call__(self, rows: Tensor) -> Tensor:
        """Return standardised rows, float32 [n, D]; valid until the next call.

        Args:
            rows: float16 or float32 [n, D], on the device.
        """
        if len(self._buffer) < len(rows):
            self._buffer = torch.empty(len(rows), len(self.mean), device=self.mean.device)
        out = self._buffer[: len(rows)]
        torch.sub(rows, self.mean, out=out)  # of float16 and float32 torch makes float32 in the same pass
        return out.mul_(self.inverse)


def on_device(rows: FloatRows, device: torch.device) -> Tensor:
    """Return rows of a block on a device, on their way while the device computes."""
    found = torch.from_numpy(rows)
    return found if device.type == "cpu" else found.pin_memory().to(device, non_blocking=True)
