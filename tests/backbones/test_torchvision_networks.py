"""torchvision's networks as backbones: the same answers, taps by its names, frozen, at any size."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn
from torchvision.models import get_model
from torchvision.models.feature_extraction import get_graph_node_names

from drillcore.backbones.base import Backbone, weights_digest
from drillcore.backbones.catalogue import build_backbone, get_entry
from drillcore.backbones.geometry import WHOLE_IMAGE
from drillcore.backbones.networks.squeezenet import build_squeezenet
from drillcore.backbones.networks.torchvision_networks import (
    TracedNetwork,
    build_torchvision,
    mean_std,
    torchvision_names,
)
from drillcore.backbones.networks.vgg import CORE_TAPS, build_vgg16
from drillcore.errors import InputError, UnknownNameError
from drillcore.settings import Settings

PAPER_WIDTHS = [64, 128, 256, 512, 512]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def noise(height: int, width: int, count: int = 1) -> torch.Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(height))


def original(name: str, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return get_model(name, weights=None).eval()


def test_squeezenet_is_torchvisions() -> None:
    backbone, network = build_squeezenet(seed=5, resize=None), original("squeezenet1_0", 5)
    x = noise(75, 98)
    places = {"conv1": 1, "fire3": 4, "fire5": 7, "fire8": 10, "fire9": 12}
    found = backbone.forward_taps(x, list(places))
    for tap, index in places.items():
        assert torch.equal(found[tap], network.features[: index + 1](x)), tap
        assert found[tap].shape[1] == backbone.taps[tap].width
    assert sum(backbone.taps[tap].width for tap in places) == 1504
    assert backbone.weights_sha256 == weights_digest(nn.ModuleDict({"features": network.features}))
    assert build_squeezenet(seed=5).weights_sha256 == backbone.weights_sha256


def test_vgg16_is_torchvisions() -> None:
    backbone = build_vgg16(seed=1, resize=None)
    with torch.device("meta"):
        network = get_model("vgg16").features
    network.to_empty(device="cpu")
    network.load_state_dict({name.removeprefix("features."): v for name, v in backbone.module.state_dict().items()})
    x = noise(49, 33)
    found = backbone.forward_taps(x, CORE_TAPS)
    wanted = {}
    block, inside = 1, 0
    for layer in network:
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            inside += 1
            wanted[f"conv{block}_{inside}"] = x.clone()
        elif isinstance(layer, nn.MaxPool2d):
            block, inside = block + 1, 0
    assert list(wanted) == list(backbone.taps)
    for tap in CORE_TAPS:
        assert torch.equal(found[tap], wanted[tap])
    assert [backbone.taps[tap].width for tap in CORE_TAPS] == PAPER_WIDTHS
    assert [backbone.taps[tap].stride for tap in CORE_TAPS] == [1, 2, 4, 8, 16]
    assert not any("classifier" in name for name in backbone.module.state_dict())
    assert float(backbone.module.get_parameter("features.28.weight").std()) == pytest.approx(
        (2 / 4608) ** 0.5, rel=0.01
    )


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "googlenet", "convnext_tiny"])
def test_any_network_by_torchvisions_node_names(name: str) -> None:
    backbone = build_torchvision(name, seed=2)
    network = get_model(
        name, weights=None, **({"aux_logits": False, "init_weights": False} if name == "googlenet" else {})
    ).eval()
    network.load_state_dict(backbone.module.state_dict())
    assert backbone.weights_sha256 == weights_digest(network)
    _, nodes = get_graph_node_names(network, suppress_diff_warning=True)
    parameters = {name.replace(".", "_") for name, _ in network.named_parameters()}  # nodes too, but no activations
    assert [node for node in nodes[1:] if node not in backbone.taps and node.split(".")[-1] not in parameters] == []
    layers = {
        path: layer
        for path, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.Linear | nn.LayerNorm) and path in backbone.taps
    }
    wanted: dict[str, torch.Tensor] = {}
    for path, layer in layers.items():  # a copy, before the next layer overwrites it
        layer.register_forward_hook(lambda _, __, result, path=path: wanted.update({path: result.clone()}))
    x = noise(224, 224)
    with torch.no_grad():
        logits = network(x)
    found = backbone.forward_taps(x, list(layers))
    assert len(found) > 20
    for tap, value in found.items():
        assert torch.equal(value, wanted[tap]), tap
        assert value[0].numel() == backbone.taps[tap].flat, tap
    assert torch.equal(backbone.module(x), logits)


def test_a_tap_is_not_overwritten_by_the_layer_above() -> None:
    backbone = build_torchvision("resnet18", seed=1, resize=None)
    x = noise(60, 60)
    alone = backbone.forward_taps(x, ["layer1.0.bn2"])["layer1.0.bn2"]
    both = backbone.forward_taps(x, ["layer1.0.bn2", "layer1.0.add", "layer1.0.relu_1", "layer4"])
    assert torch.equal(both["layer1.0.bn2"], alone)
    assert float(alone.min()) < 0
    assert float(both["layer1.0.add"].min()) < 0
    assert torch.equal(both["layer1.0.add"].relu(), both["layer1.0.relu_1"])


class _Dropping(nn.Module):
    """Dropout hands on the tensor it got, and the ReLU after it works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.drop, self.relu = nn.Conv2d(3, 4, 1), nn.Dropout(), nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.drop(self.conv(x)))


