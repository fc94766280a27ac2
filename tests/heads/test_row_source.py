from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drillcore.errors import InputError
from drillcore.heads import row_source as rows_module
from drillcore.heads.row_source import SideBySide, epoch_blocks, moments, read_ahead, row_source, slices


class Drawer:
    """A source that is no array: it counts what is read, and refuses what a source need not answer."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows, self.shape, self.largest = rows, rows.shape, 0

    def __getitem__(self, indices: np.ndarray | slice) -> np.ndarray:
        if isinstance(indices, np.ndarray):
            assert indices.dtype == np.int64
            assert (np.diff(indices) > 0).all()
        found = self.rows[indices]
        self.largest = max(self.largest, len(found))
        return found


def table(rows: int = 1000, features: int = 6) -> np.ndarray:
    return np.random.default_rng(0).normal(3, 2, (rows, features)).astype(np.float16)


def test_moments_are_numpys_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "_SLICE_VALUES", 6 * 37)
    rows = table()
    rows[:, 2] = np.float16(0.1)  # constant: its mean is not a float32 either
    rows[:, 3] = 0
    source = Drawer(rows)
    found = moments(source)
    assert source.largest == 37
    np.testing.assert_allclose(found.mean, rows.astype(np.float64).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.deviation, rows.astype(np.float64).std(axis=0), rtol=1e-10, atol=1e-15)
    assert found.scale()[2:4].tolist() == [1, 1]
    np.testing.assert_array_equal(found.scale()[[0, 1, 4, 5]], found.deviation[[0, 1, 4, 5]])
    assert found.digest == ""


def test_moments_keep_their_digits_far_from_zero() -> None:
    rows = (np.random.default_rng(0).normal(0, 1, (20_000, 2)) + 30_000).astype(np.float32)
    np.testing.assert_allclose(moments(rows).deviation, rows.astype(np.float64).std(axis=0), rtol=1e-9)


def test_digest_is_of_every_value() -> None:
    rows = table()
    first = moments(rows, digest=True).digest
    assert moments(Drawer(rows.copy()), digest=True).digest == first
    changed = rows.copy()
    changed[[3, 4]] = changed[[4, 3]]  # the same moments
    assert moments(changed, digest=True).digest != first


def test_an_infinite_or_missing_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "_SLICE_VALUES", 60)
    for bad in (np.nan, np.inf, -np.inf):
        rows = table(100)
        rows[57, 4] = bad
        with pytest.raises(InputError, match="row 57 has a value that is not finite"):
            moments(rows)


@pytest.mark.parametrize(("count", "batch"), [(1, 8), (63, 8), (1000, 8), (4097, 100), (50_000, 512)])
def test_blocks_hold_every_row_once(count: int, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "BLOCK_VALUES", 6 * 3000)
    blocks = epoch_blocks(count, 6, batch, 7)
    np.testing.assert_array_equal(np.sort(np.concatenate(blocks)), np.arange(count))
    assert all((np.diff(block) > 0).all() for block in blocks)
    assert all(len(block) % batch == 0 for block in blocks[:-1])
    assert max(len(block) for block in blocks) <= 3000
    other = np.concatenate(epoch_blocks(count, 6, batch, 8))
    assert count < 3000 or not np.array_equal(np.concatenate(blocks), other)


def test_a_block_mixes_rows_from_all_over() -> None:
    block = epoch_blocks(200_000, 1 << 12, 512, 0)[0]
    assert len(block) == 8192
    assert len(np.unique(block // 2000)) > 60, "of 100 neighbourhoods"
    assert (np.diff(block) == 1).mean() > 0.9, "and still reads runs"


def test_reading_ahead_gives_the_blocks_in_order() -> None:
    rows = table()
    blocks = epoch_blocks(1000, 6, 1, 0)
    parts = [np.arange(0, 10), np.array([3, 500, 999]), *blocks]
    for (numbers, found), wanted in zip(read_ahead(Drawer(rows), parts), parts, strict=True):
        np.testing.assert_array_equal(numbers, wanted)
        np.testing.assert_array_equal(found, rows[wanted])


def test_a_source_that_fails_says_so() -> None:
    class Broken(Drawer):
        def __getitem__(self, indices: object) -> np.ndarray:
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(read_ahead(Broken(table()), [np.arange(3)]))


def test_arrays_and_maps_are_sources_without_a_copy(tmp_path: Path) -> None:
    rows = table()
    assert row_source(rows) is rows
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert np.shares_memory(row_source(mapped), mapped)
    drawer = Drawer(rows)
    assert row_source(drawer) is drawer
    assert row_source(rows.tolist()).shape == (1000, 6)
    assert next(iter(slices(row_source(rows.astype(np.float64)))))[1].dtype == np.float32
    with pytest.raises(InputError, match=r"\[N, D\] are expected, shape \[6\]"):
        row_source(rows[0])
    with pytest.raises(InputError, match="X has 6 features, but head is expecting 7"):
        row_source(rows, 7)


def test_features_of_two_sources_stand_side_by_side() -> None:
    first = np.arange(12, dtype=np.float16).reshape(6, 2)
    second = np.arange(18, dtype=np.float32).reshape(6, 3)
    both = SideBySide(first, second)
    assert both.shape == (6, 5)
    for chosen in (slice(1, 5, 2), np.array([0, 3, 5])):
        found = both[chosen]
        assert found.dtype == np.float16, "of the first"
        np.testing.assert_array_equal(found, np.hstack([first, second])[chosen])
    with pytest.raises(InputError, match="6 rows and 5 rows"):
        SideBySide(first, second[:5])
