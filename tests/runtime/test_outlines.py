"""Outlines hold exactly the pixels of their region, holes left out."""

from __future__ import annotations

import numpy as np

from drillcore.runtime.dense.outlines import outlines, run_lengths


def doubled_area(ring: np.ndarray) -> int:
    x, y = ring.T
    return int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


def test_a_ring_with_a_hole_and_a_corner_by_hand() -> None:
    label = np.array([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 0, 1]], np.uint8)
    ring, corner = outlines(label, [1])
    assert (ring.area, ring.box) == (8, (0, 0, 3, 3))
    assert [one.tolist() for one in ring.rings] == [
        [[0, 0], [3, 0], [3, 3], [0, 3]],
        [[1, 2], [2, 2], [2, 1], [1, 1]],
    ]
    assert corner.rings[0].tolist() == [[3, 3], [4, 3], [4, 4], [3, 4]]  # touching at a corner is not hanging together
    assert run_lengths(label == 1) == [0, 3, 1, 1, 1, 1, 1, 3, 4, 1]


def test_any_region_is_what_its_rings_enclose() -> None:
    label = np.random.default_rng(5).integers(0, 3, (40, 60)).astype(np.uint8)
    seen = np.full(label.shape, 255, np.uint8)
    for region in outlines(label, [0, 1, 2]):
        assert sum(map(doubled_area, region.rings)) == 2 * region.area
        assert doubled_area(region.rings[0]) > 0 > max([doubled_area(ring) for ring in region.rings[1:]] or [-1])
        x0, y0, x1, y1 = region.box
        seen[y0:y1, x0:x1][region.mask] = region.label
    np.testing.assert_array_equal(seen, label)
