"""The mathematics of cross-layer pooling over arrays: local features, their PCA, equation 2, normalisation (paper 003).

Names are the paper's: x_i is the local feature of unit i (section 3.1: the m x n x D numbers of conv t around it), a_i
the numbers of conv t + 1 at that unit, P_k = sum_i x_i a_ik the pooled feature of channel k (equation 2), reduced by a
PCA of mean mu and axes W. Units whose subarray reaches over the border are left out.

The PCA may come before or after pooling: W(sum_i (x_i - mu) a_ik) = W(sum_i x_i a_ik - mu sum_i a_ik). Which one costs
less depends on the numbers: `projected_first` counts. The paper's own (121 units, 3,456 numbers, 256 maps, 500
components) and ours (25, 1,728, 320, 500) are cheaper projected first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.linalg import eigh

from drillcore.arrays import Floats

LENGTH = 100.0  # of a part of a row: its numbers are near 1, where float16 has its digits
NOTHING = 1e-12  # a length that is none


@dataclass(frozen=True, slots=True)
class Pca:
    """A projection of local features.

    Attributes:
        mean: mu, float32 [m * n * D].
        axes: W, float32 [components, m * n * D], orthonormal.
    """

    mean: Floats
    axes: Floats


def local_features(maps: Floats, subarray: tuple[int, int]) -> Floats:
    """Return the local features of maps float32 [N, D, h, w]: [N, units, D * m * n], units row by row."""
    windows = sliding_window_view(maps, subarray, axis=(2, 3))  # [N, D, h', w', m, n]
    count, depth, high, wide = windows.shape[:4]
    turned = windows.transpose(0, 2, 3, 1, 4, 5)
    return np.ascontiguousarray(turned).reshape(count, high * wide, depth * subarray[0] * subarray[1])


def guides(maps: Floats, subarray: tuple[int, int]) -> Floats:
    """Return a_i of the units of `local_features`: of maps [N, K, h, w] the inner ones, [N, units, K]."""
    (top, left), (high, wide) = inner(maps.shape[2:], subarray)
    inside = maps[:, :, top : top + high, left : left + wide]
    return inside.reshape(*maps.shape[:2], high * wide).transpose(0, 2, 1)


def inner(size: tuple[int, ...], subarray: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the first of the inner units (row, column) and how many there are, of maps of that height and width.

    The unit of a subarray of an even side is the one right below or right of its middle.
    """
    high, wide = size[0] - subarray[0] + 1, size[1] - subarray[1] + 1
    return (subarray[0] // 2, subarray[1] // 2), (high, wide)


def pooled(x: Floats, a: Floats, pca: Pca) -> Floats:
    """Return P, float32 [N, K, components], of local features [N, units, M] and guides [N, units, K] (equation 2)."""
    components, width = pca.axes.shape
    if projected_first(x.shape[1], width, a.shape[2], components):
        projected = (x - pca.mean) @ pca.axes.T
        return np.asarray(a.transpose(0, 2, 1) @ projected, np.float32)
    sums = a.transpose(0, 2, 1) @ x  # [N, K, M]
    return np.asarray((sums - a.sum(axis=1)[:, :, None] * pca.mean) @ pca.axes.T, np.float32)


def projected_first(units: int, width: int, maps: int, components: int) -> bool:
    """Whether projecting each local feature takes no more products than projecting each pooled one.

    Example:
        >>> [projected_first(units, 1728, 320, 500) for units in (25, 121, 676)]
        [True, True, False]
    """
    return units * components * (width + maps) <= width * maps * (units + components)


def normalised(rows: Floats, kind: str, *, unit_length: bool) -> Floats:
    """Return rows [N, D] as they are learnt from.

    Args:
        rows: pooled.
        kind: "power": sign(x) sqrt|x|; "sign": -1, 0, 1 and nothing else; "none".
        unit_length: bring each row to `LENGTH` afterwards; signs stay as they are.
    """
    if kind == "sign":
        return np.asarray(np.sign(rows))
    if kind == "power":
        found = np.abs(rows)
        squared = found.sum(axis=1, dtype=np.float64)  # the squared length of the roots
        np.copysign(np.sqrt(found, out=found), rows, out=found)
    else:
        found = np.array(rows)
        squared = np.einsum("ij,ij->i", found, found, dtype=np.float64)
    if unit_length:
        found *= (LENGTH / np.maximum(np.sqrt(squared), NOTHING)).astype(np.float32)[:, None]
    return found


def principal_axes(parts: Iterable[Floats], components: int) -> Pca:
    """Return the PCA of local features, given in parts [n, M]: M axes at most, the largest number of each above 0.

    Raises:
        ValueError: no feature came.
    """
    count, total, products = 0, np.zeros(0), np.zeros((0, 0))
    for part in parts:
        values = part.astype(np.float64)
        if not count:
            total, products = np.zeros(values.shape[1]), np.zeros((values.shape[1],) * 2)
        count += len(values)
        total += values.sum(axis=0)
        products += values.T @ values
    if not count:
        raise ValueError("no local feature came")
    mean = total / count
    width = len(mean)
    kept = min(components, width)
    _, vectors = eigh(products / count - np.outer(mean, mean), subset_by_index=(width - kept, width - 1))
    axes = vectors.T[::-1]
    largest = axes[np.arange(kept), np.abs(axes).argmax(axis=1)]
    return Pca(mean.astype(np.float32), np.ascontiguousarray(axes * np.sign(largest)[:, None], np.float32))
