"""One preconditioner for the Newton steps of all classes: the ridge regression on all rows, weighted alike.

The Hessian of class k is I + X' S_k X, S_k the weights 2 C_i of the rows inside its margin. Which rows are inside
differs from class to class, but they are drawn from the same table: I + s X' S X, S the weights of all rows and s the
mean share inside, has nearly the same long axes. Conjugate gradients then need a few steps instead of dozens.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, solve_triangular

from drillcore.arrays import Floats

LARGEST = 12_288  # features whose Hessian is kept, 600 MB in float32; above, its diagonal alone is used
_CHANGED = 1.5  # the share inside has become so many times larger or smaller: factored again


class Preconditioner:
    """Approximate inverse of the Hessians of one table.

    Args:
        rows: float32 [N, D].
        weights: 2 C of each row, float32 [N].
    """

    def __init__(self, rows: Floats, weights: Floats) -> None:
        self._rows, self._weights = rows, weights
        self._products: Floats | None = None
        self._factor: Floats | None = None
        self._diagonal = np.ones((1, 1), np.float32)
        self._share = 0.0

    def fit(self, inside: Floats) -> None:
        """Take the weights of the rows inside the margins, 0 for the others, float32 [N, K], into account."""
        if self._rows.shape[1] > LARGEST:
            self._diagonal = 1 + np.square(self._rows).T @ inside
            return
        share = max(float(inside.sum(dtype=np.float64) / self._weights.sum(dtype=np.float64)) / inside.shape[1], 1e-6)
        if self._factor is not None and self._share / _CHANGED < share < self._share * _CHANGED:
            return
        if self._products is None:
            scaled = self._rows * np.sqrt(self._weights)[:, None]
            self._products = scaled.T @ scaled
        # In float64: the largest axes are millions of times as long as the shortest ones.
        system = self._products.astype(np.float64)
        system *= share
        system[np.diag_indices(len(system))] += 1
        factor, _ = cho_factor(system, lower=True, overwrite_a=True, check_finite=False)
        self._factor, self._share = np.asfortranarray(factor, dtype=np.float32), share

    def keep(self, going: npt.NDArray[np.bool_]) -> None:
        """Go on with some of the K problems, bool [K]."""
        if self._factor is None:
            self._diagonal = self._diagonal[:, going]

    def solve(self, values: Floats) -> Floats:
        """Return what the approximate inverse makes of float32 [D, K]."""
        if self._factor is None:
            return values / self._diagonal
        half = solve_triangular(self._factor, values, lower=True, check_finite=False)
        return np.asarray(solve_triangular(self._factor, half, lower=True, trans=1, check_finite=False), np.float32)


def dots(left: Floats, right: Floats) -> npt.NDArray[np.float64]:
    """Return the dot products [K] of the columns of two float32 [D, K]."""
    found: npt.NDArray[np.float64] = np.einsum("ij,ij->j", left, right, dtype=np.float64)
    return found


def norms(columns: Floats) -> npt.NDArray[np.float64]:
    """Return the lengths [K] of columns float32 [D, K]."""
    return np.sqrt(dots(columns, columns))
