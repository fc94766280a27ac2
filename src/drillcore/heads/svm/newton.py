"""Linear SVMs of all classes against the rest at once: finite Newton steps on the L2-loss primal, shared products.

For each class k the minimum of 1/2 |w|^2 + sum_i C_i max(0, 1 - y_i w'x_i)^2 over w, the bias one of its weights, as
liblinear's L2-loss solvers (Fan et al. 2008). The Newton point of the rows inside the margin is a ridge regression
(Keerthi and DeCoste 2005): with few such rows it is solved directly, class by class; before that, conjugate gradients
take all classes together through one matrix product (Lin, Weng, Keerthi 2008). Their preconditioner is shared too: the
ridge regression on all rows, weighted by the share of them that is inside the margin (`preconditioner`). Rows of
more features than there are rows are turned into as many axes first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cho_factor, cho_solve, cholesky, solve_triangular

from drillcore.arrays import Floats
from drillcore.heads.svm.preconditioner import LARGEST, Preconditioner, dots, norms

_MAX_STEPS, _MAX_INNER, _MAX_HALVINGS = 200, 100, 30
_INNER_TOLERANCE = 0.03  # of the gradient's norm
_NOISE = 1e-7  # of a loss from float32 products: the seventh digit says nothing


@dataclass(frozen=True, slots=True)
class OneVsRest:
    """What was found.

    Attributes:
        weights: float32 [D + 1, K], the bias last.
        decisions: float32 [N, K], of the rows learnt from.
        failed: classes that did not converge.
    """

    weights: Floats
    decisions: Floats
    failed: int


def one_vs_rest(
    rows: Floats,
    labels: npt.NDArray[np.int64] | npt.NDArray[np.bool_],
    classes: int,
    costs: npt.NDArray[np.float64],
    tolerance: float,
    start: Floats | None = None,
) -> OneVsRest:
    """Train K linear SVMs.

    Args:
        rows: standardised, float32 [N, D + 1], the last feature 1.
        labels: int64 [N], each class from 0 to `classes` - 1 with a row; or bool [N, K], several of a row or none.
        classes: K.
        costs: C of each row, [N], above 0.
        tolerance: liblinear's: a class is done when its gradient is shorter than `tolerance` times the share of its
            smaller side times the gradient at 0; or when its rows inside the margin stay the same after a direct step;
            or when the loss is within float32's rounding of its minimum, which a class of few rows may reach first.
        start: weights to start from, [D + 1, K].
    """
    count, width = rows.shape
    if width <= count or count > LARGEST:
        return _Newton(rows, labels, classes, costs, tolerance, start).run()
    basis = _triangle(rows)
    begun = None if start is None else solve_triangular(basis, rows @ start, lower=True, check_finite=False)
    found = _Newton(basis, labels, classes, costs, tolerance, begun).run()
    shares = solve_triangular(basis, found.weights, lower=True, trans=1, check_finite=False)
    return OneVsRest(rows.T @ shares.astype(np.float32), found.decisions, found.failed)


def _triangle(rows: Floats) -> Floats:
    """Return the rows [N, D] turned into N axes, float32 [N, N], where there are more features than rows.

    Products of rows are all that the problem needs: L with L L' = X X' gives the same decisions, and weights of the
    same length. Rows that depend on others get a small part of their own, a larger one where all have few axes.
    """
    own = 1e-6
    while True:
        products = (rows @ rows.T).astype(np.float64)
        products[np.diag_indices(len(rows))] += own * np.trace(products) / len(rows)
        try:
            return np.asarray(cholesky(products, lower=True, overwrite_a=True, check_finite=False), np.float32)
        except LinAlgError:  # the rounding of float32 took more than that
            own *= 10


class _Newton:
    """The classes that are not done; `live` are their numbers, columns of everything below."""

    def __init__(
        self,
        rows: Floats,
        labels: npt.NDArray[np.int64] | npt.NDArray[np.bool_],
        classes: int,
        costs: npt.NDArray[np.float64],
        tolerance: float,
        start: Floats | None,
    ) -> None:
        count, width = rows.shape
        self.rows = rows
        self.twice = (2 * costs).astype(np.float32)[:, None]
        own = labels if labels.ndim == 2 else labels[:, None] == np.arange(classes)
        self.signs = np.where(own, np.float32(1), np.float32(-1))
        self.weights = np.zeros((width, classes), np.float32) if start is None else start.copy()
        self.decisions = rows @ self.weights if start is not None else np.zeros((count, classes), np.float32)
        positive = own.sum(axis=0)
        at_zero = norms(rows.T @ (self.twice * self.signs))
        self.wanted = tolerance * np.maximum(np.minimum(positive, count - positive), 1) / count * at_zero
        self.preconditioner = Preconditioner(rows, self.twice[:, 0])
        self.live = np.arange(classes)
        self.settled = np.zeros(classes, bool)
        self.inner = 5  # steps of conjugate gradients, the last time
        self.result = OneVsRest(np.zeros_like(self.weights), np.zeros_like(self.decisions), 0)

    def run(self) -> OneVsRest:
        """Take steps until all are done."""
        for _ in range(_MAX_STEPS):
            slack = np.maximum(1 - self.signs * self.decisions, 0)
            self.inside = slack > 0
            gradient = self.weights - self.rows.T @ (self.twice * self.signs * slack)
            self._keep(self.settled | (norms(gradient) <= self.wanted), gradient)
            if not self.live.size:
                return self.result
            self._step()
        self._keep(np.ones(len(self.live), bool), None)
        return OneVsRest(self.result.weights, self.result.decisions, len(self.live_before))

    def _keep(self, done: npt.NDArray[np.bool_], gradient: Floats | None) -> None:
        """Put the classes that are done into the result and go on with the rest."""
        self.result.weights[:, self.live[done]] = self.weights[:, done]
        self.result.decisions[:, self.live[done]] = self.decisions[:, done]
        self.live_before, left = self.live, ~done
        self.live, self.wanted, self.settled = self.live[left], self.wanted[left], self.settled[left]
        if gradient is None or not done.any():
            self.gradient = gradient if gradient is not None else self.weights
            return
        self.gradient = gradient[:, left]
        self.weights, self.decisions = self.weights[:, left], self.decisions[:, left]
        self.signs, self.inside = self.signs[:, left], self.inside[:, left]

    def _step(self) -> None:
        """Go to the Newton point, or as far towards it as lowers the loss."""
        count, width = self.rows.shape
        inside = self.inside.sum(axis=0)
        smaller = np.minimum(inside, width).astype(np.float64)
        direct = np.maximum(inside, width) * smaller**2 + smaller**3 / 3
        point = self.weights.copy()
        alone = direct < self.inner * 4.0 * count * width
        for column in np.flatnonzero(alone):
            point[:, column] = self._ridge(int(column))
        if not alone.all():
            point[:, ~alone] += self._conjugate_gradients(~alone)
        change = point - self.weights
        self._search(change, self.rows @ change, alone)

    def _ridge(self, column: int) -> Floats:
        """Return the Newton point of one class: the ridge regression on its rows inside the margin."""
        chosen = np.flatnonzero(self.inside[:, column])
        # Rows scaled by sqrt(2C): min 1/2 |w|^2 + 1/2 |A w - t|^2.
        scale = np.sqrt(self.twice[chosen])
        rows = self.rows[chosen] * scale
        target = self.signs[chosen, column] * scale[:, 0]
        few = len(chosen) < rows.shape[1]
        system = (rows @ rows.T if few else rows.T @ rows).astype(np.float64)
        system[np.diag_indices(len(system))] += 1
        factor = cho_factor(system, lower=True, overwrite_a=True, check_finite=False)
        if few:
            found = rows.T @ cho_solve(factor, target, check_finite=False).astype(np.float32)
        else:
            found = cho_solve(factor, rows.T @ target, check_finite=False)
        return np.asarray(found, np.float32)

    def _conjugate_gradients(self, columns: npt.NDArray[np.bool_]) -> Floats:
        """Return steps towards the Newton points of some classes."""
        inside = self.inside[:, columns] * self.twice
        self.preconditioner.fit(inside)
        left = -self.gradient[:, columns]
        enough = _INNER_TOLERANCE * norms(left)
        found, places = np.zeros_like(left), np.arange(left.shape[1])
        step = np.zeros_like(left)
        scaled = self.preconditioner.solve(left)
        ahead, product = scaled, dots(left, scaled)
        for self.inner in range(1, _MAX_INNER + 1):
            curved = ahead + self.rows.T @ (inside * (self.rows @ ahead))
            length = (product / np.maximum(dots(ahead, curved), 1e-30)).astype(np.float32)
            step += length * ahead
            left -= length * curved
            going = norms(left) > enough
            if not going.all():  # columns that have arrived are not multiplied any more
                found[:, places[~going]] = step[:, ~going]
                if not going.any():
                    return found
                self.preconditioner.keep(going)
                places, enough, product = places[going], enough[going], product[going]
                step, left, ahead, inside = step[:, going], left[:, going], ahead[:, going], inside[:, going]
            scaled = self.preconditioner.solve(left)
            last, product = product, dots(left, scaled)
            ahead = scaled + (product / np.maximum(last, 1e-30)).astype(np.float32) * ahead
        found[:, places] = step
        return found

    def _search(self, change: Floats, moved: Floats, alone: npt.NDArray[np.bool_]) -> None:
        """Halve the steps that do not lower the loss (Armijo), and notice who has arrived."""
        before = self._loss(self.weights, self.decisions)
        slope = dots(self.gradient, change)
        length = np.ones(len(self.live), np.float32)
        for _ in range(_MAX_HALVINGS):
            weights, decisions = self.weights + length * change, self.decisions + length * moved
            short = self._loss(weights, decisions) > before + 0.01 * length * slope + _NOISE * before
            if not short.any():
                break
            length[short] /= 2
        self.weights, self.decisions = weights, decisions
        same = ((self.signs * decisions < 1) == self.inside).all(axis=0)
        self.settled = (same & alone & (length == 1)) | (-slope <= _NOISE * before)

    def _loss(self, weights: Floats, decisions: Floats) -> npt.NDArray[np.float64]:
        slack = np.maximum(1 - self.signs * decisions, 0)
        losses = np.einsum("ij,ij,i->j", slack, slack, self.twice[:, 0], dtype=np.float64)
        found: npt.NDArray[np.float64] = (dots(weights, weights) + losses) / 2
        return found
