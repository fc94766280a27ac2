"""Rows on their way down the trees; compiled by numba when first called.

A row's shares are added tree after tree, so that they do not depend on the rows beside it or on the number of threads.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from numba import njit

from drillcore.heads.forest.trees import Trees

_ROWS = 512  # rows that go down one tree after another: the tree stays in the processor's cache


def summed_shares(
    trees: Trees,
    numbers: npt.NDArray[np.int32],
    rows: npt.NDArray[np.float32],
    classes: int,
    threads: int = 1,
    only: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.float64]:
    """Return the shares of the leaves that rows end in, summed over the trees in their order.

    Args:
        trees: the forest.
        numbers: of `leaf_numbers`.
        rows: float32 [N, D].
        classes: K.
        threads: parts of the rows go side by side.
        only: bool [N, T]: a row is sent down these trees only; None: down all.

    Returns:
        float64 [N, K].
    """
    total = np.zeros((len(rows), classes))
    arrays = (trees.starts, trees.feature, trees.threshold, trees.right, numbers)
    leaves = (trees.leaf_starts, trees.leaf_class, trees.leaf_share)
    chosen = np.ones((0, 0), np.bool_) if only is None else only

    def part(first: int) -> None:
        block = slice(first, first + _ROWS)
        _add_shares(arrays, leaves, rows[block], chosen[block], total[block])

    firsts = range(0, len(rows), _ROWS)
    if threads == 1 or len(firsts) == 1:
        for first in firsts:
            part(first)
    else:
        with ThreadPoolExecutor(threads, thread_name_prefix="walk") as pool:
            list(pool.map(part, firsts))
    return total


@njit(nogil=True, error_model="numpy")
def _add_shares(  # type: ignore[no-untyped-def]
    arrays, leaves, rows, chosen, total
) -> None:  # pragma: no cover - compiled
    starts, feature, threshold, right, numbers = arrays
    leaf_starts, leaf_class, leaf_share = leaves
    for tree in range(len(starts) - 1):
        first = starts[tree]
        for row in range(len(rows)):
            if len(chosen) and not chosen[row, tree]:
                continue
            values, node = rows[row], np.uint64(first)
            while feature[node] >= 0:
                if values[np.uint32(feature[node])] <= threshold[node]:
                    node += np.uint64(1)
                else:
                    node = np.uint64(first + right[node])
            leaf = numbers[node]
            for entry in range(leaf_starts[leaf], leaf_starts[leaf + 1]):
                total[row, leaf_class[entry]] += leaf_share[entry]
