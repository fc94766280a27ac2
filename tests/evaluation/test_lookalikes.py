"""Pairs of images that look alike."""

from __future__ import annotations

import numpy as np
import pytest

from drillcore.errors import InputError
from drillcore.evaluation.figures.lookalikes import lookalikes


def thumbs(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 256), dtype=np.uint8)


def test_a_copy_with_noise_is_found_and_strangers_are_not() -> None:
    images = thumbs(6)
    images[4] = np.clip(images[1].astype(int) + 2, 0, 255)
    found = lookalikes(images, np.ones(6), list("abcdef"), 0.98)
    assert [(pair.first, pair.second) for pair in found] == [(1, 4)]
    assert 0.98 <= found[0].correlation <= 1


def test_the_same_file_twice_comes_first_even_when_flat() -> None:
    images = thumbs(5)
    images[3] = images[0] // 2 * 2
    images[2] = images[4] = 200  # an even ground correlates with nothing, but a digest is a digest
    found = lookalikes(images, np.ones(5), ["a", "b", "same", "d", "same"], 0.98)
    assert [(pair.first, pair.second) for pair in found] == [(2, 4), (0, 3)]
    assert found[0].correlation == 1


def test_flat_images_and_other_proportions_are_no_pair() -> None:
    images = np.full((2, 256), 9, np.uint8)
    assert lookalikes(images, np.ones(2), ["a", "b"], 0.9) == []
    images = np.repeat(thumbs(1), 2, axis=0)
    assert lookalikes(images, np.array([1.0, 1.2]), ["a", "b"], 0.9) == []
    assert len(lookalikes(images, np.array([1.0, 1.04]), ["a", "b"], 0.9)) == 1


def test_pairs_across_blocks_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    images = thumbs(50)
    images[49] = images[0]
    images[11] = images[10]
    whole = lookalikes(images, np.ones(50), [str(n) for n in range(50)], 0.99)
    monkeypatch.setattr("drillcore.evaluation.figures.lookalikes._BLOCK", 7)
    assert {(p.first, p.second) for p in whole} == {(0, 49), (10, 11)}
    assert lookalikes(images, np.ones(50), [str(n) for n in range(50)], 0.99) == whole


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match="for each image"):
        lookalikes(thumbs(3), np.ones(2), ["a", "b", "c"], 0.9)
