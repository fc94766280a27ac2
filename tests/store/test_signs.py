"""Signs in two bits: what comes back, what it takes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drillcore.errors import StoreError
from drillcore.representations.store_rows import StoreRows
from drillcore.store import FeatureSpec, FeatureStore, StoreWriter
from drillcore.store.signs import pack_signs, unpack_signs


@pytest.mark.parametrize("width", [1, 4, 7, 1000])
def test_signs_come_back_from_two_bits(width: int) -> None:
    rows = np.random.default_rng(width).integers(-1, 2, (5, width)) * 0.3
    packed = pack_signs(rows)
    assert packed.shape == (5, -(-width // 4))
    np.testing.assert_array_equal(unpack_signs(packed, width), np.sign(rows))


def test_a_store_of_signs_takes_a_sixteenth_and_gives_rows_to_learn_from(tmp_path: Path) -> None:
    spec = FeatureSpec(weights="0" * 64, taps=("t",), preprocessing={}, dtype="sign2")
    keys = spec.keys([f"{number:064x}" for number in range(6)])
    rows = np.random.default_rng(0).normal(size=(6, 4001)).astype(np.float32)
    store = FeatureStore(tmp_path, spec)
    with StoreWriter(store) as writer:
        writer.add(keys[:4], rows[:4])
        writer.commit()
        writer.add(keys[4:], rows[4:])
    assert not store.missing(keys).any()
    assert store.info().bytes < rows.nbytes / 16 + 8000
    found = StoreRows(store, keys, 4001)
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found[np.array([5, 0, 3])], np.sign(rows[[5, 0, 3]]))
    rows[0, 0] = np.nan
    with pytest.raises(StoreError, match="not finite"), StoreWriter(store) as writer:
        writer.add(spec.keys(["f" * 64]), rows[:1])
