"""Kernel values from matrix products: rows of one block against rows of another, and a whole Gram matrix."""

from __future__ import annotations

import numpy as np

from drillcore.arrays import Floats
from drillcore.errors import InputError

_BLOCK = 2048


def kernel_block(left: Floats, right: Floats, gamma: float | None) -> Floats:
    """Return kernel values float32 [n, m] of rows [n, D] and [m, D].

    Args:
        left: standardised rows: centred, so that the difference of large squares below stays small.
        right: the same of others.
        gamma: exp(-gamma |x - s|^2), with |x|^2 + |s|^2 - 2xs for the distance; None: the product xs.
    """
    values: Floats = left @ right.T
    if gamma is None:
        return values
    values *= 2
    values -= np.einsum("ij,ij->i", left, left)[:, None]
    values -= np.einsum("ij,ij->i", right, right)
    np.minimum(values, 0, out=values)  # rounding may make a distance negative
    values *= np.float32(gamma)
    return np.exp(values, out=values)


def gram_matrix(rows: Floats, gamma: float | None) -> Floats:
    """Return the kernel values of all pairs of rows, float32 [N, N]; each block once, its mirror image copied."""
    count = len(rows)
    gram = np.empty((count, count), np.float32)
    for first in range(0, count, _BLOCK):
        last = min(first + _BLOCK, count)
        for other in range(first, count, _BLOCK):
            end = min(other + _BLOCK, count)
            block = kernel_block(rows[first:last], rows[other:end], gamma)
            gram[first:last, other:end] = block
            if other > first:
                gram[other:end, first:last] = block.T
    return gram


def gram_bytes(count: int) -> int:
    """Return what a Gram matrix of so many rows takes."""
    return 4 * count * count


def rbf_gamma(given: object, rows: Floats, head: str) -> float:
    """Return gamma: "scale": 1 / (D * variance of all values), "auto": 1 / D, or a number above 0.

    Raises:
        InputError: something else.
    """
    width = rows.shape[1]
    if isinstance(given, str) and given == "auto":
        found: float = 1 / width
        return found
    if isinstance(given, str) and given == "scale":
        variance = float(rows.var(dtype=np.float64))
        return 1 / (width * variance) if variance > 0 else 1.0
    if isinstance(given, int | float) and not isinstance(given, bool) and 0 < given < float("inf"):
        return float(given)
    raise InputError(f"head {head!r}: gamma is {given!r}; scale, auto or a number above 0 is expected")
