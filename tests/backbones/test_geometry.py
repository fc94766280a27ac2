"""Strides, centres and receptive fields against hand-worked ones, and against what a gradient says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import fx, nn

from drillcore.backbones.base import Backbone
from drillcore.backbones.geometry import WHOLE_IMAGE, Geometry, trace_geometry
from drillcore.backbones.networks.squeezenet import build_squeezenet
from drillcore.backbones.networks.torchvision_networks import build_torchvision
from drillcore.backbones.networks.vgg import build_vgg16


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def last(network: nn.Module) -> Geometry | None:
    """Return the geometry of a network's result."""
    graph = fx.symbolic_trace(network).graph
    found = trace_geometry(graph, network)
    (result,) = (node for node in graph.nodes if node.op == "output")
    return found.get(result.args[0])


@pytest.mark.parametrize(
    ("layers", "stride", "origin", "field"),
    [
        ([nn.Conv2d(1, 1, 7, stride=2)], 2, 3, 7),
        ([nn.Conv2d(1, 1, 7, stride=2, padding=3)], 2, 0, 7),
        ([nn.Conv2d(1, 1, 3, padding=2, dilation=2)], 1, 0, 5),
        ([nn.MaxPool2d(2)], 2, 0.5, 2),
        ([nn.MaxPool2d(2), nn.MaxPool2d(2)], 4, 1.5, 4),
        ([nn.Conv2d(1, 1, 7, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)], 4, 5, 11),
        ([nn.AvgPool2d(3, 1, padding=1), nn.Conv2d(1, 1, 1)], 1, 0, 3),
        ([nn.Conv2d(1, 1, (1, 7), padding=(0, 3)), nn.Conv2d(1, 1, (7, 1), padding=(3, 0))], 1, 0, 7),
    ],
)
def test_by_hand(layers: list[nn.Module], stride: float, origin: float, field: float) -> None:
    assert last(nn.Sequential(*layers)) == Geometry((stride,) * 2, (origin,) * 2, (field,) * 2)


def test_axes_apart() -> None:
    found = last(nn.Sequential(nn.Conv2d(1, 1, (1, 3), stride=(1, 2))))
    assert found == Geometry((1, 2), (0, 1), (1, 3))
    assert found is not None
    assert not found.square


class _Branches(nn.Module):
    """Two branches that meet: the second one's cells lie where the first one's do, or a pixel further."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 3, padding=padding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.one(x)[:, :, 2:, 2:], self.other(x)], 1)


class _Aligned(_Branches):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.one(x), self.other(x)], 1)


class _Gated(_Branches):
    """A squeeze-and-excitation: every cell of the result depends on the whole image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = torch.sigmoid(self.one(nn.functional.adaptive_avg_pool2d(x, 1)))
        return self.other(x) * gate


def test_branches() -> None:
    assert last(_Aligned(1)) == Geometry(field=(3, 3))
    assert last(_Aligned(0)) is None  # the centres of the two lie a pixel apart
    assert last(_Branches(0)) is None  # cropping is not known here, and not guessed
    assert last(_Gated(1)) == Geometry(field=(WHOLE_IMAGE, WHOLE_IMAGE))
    assert last(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten(), nn.Linear(4, 2))) is None


def reached(backbone: Backbone, tap: str, side: int) -> tuple[int, int, int, tuple[int, int]]:
    """Return first and last row, and the cell, of the pixels that a cell near the middle depends on.

    Weights are made equal and maxima averages, so that every path counts and none cancels another.
    """
    module = backbone.module
    for path, layer in list(module.named_modules()):
        if isinstance(layer, nn.MaxPool2d):
            average = nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode)
            parent, _, name = path.rpartition(".")
            setattr(module.get_submodule(parent), name, average)
    module.double()  # the outermost pixels count for little
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
    x = torch.ones(1, backbone.channels, side, side, dtype=torch.float64, requires_grad=True)
    values = module.forward_taps(x, [tap])[tap]
    cell = values.shape[2] // 2
    values[0, :, cell, cell].sum().backward()
    rows = x.grad.abs().sum((0, 1, 3)).nonzero()[:, 0]  # type: ignore[union-attr]
    columns = x.grad.abs().sum((0, 1, 2)).nonzero()[:, 0]  # type: ignore[union-attr]
    return int(rows[0]), int(rows[-1]), cell, (int(columns[0]), int(columns[-1]))


@pytest.mark.parametrize(
    ("build", "tap", "side"),
    [
        (lambda: build_squeezenet(resize=None), "conv1", 61),
        (lambda: build_squeezenet(resize=None), "fire3", 90),
        (lambda: build_squeezenet(resize=None), "fire5", 133),
        (lambda: build_squeezenet(resize=None), "fire9", 222),
        (lambda: build_vgg16(resize=None), "conv2_2", 64),
        (lambda: build_vgg16(resize=None), "conv4_3", 141),
        (lambda: build_torchvision("resnet18", resize=None), "layer1", 92),
        (lambda: build_torchvision("resnet18", resize=None), "layer3", 331),
        (lambda: build_torchvision("alexnet", resize=None), "features.12", 260),
        (lambda: build_torchvision("googlenet", resize=None), "inception4a", 200),
        (lambda: build_torchvision("densenet121", resize=None), "features.transition1", 150),
        (lambda: build_torchvision("mobilenet_v2", resize=None), "features.6", 150),
    ],
)
def test_the_gradient_agrees(build: Callable[[], Backbone], tap: str, side: int) -> None:
    backbone = build()
    found = backbone.taps[tap]
    first, final, cell, columns = reached(backbone, tap, side)
    assert (first + final) / 2 == found.origin + cell * found.stride
    assert final - first + 1 == found.field
    assert columns == (first, final)
    assert first > 0
    assert final < side - 1, "the image is too small to show the whole field"


@pytest.mark.slow
def test_the_gradient_agrees_at_the_top_of_vgg16() -> None:
    backbone = build_vgg16(resize=None)
    first, final, cell, _ = reached(backbone, "conv5_3", 300)
    assert ((first + final) / 2, final - first + 1) == (7.5 + 16 * cell, 196)
