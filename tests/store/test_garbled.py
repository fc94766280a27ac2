"""Garbled files of the feature store: what is read is what was written, whatever became of a byte; the rest is missing.

Missing is what an extraction computes anew: after it, all rows are there and right.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drillcore.store import FeatureSpec, FeatureStore, StoreWriter

SPEC = FeatureSpec(weights="w" * 64, taps=("layer3",), preprocessing={"resize": [28, 28]}, dtype="float32")
COUNT = 6
NAMES = SPEC.keys([f"{number:064x}" for number in range(COUNT)])
VALUES = np.random.default_rng(0).normal(size=(COUNT, 3)).astype(np.float32)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    made = FeatureStore(tmp_path / "features", SPEC)
    with StoreWriter(made) as writer:
        writer.add(NAMES, VALUES)
    return made


def fresh(store: FeatureStore) -> FeatureStore:
    return FeatureStore(store.root, SPEC)


def check_what_is_there(store: FeatureStore) -> int:
    """Whatever is not missing reads as it was written; returns how many are missing."""
    reader = fresh(store)
    missing = reader.missing(NAMES)
    there = np.flatnonzero(~missing)
    if len(there):
        np.testing.assert_array_equal(reader.read([NAMES[number] for number in there]), VALUES[there])
    return int(missing.sum())


def check_recomputed(store: FeatureStore) -> None:
    """An extraction computes what is missing, and all is there."""
    again = fresh(store)
    with StoreWriter(again) as writer:
        gone = np.flatnonzero(again.missing(NAMES))
        if len(gone):
            writer.add([NAMES[number] for number in gone], VALUES[gone])
    np.testing.assert_array_equal(fresh(store).read(NAMES), VALUES)
    assert fresh(store).damaged() == []


def shard_of(store: FeatureStore) -> Path:
    (path,) = store.shards.iterdir()
    return path


@pytest.mark.parametrize("bit", [1, 8, 128])
def test_every_byte_of_a_shard(store: FeatureStore, bit: int) -> None:
    path = shard_of(store)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        missing = check_what_is_there(store)
        # Spaces at the header's end, and its names and checksum of other spelling, may say the same.
        assert missing == COUNT or place < header, place


REGIONS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda data: b"",
    "one byte": lambda data: data[:1],
    "length alone": lambda data: data[:8],
    "header alone": lambda data: data[: 8 + int.from_bytes(data[:8], "little")],
    "half": lambda data: data[: len(data) // 2],
    "a byte less": lambda data: data[:-1],
    "a byte more": lambda data: data + b"\0",
    "twice": lambda data: data + data,
    "zeros": lambda data: bytes(len(data)),
    "noise": lambda data: np.random.default_rng(1).bytes(len(data)),
    "zeros in its header": lambda data: data[:20] + bytes(40) + data[60:],
    "noise in its header": lambda data: data[:20] + np.random.default_rng(2).bytes(40) + data[60:],
    "zeros in its data": lambda data: data[:-40] + bytes(40),
    "noise in its data": lambda data: data[:-40] + np.random.default_rng(3).bytes(40),
    "a huge length": lambda data: b"\xff" * 8 + data[8:],
    "places moved by a row": lambda data: data.replace(b'"data_offsets":[48,120]', b'"data_offsets":[60,132]'),
    "places of the keys for rows": lambda data: data.replace(b'"data_offsets":[48,120]', b'"data_offsets":[120,192]'),
    "names changed": lambda data: data.replace(b'"rows"', b'"r\\u006fws"').replace(b'"keys"', b'"kezs"'),
    "deep": lambda data: (n := b"[" * 900) and len(n).to_bytes(8, "little") + n + data,
}


@pytest.mark.parametrize("region", REGIONS)
def test_a_garbled_shard_is_noticed_and_made_anew(store: FeatureStore, region: str) -> None:
    path = shard_of(store)
    whole = path.read_bytes()
    garbled = REGIONS[region](whole)
    assert garbled != whole
    path.write_bytes(garbled)
    assert check_what_is_there(store) == COUNT
    check_recomputed(store)


@pytest.mark.parametrize("bit", [1, 64])
def test_bytes_of_the_index(store: FeatureStore, bit: int) -> None:
    """An index that says nothing, or says that it is not as it was, is made again from the shards."""
    whole = store.index_path.read_bytes()
    for place in [*range(0, len(whole), 11), *range(len(whole) - 12, len(whole))]:
        store.index_path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        check_what_is_there(store)
    check_recomputed(store)


@pytest.mark.parametrize("name", ["nothing", "one byte", "half", "a byte less", "zeros", "noise", "twice"])
def test_a_garbled_index(store: FeatureStore, name: str) -> None:
    store.index_path.write_bytes(REGIONS[name](store.index_path.read_bytes()))
    check_what_is_there(store)
    check_recomputed(store)


def test_an_index_of_another_table_is_noticed(store: FeatureStore, tmp_path: Path) -> None:
    other = FeatureStore(tmp_path / "other", SPEC)
    with StoreWriter(other) as writer:
        writer.add(NAMES, VALUES[::-1].copy())
    store.index_path.write_bytes(other.index_path.read_bytes())
    check_what_is_there(store)
    check_recomputed(store)


def test_a_shard_under_the_name_of_another_is_noticed(store: FeatureStore, tmp_path: Path) -> None:
    other = FeatureStore(tmp_path / "other", SPEC)
    with StoreWriter(other) as writer:
        writer.add(NAMES, VALUES[::-1].copy())
    shard_of(store).write_bytes(shard_of(other).read_bytes())
    assert check_what_is_there(store) == COUNT
    check_recomputed(store)


def test_each_of_several_shards_alone(tmp_path: Path) -> None:
    store: Any = FeatureStore(tmp_path / "features", SPEC)
    for number in range(3):
        with StoreWriter(store, shard_bytes=16) as writer:
            writer.add(NAMES[2 * number : 2 * number + 2], VALUES[2 * number : 2 * number + 2])
    paths = sorted(store.shards.iterdir())
    assert len(paths) == 3
    for path in paths:
        whole = path.read_bytes()
        path.write_bytes(bytes(len(whole)))
        assert check_what_is_there(store) == 2
        path.write_bytes(whole)
    paths[1].write_bytes(b"")
    check_recomputed(store)
