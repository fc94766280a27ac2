"""Trained backbones are kept whole, found again by purpose, verified by digest."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from drillcore.backbones.base import Backbone, weights_bytes
from drillcore.backbones.catalogue import build_backbone
from drillcore.backbones.networks.plankton_cnn import build_plankton_cnn
from drillcore.backbones.weights.artifacts import checkpoint_path, latest_artifact, read_artifact, save_artifact
from drillcore.digests import sha256_bytes, sha256_file
from drillcore.errors import InputError, IntegrityError, UnknownNameError
from drillcore.settings import Settings

PURPOSE = {"model": "plankton-forest", "lineage": "sample"}


def trained(seed: int = 3) -> Backbone:
    return build_plankton_cnn("cnn1", 5, seed=seed)


def test_saved_and_loaded_is_the_same_network(settings: Settings) -> None:
    artifact = save_artifact(settings, trained(), units=5, purpose=PURPOSE, training={"curve": []})
    assert sha256_file(artifact.path / "weights.safetensors") == artifact.sha256 == trained().weights_sha256
    loaded = build_backbone("cnn1", f"sha256:{artifact.sha256}", settings)
    x = torch.rand(2, 1, 28, 28)
    assert torch.equal(loaded.rows(x, ["layer4"]), trained().rows(x, ["layer4"]))
    assert loaded.weights_sha256 == artifact.sha256
    assert read_artifact(settings, "cnn1", artifact.sha256) == artifact


def test_the_newest_of_a_purpose_is_found(settings: Settings) -> None:
    assert latest_artifact(settings, "cnn1", PURPOSE) is None
    save_artifact(settings, trained(1), units=5, purpose=PURPOSE, training={})
    newer = save_artifact(settings, trained(2), units=5, purpose=PURPOSE, training={})
    assert latest_artifact(settings, "cnn1", PURPOSE) == newer
    assert latest_artifact(settings, "cnn1", PURPOSE | {"lineage": "import-1"}) is None
    assert checkpoint_path(settings, "cnn1", PURPOSE) != checkpoint_path(settings, "cnn1", {})


def test_a_flipped_bit_is_refused(settings: Settings) -> None:
    artifact = save_artifact(settings, trained(), units=5, purpose=PURPOSE, training={})
    file = artifact.path / "weights.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    with pytest.raises(IntegrityError, match="expected"):
        build_backbone("cnn1", f"sha256:{artifact.sha256}", settings)
    (artifact.path / "backbone.json").write_text("{")
    with pytest.raises(IntegrityError):
        read_artifact(settings, "cnn1", artifact.sha256)


def test_weights_from_a_file_and_random_ones(settings: Settings) -> None:
    data = weights_bytes(trained().module)
    file = settings.root / "cnn.safetensors"
    file.write_bytes(data)
    backbone = build_backbone("cnn1", f"cnn.safetensors#sha256={sha256_bytes(data)}", settings, units=5)
    assert backbone.weights_sha256 == trained().weights_sha256
    with pytest.raises(InputError, match="does not fit"):
        build_backbone("cnn1", f"cnn.safetensors#sha256={sha256_bytes(data)}", settings, units=6)
    with pytest.raises(InputError, match="no weights file"):
        build_backbone("cnn1", f"none.safetensors#sha256={sha256_bytes(data)}", settings, units=6)
    assert build_backbone("cnn1", "seed:3", settings, units=5).weights_sha256 == trained().weights_sha256


def test_unknown_names_and_forms(settings: Settings) -> None:
    with pytest.raises(UnknownNameError, match="cnn1, cnn2, cnn3, squeezenet1_0"):
        build_backbone("cnn9", "seed:0", settings, units=5)
    with pytest.raises(InputError, match="seed:N"):
        build_backbone("cnn1", "imagenet", settings, units=5)
    with pytest.raises(UnknownNameError, match="none yet"):
        build_backbone("cnn1", "sha256:" + "0" * 64, settings)
    with pytest.raises(InputError, match="number of classes"):
        build_backbone("cnn1", "seed:0", settings)


def test_a_pickle_in_the_place_of_weights_never_fires(settings: Settings, tmp_path: Path) -> None:
    import pickle

    canary = tmp_path / "fired"

    class Canary:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (canary,))

    data = pickle.dumps(Canary())
    (settings.root / "evil.safetensors").write_bytes(data)
    with pytest.raises(IntegrityError, match="not a safetensors"):
        build_backbone("cnn1", f"evil.safetensors#sha256={sha256_bytes(data)}", settings, units=5)
    assert not canary.exists()


def test_squeezenet_taps_have_the_widths_of_the_table(settings: Settings) -> None:
    backbone = build_backbone("squeezenet1_0", "seed:0", settings, resize=(64, 48))
    found = backbone.forward_taps(torch.rand(1, 3, 64, 48), list(backbone.taps))
    for name, tap in backbone.taps.items():
        assert found[name].shape[1] == tap.width
        assert found[name][0].numel() == tap.flat
    alone = backbone.forward_taps(torch.ones(1, 3, 64, 48), ["conv1"])["conv1"]
    together = backbone.forward_taps(torch.ones(1, 3, 64, 48), ["conv1", "fire4"])["conv1"]
    assert torch.equal(alone, together)


@pytest.mark.shared
def test_squeezenet_takes_the_published_weights(settings: Settings, shared_dir: Path) -> None:
    file = shared_dir / "weights" / "squeezenet1_0.safetensors"
    backbone = build_backbone("squeezenet1_0", f"{file}#sha256={sha256_file(file)}", settings)
    assert backbone.taps["fire9"].width == 512
