"""Iterative quantisation: a linear map of features to bits, learnt without labels.

Gong and Lazebnik, Iterative Quantization: A Procrustean Approach to Learning Binary Codes (2011), as paper 002 takes it
(section 3). Features are centred and brought to their first B principal components V; a rotation R is sought for which
V R lies near its own signs. Signs and rotation are improved in turns: B = sign(V R), then R = the nearest rotation that
takes V to B (Procrustes). Neither step can raise the loss |B - V R|^2.

A code's bits are x W + b > 0 with W = P R and b = -mean W: one convolution of 1x1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from drillcore.errors import InputError

Matrix = npt.NDArray[np.float64]
ROTATIONS = 50  # as published


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiser:
    """A fitted map to bits.

    Attributes:
        weights: W, float64 [D, B].
        bias: b, float64 [B].
        losses: mean of |sign(v R) - v R|^2 over the vectors, before the first rotation and after each.
    """

    weights: Matrix
    bias: Matrix
    losses: list[float] = field(default_factory=list)

    def project(self, vectors: npt.NDArray[np.floating]) -> Matrix:
        """Return x W + b, float64 [N, B]; a bit is 1 where it is above 0, and 0 at 0 (equation 1)."""
        found: Matrix = np.asarray(vectors, np.float64) @ self.weights + self.bias
        return found


def fit_itq(vectors: npt.NDArray[np.floating], bits: int, *, rotations: int = ROTATIONS, seed: int = 0) -> Quantiser:
    """Fit the map to bits.

    Args:
        vectors: features [N, D].
        bits: B.
        rotations: how often signs and rotation are improved.
        seed: of the first rotation, drawn at random.

    Raises:
        InputError: fewer vectors than bits, fewer different directions than bits, or numbers that are not finite.
    """
    values = np.asarray(vectors, np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise InputError("codes are learnt from rows of finite numbers")
    if len(values) <= bits:
        raise InputError(f"{bits} bits need more than {bits} feature vectors to be learnt from, {len(values)} came")
    mean = values.mean(axis=0)
    axes = _principal_axes(values - mean, bits)
    places = (values - mean) @ axes
    rotation = first_rotation(bits, seed)
    losses = [quantisation_loss(places @ rotation)]
    for _ in range(rotations):
        left, _, right = np.linalg.svd(places.T @ signs(places @ rotation))
        rotation = left @ right
        losses.append(quantisation_loss(places @ rotation))
    weights = axes @ rotation
    return Quantiser(weights=weights, bias=-mean @ weights, losses=losses)


def signs(values: Matrix) -> Matrix:
    """Return 1 where a value is above 0, else -1."""
    return np.where(values > 0, 1.0, -1.0)


def quantisation_loss(values: Matrix) -> float:
    """Return the mean of |sign(v) - v|^2 over rows, float."""
    return float(((signs(values) - values) ** 2).sum(axis=1).mean())


def first_rotation(bits: int, seed: int) -> Matrix:
    """Return a rotation drawn uniformly, float64 [B, B]: the Q of a Gaussian matrix, its signs those of the R."""
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((bits, bits)))
    found: Matrix = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return found


def _principal_axes(centred: Matrix, bits: int) -> Matrix:
    """Return the first principal axes, float64 [D, B], each with its largest number positive: the same everywhere."""
    spread, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    order = np.argsort(-spread, kind="stable")[:bits]
    known = int((spread > max(spread[-1], 0.0) * 1e-10).sum()) if len(spread) and spread[-1] > 0 else 0
    if known < bits:
        raise InputError(f"{bits} bits need as many directions in which features differ, there are {known}")
    found = axes[:, order]
    largest = found[np.abs(found).argmax(axis=0), np.arange(bits)]
    turned: Matrix = found * np.where(largest < 0, -1.0, 1.0)
    return turned
