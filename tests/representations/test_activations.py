"""Extraction: only what is missing, the same bytes whatever the company, frozen weights."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from drillcore.backbones.base import Backbone, weights_digest
from drillcore.backbones.catalogue import build_backbone
from drillcore.backbones.networks.plankton_cnn import build_plankton_cnn
from drillcore.digests import sha256_bytes
from drillcore.errors import BadImageError, InputError, UnknownNameError
from drillcore.representations.activations.extraction import extract, feature_spec
from drillcore.representations.feeding import prepare_all
from drillcore.settings import Settings
from drillcore.store import FeatureStore, StoreWriter

Image = npt.NDArray[np.uint8]


def images(count: int) -> list[Image]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*rng.integers(10, 60, 2), 1), dtype=np.uint8) for _ in range(count)]


def digests(found: list[Image]) -> list[str]:
    return [sha256_bytes(image.tobytes()) for image in found]


def counted(found: list[Image]) -> tuple[Callable[[int], Image], list[int]]:
    seen: list[int] = []

    def load(row: int) -> Image:
        seen.append(row)
        return found[row]

    return load, seen


@pytest.fixture
def backbone() -> Backbone:
    return build_plankton_cnn("cnn1", 6)


def test_rows_are_the_activations(backbone: Backbone, settings: Settings) -> None:
    found = images(40)
    table = extract(backbone, ["layer3", "layer0"], digests(found), found.__getitem__, settings, dtype="float32")
    x = torch.from_numpy(np.stack([backbone.prepare(image) for image in found]))
    assert table.rows.shape == (40, 64 + 784)
    assert np.allclose(table.rows, backbone.rows(x, ["layer3", "layer0"]).numpy(), atol=1e-6)
    assert np.array_equal(table.select(np.array([7, 3])), table.rows[[7, 3]])


def test_only_what_is_missing_passes_the_backbone(backbone: Backbone, settings: Settings) -> None:
    found = images(60)
    load, seen = counted(found)
    first = extract(backbone, ["layer3"], digests(found)[:50], load, settings)
    assert (first.extracted, sorted(seen)) == (50, list(range(50)))
    seen.clear()
    second = extract(backbone, ["layer3"], digests(found), load, settings)
    assert (second.extracted, sorted(seen)) == (10, list(range(50, 60)))
    seen.clear()
    assert extract(backbone, ["layer3"], digests(found), load, settings).extracted == 0
    assert not seen


@pytest.mark.parametrize("taps", [["layer3"], ["layer4"]])
def test_rows_do_not_depend_on_their_company(
    backbone: Backbone, settings: Settings, tmp_path: Path, taps: list[str]
) -> None:
    found = images(101)
    names = digests(found)
    cold = extract(backbone, taps, names, found.__getitem__, settings, dtype="float32", root=tmp_path / "cold")
    grown = tmp_path / "grown"
    for end in (1, 38, 99, 101):
        table = extract(backbone, taps, names[:end], found.__getitem__, settings, dtype="float32", root=grown)
    assert cold.rows.tobytes() == table.rows.tobytes()


def test_squeezenet_rows_do_not_depend_on_their_company(settings: Settings, tmp_path: Path) -> None:
    backbone = build_backbone("squeezenet1_0", "seed:0", settings, resize=(32, 32))
    found = [image.repeat(3, axis=2) for image in images(9)]
    names = digests(found)
    cold = extract(backbone, ["fire9"], names, found.__getitem__, settings, batch=8, root=tmp_path / "cold")
    for end in (3, 9):
        table = extract(backbone, ["fire9"], names[:end], found.__getitem__, settings, batch=8, root=tmp_path / "warm")
    assert cold.rows.tobytes() == table.rows.tobytes()


def test_equal_images_are_computed_once(backbone: Backbone, settings: Settings) -> None:
    found = images(3)
    twice = [found[0], found[1], found[0], found[2], found[1]]
    load, seen = counted(twice)
    table = extract(backbone, ["layer3"], digests(twice), load, settings)
    assert table.extracted == len(seen) == 3
    assert np.array_equal(table.rows[0], table.rows[2])


def test_a_damaged_shard_is_computed_anew_to_the_same_bytes(backbone: Backbone, settings: Settings) -> None:
    found = images(40)
    before = extract(backbone, ["layer3"], digests(found), found.__getitem__, settings).rows.tobytes()
    store = FeatureStore.of(settings, feature_spec(backbone, ["layer3"]))
    shard = next(store.shards.iterdir())
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 16
    shard.write_bytes(data)
    again = extract(backbone, ["layer3"], digests(found), found.__getitem__, settings)
    assert (again.extracted, again.rows.tobytes()) == (40, before)


def test_the_backbone_stays_as_it_was(backbone: Backbone, settings: Settings) -> None:
    found = images(10)
    before = weights_digest(backbone.module)
    extract(backbone, ["layer4"], digests(found), found.__getitem__, settings)
    assert weights_digest(backbone.module) == before == backbone.weights_sha256


def test_a_bad_image_stops_it_and_the_rest_is_kept(backbone: Backbone, settings: Settings) -> None:
    found = images(200)

    def load(row: int) -> Image:
        if row == 190:
            raise BadImageError("truncated", "number 190")
        return found[row]

    with pytest.raises(BadImageError, match="190"):
        extract(backbone, ["layer3"], digests(found), load, settings)
    rest = extract(backbone, ["layer3"], digests(found), found.__getitem__, settings)
    assert 0 < rest.extracted < 150


def test_a_slow_disk_does_not_let_the_network_run_far_ahead(
    backbone: Backbone, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = images(320)
    load, seen = counted(found)
    at_risk = []
    commit = StoreWriter.commit

    def slow(writer: StoreWriter) -> None:
        time.sleep(0.05)
        at_risk.append(len(seen) - committed[0])  # what a kill would lose now
        committed[0] += writer.pending
        commit(writer)

    committed = [0]
    monkeypatch.setattr(StoreWriter, "commit", slow)
    alone = dataclasses.replace(settings, threads=1)
    extract(backbone, ["layer3"], digests(found), load, alone, batch=4)
    assert max(at_risk) <= 4 + 4  # a shard, and one batch beside it


def test_unknown_taps_and_backbones_without_size(backbone: Backbone, settings: Settings) -> None:
    with pytest.raises(UnknownNameError, match="layer0, layer1"):
        extract(backbone, ["fc7"], ["0" * 64], images(1).__getitem__, settings)
    backbone.preprocessing["resize"] = None
    with pytest.raises(InputError, match="no input size"):
        extract(backbone, ["layer3"], ["0" * 64], images(1).__getitem__, settings)


def test_prepare_all_keeps_the_order(backbone: Backbone) -> None:
    found = images(21)
    tensor = prepare_all(backbone, found.__getitem__, 21, workers=3, batch=4)
    assert np.array_equal(tensor, np.stack([backbone.prepare(image) for image in found]))
