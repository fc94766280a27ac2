from __future__ import annotations

import numpy as np
import pytest

from drillcore.runtime.segments.merging import build_hierarchy, hamming, merge_codes
from drillcore.runtime.segments.regions import areas, bit_shares, borders, boxes, means

# 0 0 1 1
# 0 0 1 1
# 2 2 2 3
REGIONS = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 2, 3]], np.int32)


def test_borders_count_pairs_of_neighbouring_pixels() -> None:
    found = borders(REGIONS)
    pairs = zip(found.first.tolist(), found.second.tolist(), found.length.tolist(), strict=True)
    assert list(pairs) == [(0, 1, 2), (0, 2, 2), (1, 2, 1), (1, 3, 1), (2, 3, 1)]


def test_areas_boxes_and_means() -> None:
    assert areas(REGIONS).tolist() == [4, 4, 3, 1]
    assert boxes(REGIONS).tolist() == [[0, 0, 2, 2], [2, 0, 4, 2], [0, 2, 3, 3], [3, 2, 4, 3]]
    planes = np.stack([REGIONS, np.arange(12).reshape(3, 4)])
    assert means(REGIONS, planes).tolist() == [[0, 2.5], [1, 4.5], [2, 9], [3, 11]]


def test_bit_shares_are_those_of_each_bit() -> None:
    rng = np.random.default_rng(0)
    code = rng.integers(0, 256, (2, 3, 4)).astype(np.uint8)
    bits = np.unpackbits(code, axis=0)[:11]  # 8 bits of the first byte, 3 of the second
    order = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert np.allclose(bit_shares(REGIONS, code, 11), means(REGIONS, bits[order]))


def test_hamming_counts_bits() -> None:
    one, other = np.array([[0b1010, 255]], np.uint8), np.array([[0b0110, 0]], np.uint8)
    assert hamming(one, other).tolist() == [10]


CODES = np.array([[0b0000], [0b0001], [0b0111], [0b0000]], np.uint8)


@pytest.mark.parametrize(
    ("distance", "adjacent", "groups"),
    [
        (0, True, [0, 1, 2, 3]),  # 0 and 3 agree and do not touch
        (0, False, [0, 1, 2, 0]),
        (1, True, [0, 0, 1, 0]),  # 0-1 and 1-3
        (2, True, [0, 0, 0, 0]),  # 1-2 as well
    ],
)
def test_codes_that_agree_go_together(distance: int, adjacent: bool, groups: list[int]) -> None:
    touching = borders(REGIONS) if adjacent else None
    assert merge_codes(CODES, distance, touching).tolist() == groups


def test_the_cheapest_union_goes_first() -> None:
    features = np.array([[0.0], [1.0], [5.0], [6.0]])
    found = build_hierarchy(features, areas(REGIONS), borders(REGIONS))
    # Ward: 3 goes to 2 for 3*1/4 * 1, 0 to 1 for 4*4/8 * 1; then means 0.5 and 5.25, areas 8 and 4: 8/3 * 4.75^2.
    assert found.first.tolist() == [2, 0, 4]
    assert found.second.tolist() == [3, 1, 5]
    assert np.allclose(found.cost, [0.75, 2.0, 8 / 3 * 4.75**2])
    assert found.cut(1.9).tolist() == [0, 1, 2, 2]
    assert found.cut(2.0).tolist() == [0, 0, 1, 1]
    assert found.cut_to(1).tolist() == [0, 0, 0, 0]
    assert found.cut_to(100).tolist() == [0, 1, 2, 3]


def test_edges_keep_apart_what_features_do_not() -> None:
    flat, touching = np.zeros((4, 1)), borders(REGIONS)
    edge = np.array([9.0, 0.0, 9.0, 0.0, 9.0])  # between {0, 2} and {1, 3}
    found = build_hierarchy(flat, areas(REGIONS), touching, power=0, edge=edge)
    assert found.cut(1.0).tolist() == [0, 1, 0, 1]
    assert found.cost.tolist() == [0, 0, 9]


@pytest.mark.parametrize("seed", range(5))
def test_costs_never_fall_and_groups_stay_connected(seed: int) -> None:
    rng = np.random.default_rng(seed)
    regions = np.arange(48, dtype=np.int32).reshape(6, 8)
    found = build_hierarchy(rng.normal(size=(48, 3)), areas(regions), borders(regions), power=0.3)
    assert len(found.cost) == 47
    assert (np.diff(found.cost) >= 0).all()
    for count in (2, 7, 20):
        groups = found.cut_to(count)
        assert len(np.unique(groups)) == count
        whole = merge_codes(groups.astype(np.uint8)[:, None], 0, borders(regions))
        assert len(np.unique(whole)) == count, "each group is in one piece"


def test_one_region_has_no_union() -> None:
    one = np.zeros((2, 2), np.int32)
    found = build_hierarchy(np.ones((1, 2)), areas(one), borders(one))
    assert found.cut(10).tolist() == [0]
    assert found.cut_to(5).tolist() == [0]
