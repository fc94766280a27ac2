from __future__ import annotations

import numpy as np
import pytest

from drillcore.runtime.batch.grouping import group_equal, group_padded


@pytest.mark.parametrize("seed", range(5))
def test_every_image_is_in_one_group_within_the_limits(seed: int) -> None:
    sizes = np.random.default_rng(seed).integers(1, 400, (300, 2)).astype(np.int32)
    groups = group_padded(sizes, 16, 1.3, 200_000)
    assert sorted(np.concatenate(groups).tolist()) == list(range(300))
    for group in groups:
        pixels = sizes[group].max(axis=0).prod() * len(group)
        assert len(group) == 1 or (len(group) <= 16 and pixels <= 200_000)
        assert pixels <= 1.3 * sizes[group].prod(axis=1).sum()


def test_equal_sizes_fill_whole_batches() -> None:
    groups = group_padded(np.full((70, 2), 32, np.int32), 32, 1.3, 10**9)
    assert sorted(map(len, groups)) == [6, 32, 32]
    assert group_padded(np.empty((0, 2), np.int32), 8, 1.3, 10**9) == []


def test_groups_without_padding_hold_one_size() -> None:
    sizes = np.array([[3, 4], [4, 3], [3, 4], [3, 4]], np.int32)
    assert [group.tolist() for group in group_equal(sizes, 2, 10**9)] == [[0, 2], [1], [3]]
    assert group_equal(np.empty((0, 2), np.int32), 8, 10**9) == []
    assert [len(group) for group in group_equal(sizes[[0, 2, 3]], 8, 24)] == [2, 1]