def test_a_tap_is_not_overwritten_through_dropout() -> None:
    network = TracedNetwork(_Dropping())
    x = noise(8, 8)
    before = x.clone()
    found = network.eval().forward_taps(x, ["conv", "relu"])
    assert float(found["conv"].detach().min()) < 0
    assert torch.equal(found["conv"].relu(), found["relu"])
    assert torch.equal(x, before)


def test_frozen() -> None:
    backbone = build_torchvision("resnet18", seed=1, resize=None)
    before = {name: value.clone() for name, value in backbone.module.state_dict().items()}
    assert any("running_mean" in name for name in before)
    head = nn.Conv2d(512, 2, 1)
    optimiser = torch.optim.SGD([*backbone.module.parameters(), *head.parameters()], lr=1.0)
    for step in range(3):
        values = backbone.forward_taps(noise(64, 64 + step, 2), ["layer4"])["layer4"]
        head(values).square().mean().backward()
        optimiser.step()
    after = backbone.module.state_dict()
    assert not backbone.module.training
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert backbone.weights_sha256 == weights_digest(backbone.module)


def test_any_size_has_maps_only_and_no_layers_above_them() -> None:
    fixed, free = build_torchvision("resnet18"), build_torchvision("resnet18", resize=None)
    assert "fc.weight" in fixed.module.state_dict()
    assert "fc.weight" not in free.module.state_dict()
    assert {"avgpool", "flatten", "fc"} == set(fixed.taps) - set(free.taps)
    assert all(tap.flat == 0 and tap.stride >= 1 and tap.field >= 1 for tap in free.taps.values())
    assert (fixed.taps["fc"].flat, fixed.taps["fc"].stride) == (1000, 0)
    assert fixed.taps["layer2"].flat == 128 * 28 * 28
    with pytest.raises(UnknownNameError, match=r"tap of torchvision:resnet18 'fc'.*known: .* more$"):
        free.check_taps(["fc"])


def test_a_gate_over_the_whole_image_is_said() -> None:
    taps = build_torchvision("mobilenet_v3_small", resize=None).taps
    assert taps["features.0"].field == 3
    assert taps["features.1.block.0"].field < WHOLE_IMAGE == taps["features.1"].field


def test_batches_side_by_side() -> None:
    backbone = build_squeezenet(seed=1, resize=None)
    images = [noise(40 + number, 50) for number in range(8)]
    wanted = [backbone.forward_taps(x, ["fire5"])["fire5"] for x in images]
    found: dict[int, torch.Tensor] = {}

    def work(number: int) -> None:
        found[number] = backbone.forward_taps(images[number], ["fire5"])["fire5"]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[number], wanted[number]) for number in range(8))


def test_the_seed_leaves_no_trace() -> None:
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    digests = {build_torchvision("resnet18", seed=seed, resize=None).weights_sha256 for seed in (0, 1, 0)}
    assert len(digests) == 2
    assert torch.equal(torch.rand(3), wanted)


def test_preprocessing_is_that_of_the_published_weights() -> None:
    from torchvision.models import get_model_weights

    for name in ("squeezenet1_0", "vgg16", "resnet18", "efficientnet_b0", "convnext_tiny"):
        rule = next(iter(get_model_weights(name))).transforms()
        assert (tuple(mean_std(name)[0]), tuple(mean_std(name)[1])) == (tuple(rule.mean), tuple(rule.std))


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_trained_with_another_rule(name: str) -> None:
    """torchvision turns ImageNet's rule into theirs inside the network; ours applies theirs at once."""
    network = get_model(name, weights=None, aux_logits=False, transform_input=True, init_weights=False)
    grey = torch.rand(1, 3, 8, 8)
    mean, std = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    inside = network._transform_input((grey - mean) / std)
    ours_mean, ours_std = mean_std(name)
    assert torch.allclose(inside, (grey - ours_mean[0]) / ours_std[0], atol=1e-5)


def test_names(settings: Settings) -> None:
    assert "resnet18" in torchvision_names()
    assert build_backbone("resnet18", "seed:0", settings, any_size=True).name == "torchvision:resnet18"
    with pytest.raises(UnknownNameError, match="did you mean torchvision:resnet18"):
        get_entry("torchvision:resnet19")
    with pytest.raises(UnknownNameError, match="squeezenet1_0"):
        get_entry("squeezenet9")


def test_any_size_is_asked_for(settings: Settings) -> None:
    def build(name: str, **size: object) -> Backbone:
        return build_backbone(name, "seed:0", settings, units=4 if name == "cnn1" else None, **size)  # type: ignore[arg-type]

    assert build("squeezenet1_0").resize == (224, 224)
    assert build("squeezenet1_0", resize=(64, 96)).resize == (64, 96)
    assert build("squeezenet1_0", any_size=True).resize is None
    with pytest.raises(InputError, match="both resize and any_size"):
        build("squeezenet1_0", any_size=True, resize=(64, 64))
    with pytest.raises(InputError, match="input size of its own"):
        build("cnn1", any_size=True)


def test_a_size_that_is_too_small() -> None:
    with pytest.raises(InputError, match=r"does not take images of \[3, 3\]"):
        build_squeezenet(resize=(3, 3))
    with pytest.raises(InputError, match=r"does not take images of \[100, 100\]"):
        build_torchvision("vit_b_16", resize=(100, 100))
