"""The store: keys, reading in any order, damage, kills, one writer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drillcore.digests import sha256_json
from drillcore.errors import InputError, StoreError
from drillcore.settings import Settings
from drillcore.store import FeatureSpec, FeatureStore, StoreWriter
from drillcore.store import writer as store_writer
from drillcore.store.index import positions, read_index
from drillcore.store.shards import open_shard, verify_shard
from drillcore.store.store import tables

SPEC = FeatureSpec(weights="w" * 64, taps=("layer3",), preprocessing={"resize": [28, 28]}, dtype="float32")


def names(count: int, start: int = 0) -> list[str]:
    return SPEC.keys([f"{number:064x}" for number in range(start, start + count)])


def values(count: int, start: int = 0) -> np.ndarray[Any, Any]:
    return np.arange(start * 3, (start + count) * 3, dtype=np.float32).reshape(count, 3)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "features", SPEC)


def fill(store: FeatureStore, count: int, start: int = 0, **more: Any) -> None:
    with StoreWriter(store, **more) as writer:
        writer.add(names(count, start), values(count, start))


def flip(path: Path, place: int = -3) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)


def test_the_key_is_the_sha256_of_the_json() -> None:
    image = "ab" * 32
    assert SPEC.keys([image]) == [sha256_json(SPEC.to_dict() | {"image": image})]


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "v" * 64},
        {"taps": ("layer4",)},
        {"preprocessing": {"resize": [28, 29]}},
        {"dtype": "float16"},
        {"sampling": {"pixels": 100, "seed": 1}},
    ],
)
def test_every_part_of_the_spec_is_in_the_key(change: dict[str, Any]) -> None:
    other = FeatureSpec(**({name: getattr(SPEC, name) for name in SPEC.__slots__} | change))
    assert other.keys(["a" * 64]) != SPEC.keys(["a" * 64])
    assert other.digest != SPEC.digest


def test_rows_come_back_in_the_order_of_the_keys(store: FeatureStore) -> None:
    fill(store, 50, shard_images=7)
    order = np.random.default_rng(0).permutation(50)
    keys = [names(50)[number] for number in order]
    assert np.array_equal(store.read(keys), values(50)[order])
    assert np.array_equal(store.read([keys[3], keys[3]]), values(50)[order[[3, 3]]])
    assert FeatureStore(store.root, SPEC).missing(names(52)).tolist() == [False] * 50 + [True] * 2
    assert store.read([]).size == 0


def test_small_shards_are_merged_when_the_writer_closes_and_large_ones_stay(store: FeatureStore) -> None:
    with StoreWriter(store, shard_images=5) as writer:
        for start in range(0, 20, 5):
            writer.add(names(5, start), values(5, start))
        assert len(list(store.shards.iterdir())) == 4
    assert len(list(store.shards.iterdir())) == 1
    assert np.array_equal(store.read(names(20)), values(20))
    with StoreWriter(store, shard_bytes=64) as writer:
        writer.add(names(20, 20), values(20, 20))
    assert len(list(store.shards.iterdir())) == 2
    assert np.array_equal(store.read(names(40)), values(40))


def test_several_rows_for_a_key(store: FeatureStore) -> None:
    counts = np.array([2, 0, 3])
    with StoreWriter(store) as writer:
        writer.add(names(3), values(5), counts)
    assert store.counts(names(3)).tolist() == [2, 0, 3]
    keys = names(3)
    assert np.array_equal(store.read([keys[2], keys[1], keys[0]]), values(5)[[2, 3, 4, 0, 1]])


def test_float16_rounds_once(tmp_path: Path) -> None:
    spec = FeatureSpec(weights="w", taps=("a",), preprocessing=None, dtype="float16")
    store = FeatureStore(tmp_path, spec)
    rows = np.array([[0.1, 65504.0]], np.float32)
    with StoreWriter(store) as writer:
        writer.add(spec.keys(["1"]), rows)
        with pytest.raises(StoreError, match="not finite"):
            writer.add(spec.keys(["2"]), np.array([[70000.0, 0]], np.float32))
    found = store.read(spec.keys(["1"]))
    assert found.dtype == np.float16
    assert np.array_equal(found, rows.astype(np.float16))


@pytest.mark.parametrize("place", [-3, 12, 3, None])
def test_a_damaged_shard_is_noticed_and_only_its_keys_are_missing(store: FeatureStore, place: int | None) -> None:
    fill(store, 10, shard_bytes=16)
    fill(store, 10, 10, shard_bytes=16)
    first, second = sorted(store.shards.iterdir())
    held = set(read_index(store.index_path).query("shard == @first.name").index)
    if place is None:
        first.write_bytes(first.read_bytes()[:-20])
    else:
        flip(first, place)
    fresh = FeatureStore(store.root, SPEC)
    missing = fresh.missing(names(20))
    assert {key for key, gone in zip(names(20), missing, strict=True) if gone} == held
    assert fresh.damaged() == [first.name]
    with pytest.raises(StoreError, match="damaged"):
        fresh.read(names(20))
    with StoreWriter(fresh, shard_bytes=16) as writer:
        again = sorted({int(number) for number in np.flatnonzero(fresh.missing(names(20)))})
        assert len(again) == 10
        writer.add([names(20)[number] for number in again], values(20)[again])
    assert np.array_equal(fresh.read(names(20)), values(20))
    assert second.exists()


def test_the_same_process_notices_damage_too(store: FeatureStore) -> None:
    fill(store, 10)
    store.read(names(10))
    flip(next(store.shards.iterdir()))
    assert store.missing(names(10)).all()


def test_shards_of_a_killed_writer_are_adopted_and_half_written_ones_swept(store: FeatureStore) -> None:
    writer = StoreWriter(store, shard_images=4).__enter__()
    writer.add(names(4), values(4))
    writer.add(names(2, 4), values(2, 4))
    writer._exit.close()  # what the system does for a killed process; no index, 4 of 6 committed
    (store.shards / ".partial-x").write_bytes(b"half")
    assert store.missing(names(6)).all()
    with StoreWriter(store):
        assert store.missing(names(6)).tolist() == [False] * 4 + [True] * 2
    assert np.array_equal(store.read(names(4)), values(4))
    assert not list(store.shards.glob(".partial-*"))


@pytest.mark.parametrize("step", ["write_index", "write_shard"])
def test_keys_whose_dropping_was_killed_are_dropped_by_the_next_writer(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    fill(store, 4)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    writer = StoreWriter(store).__enter__()
    with monkeypatch.context() as patched:
        if step == "write_index":
            writer._write_index()
            real = writer._write_index
            calls = iter([real, killed])
            patched.setattr(writer, "_write_index", lambda: next(calls)())
        else:
            patched.setattr(store_writer, "write_shard", killed)
        with pytest.raises(KeyboardInterrupt):
            writer.drop(names(1))
    writer._exit.close()
    store.close()
    fresh = FeatureStore(store.root, SPEC)
    with StoreWriter(fresh) as again:
        again.drop(names(1))
    fresh = FeatureStore(store.root, SPEC)
    assert fresh.missing(names(4)).tolist() == [True, False, False, False]
    assert np.array_equal(fresh.read(names(3, 1)), values(3, 1))
    with StoreWriter(fresh):
        assert fresh.unlisted() == []
    assert fresh.missing(names(1)).all()


def test_a_lost_index_is_made_again_from_the_shards(store: FeatureStore) -> None:
    fill(store, 10)
    store.index_path.write_bytes(b"PAR1 no")
    fresh = FeatureStore(store.root, SPEC)
    with StoreWriter(fresh):
        pass
    assert np.array_equal(fresh.read(names(10)), values(10))


def test_an_error_keeps_what_was_added(store: FeatureStore) -> None:
    def interrupted() -> None:
        with StoreWriter(store) as writer:
            writer.add(names(3), values(3))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert np.array_equal(store.read(names(3)), values(3))


def test_one_writer_at_a_time(store: FeatureStore) -> None:
    with StoreWriter(store), pytest.raises(StoreError, match="another process"):  # noqa: SIM117
        with StoreWriter(store, wait_seconds=0.1):
            pass
    with StoreWriter(store):
        pass


def test_readers_see_what_a_later_writer_adds(store: FeatureStore) -> None:
    reader = FeatureStore(store.root, SPEC)
    assert reader.missing(names(2)).all()
    fill(store, 2)
    assert np.array_equal(reader.read(names(2)), values(2))


def test_index_columns_are_those_of_the_contract(store: FeatureStore) -> None:
    fill(store, 3)
    frame = read_index(store.index_path)
    assert [frame.index.name, *frame.columns] == ["key", "shard", "row", "n", "crc"]
    path = store.shards / frame["shard"].iloc[0]
    assert verify_shard(path) == open_shard(path).crc == frame["crc"].iloc[0]
    assert positions(frame, ["no such key"]).tolist() == [-1]


def test_shards_are_ordinary_safetensors_files(store: FeatureStore) -> None:
    from safetensors.numpy import load_file

    fill(store, 5)
    tensors = load_file(next(store.shards.iterdir()))
    assert np.array_equal(tensors["rows"], values(5))
    assert tensors["keys"].tobytes().hex() == "".join(names(5))
    assert tensors["counts"].tolist() == [1] * 5


def test_refusals(store: FeatureStore) -> None:
    with StoreWriter(store) as writer, pytest.raises(StoreError, match="do not fit"):
        writer.add(names(2), values(3))
    with pytest.raises(StoreError, match="extract them first"):
        store.read(names(1))
    with pytest.raises(InputError, match="float16, float32"):
        FeatureSpec(weights="w", taps=("a",), preprocessing=None, dtype="int8")


def test_tables_are_measured(settings: Settings) -> None:
    store = FeatureStore.of(settings, SPEC)
    fill(store, 100)
    (info,) = tables(settings)
    assert (info.images, info.shards, info.digest) == (100, 1, SPEC.digest)
    assert info.bytes == sum(path.stat().st_size for path in [*store.shards.iterdir(), store.index_path])
    assert info.bytes_per_image == info.bytes / 100


def test_an_unwritable_folder_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="cannot be written"):
        fill(FeatureStore(tmp_path / "features", SPEC), 1)
