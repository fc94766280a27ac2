"""Heads for rows that are longer than there are many: they learn from the products of rows, not from rows."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import numpy.typing as npt

from drillcore.heads.base import Classifier


class DualClassifier(Classifier):
    """A linear classifier whose `fit` is given the Gram matrix float64 [N, N] (`accepts: GRAM` in its row).

    Once fitted it gives dual coefficients; whoever has the rows combines them (`row_source.combine`) and tells it the
    weights of the features, by which it answers rows from then on.
    """

    @abstractmethod
    def dual(self) -> npt.NDArray[np.float64]:
        """Return the dual coefficients [K, N]."""

    @abstractmethod
    def settle(self, weights: npt.NDArray[np.float64]) -> None:
        """Take the weights of the features, [K, D]: the rows combined by the dual coefficients."""
