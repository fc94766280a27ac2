"""DeConvNet: small networks worked out by hand, real ones against the paper's steps written out one by one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from drillcore.backbones.base import TappedModule, weights_bytes
from drillcore.backbones.deconvolution import project
from drillcore.backbones.networks.plankton_cnn import Maxout, PlanktonCnn
from drillcore.backbones.networks.squeezenet import build_squeezenet
from drillcore.backbones.networks.torchvision_networks import build_torchvision
from drillcore.backbones.networks.vgg import build_vgg16
from drillcore.errors import InputError


class Chain(TappedModule):
    """Layers one after the other; tap `top` is the last."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers).eval().requires_grad_(False)

    def forward_taps(self, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        return {"top": self.layers(x)}


def convolution(weight: list, bias: float = 0.0, **more: int) -> nn.Conv2d:
    """A convolution whose filters [O, I, k, k] are given."""
    values = torch.tensor(weight, dtype=torch.float32)
    layer = nn.Conv2d(values.shape[1], values.shape[0], values.shape[2], **more)
    with torch.no_grad():
        layer.weight.copy_(values)
        layer.bias.fill_(bias)
    return layer


def test_switches_put_values_back_where_the_maxima_were() -> None:
    x = torch.tensor([[[[1.0, 2.0, 0.0, 0.0], [3.0, 0.0, 0.0, 5.0], [0.0, 0.0, 7.0, 0.0], [0.0, 4.0, 0.0, 0.0]]]])
    net = Chain(convolution([[[[2.0]]]], bias=-1.0), nn.ReLU(), nn.MaxPool2d(2, 2))
    projected, values = project(net, x.repeat(4, 1, 1, 1), "top", [0, 1, 2, 3])
    assert values.tolist() == [5.0, 9.0, 7.0, 13.0]  # 2 x - 1 at 3, 5, 4 and 7
    for number, (row, column) in enumerate([(1, 0), (1, 3), (3, 1), (2, 2)]):
        expected = torch.zeros(4, 4)
        expected[row, column] = 2 * values[number]  # by the filter once more; the bias is left out
        assert torch.equal(projected[number, 0], expected)


def test_what_a_rectifier_let_through_is_rectified_again() -> None:
    """The rectifier looks at what comes from above, not at what came from below: the gradient would be another."""
    x = torch.tensor([[[[1.0]]]])
    net = Chain(convolution([[[[1.0]]], [[[2.0]]]]), nn.ReLU(), convolution([[[[3.0]], [[-1.0]]]]))
    projected, values = project(net, x, "top", [0])  # 3 relu(x) - relu(2 x)
    assert values.item() == 1
    assert projected.item() == 3  # -1 is cut; the gradient is 3 - 2
    net = Chain(convolution([[[[1.0]]], [[[-1.0]]]]), nn.ReLU(), convolution([[[[1.0]], [[2.0]]]]))
    projected, values = project(net, x * 5, "top", [0])  # relu(x) + 2 relu(-x)
    assert values.item() == 5
    assert projected.item() == 5 - 10  # relu(-x) was 0 and passes 10 all the same; the gradient is 5


def test_overlapping_windows_that_round_up_add_what_they_send() -> None:
    x = torch.tensor([[[[0.0, 1.0, 9.0, 2.0]]]]).expand(1, 1, 3, 4).clone()
    x[0, 0, 1:] = 0
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    above = convolution([[[[1.0, 1.0]]]] if False else [[[[1.0]]]])
    two, values = project(Chain(pool, above), x.repeat(2, 1, 1, 1), "top", [0, 1])
    assert values.tolist() == [9.0, 9.0]  # columns 0 to 2, and the window cut off at the border: columns 2 and 3
    assert two[0, 0, 0].tolist() == two[1, 0, 0].tolist() == [0, 0, 9, 0]
    summed = Chain(pool, nn.Conv2d(1, 1, (1, 2), bias=False))
    nn.init.ones_(summed.layers[1].weight)
    projected, values = project(summed, x, "top", [0])
    assert values.item() == 18
    assert projected[0, 0, 0].tolist() == [0, 0, 36, 0]  # 18 from each of the two windows


def test_maxout_sends_to_the_winning_piece_even_what_is_negative() -> None:
    # Two filters of two pieces each: channel p * 2 + f; pieces of filter 0 are 1 and -3, of filter 1 are -2 and -5.
    net = Chain(convolution([[[[1.0]]], [[[-2.0]]], [[[-3.0]]], [[[-5.0]]]]), Maxout(2, 2))
    x = torch.tensor([2.0, 2.0, -1.0])[:, None, None, None]
    projected, values = project(net, x, "top", [0, 1, 0])
    assert values.tolist() == [2.0, -4.0, 3.0]
    assert projected.flatten().tolist() == [2.0 * 1, -4.0 * -2, 3.0 * -3]


def test_a_mean_over_the_map_projects_each_cell_by_itself() -> None:
    x = torch.tensor([[[[4.0, 0.0], [-1.0, 2.0]]]])
    for pool in (nn.AdaptiveAvgPool2d(1), nn.AvgPool2d(2)):
        net = Chain(convolution([[[[3.0]]]]), nn.ReLU(), pool)
        projected, values = project(net, x, "top", [0])
        assert values.item() == 4.5
        assert projected[0, 0].tolist() == [[9.0, 0.0], [0.0, 4.5]]  # 3 * 12 / 4 and 3 * 6 / 4


def written_out(stages: Sequence[Sequence[nn.Module]], x: Tensor, unit: int) -> Tensor:
    """The paper's steps for stages of convolution, ReLU and perhaps a pooling."""
    switches: list[tuple[Tensor, torch.Size] | None] = []
    for stage in stages:
        x = functional.relu(stage[0](x))
        if len(stage) > 2:
            shape = x.shape
            x, indices = functional.max_pool2d(x, 2, 2, return_indices=True)
            switches.append((indices, shape))
        else:
            switches.append(None)
    signal = torch.zeros_like(x).flatten(1)
    signal[0, unit] = x.flatten(1)[0, unit]
    signal = signal.view_as(x)
    for stage, switch in zip(reversed(stages), reversed(switches), strict=True):
        if switch is not None:
            signal = functional.max_unpool2d(signal, switch[0], 2, 2, output_size=switch[1])
        layer = stage[0]
        assert isinstance(layer, nn.Conv2d)
        signal = functional.conv_transpose2d(functional.relu(signal), layer.weight, padding=layer.padding)
    return signal


@pytest.mark.parametrize(("architecture", "depth"), [("cnn1", 1), ("cnn1", 3), ("cnn2", 5)])
def test_the_papers_networks_step_by_step(architecture: str, depth: int) -> None:
    net = PlanktonCnn(architecture, 5, seed=1).eval().requires_grad_(False)
    side = {"cnn1": 28, "cnn2": 40}[architecture]
    x = torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(2))
    tap = f"layer{depth}"
    unit = int(net.forward_taps(x, [tap])[tap].flatten().argmax())
    before = weights_bytes(net)
    projected, values = project(net, x, tap, [unit])
    expected = written_out(list(net.stages)[:depth], x, unit)
    assert values.item() > 0
    torch.testing.assert_close(projected, expected)
    assert weights_bytes(net) == before
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in net.parameters())


def test_cnn3_goes_down_to_its_pixels() -> None:
    net = PlanktonCnn("cnn3", 5, seed=1).eval().requires_grad_(False)
    x = torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    values = net.forward_taps(x, ["layer3"])["layer3"].flatten()
    assert len(values) == 216
    unit = int(values.argmax())
    projected, value = project(net, x, "layer3", [unit])
    assert value.item() == values[unit].item()
    assert projected.shape == x.shape
    assert projected.abs().max() > 0


def test_vgg_step_by_step() -> None:
    net = build_vgg16(seed=0, resize=(32, 32)).module
    layers = list(net.get_submodule("features").children())
    stages: list[list[nn.Module]] = []
    for layer in layers[:10]:  # conv1_1 to pool2
        if isinstance(layer, nn.Conv2d):
            stages.append([layer])
        else:
            stages[-1].append(layer)
    stages[-1] = stages[-1][:2]  # the tap conv2_2 is taken before its pooling
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    unit = int(net.forward_taps(x, ["conv2_2"])["conv2_2"].flatten().argmax())
    projected, _ = project(net, x, "conv2_2", [unit])
    torch.testing.assert_close(projected, written_out(stages, x, unit))


def test_squeezenets_branches_add_up() -> None:
    """Fire modules written out: what comes from above is cut into the two expanding branches, and their sums go on."""
    net = build_squeezenet(seed=0, resize=(48, 48)).module
    x = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(4))
    conv, fire = net.get_submodule("features.0"), net.get_submodule("features.3")
    assert isinstance(conv, nn.Conv2d)
    first = functional.relu(conv(x))
    pooled, switches = functional.max_pool2d(first, 3, 2, ceil_mode=True, return_indices=True)
    top = net.forward_taps(x, ["fire2"])["fire2"]
    unit = int(top.flatten().argmax())
    signal = torch.zeros_like(top).flatten()
    signal[unit] = top.flatten()[unit]
    signal = signal.view_as(top).relu()
    near, wide = fire.expand1x1, fire.expand3x3
    squeezed = functional.conv_transpose2d(signal[:, :64], near.weight)
    squeezed = squeezed + functional.conv_transpose2d(signal[:, 64:], wide.weight, padding=1)
    below = functional.conv_transpose2d(squeezed.relu(), fire.squeeze.weight)
    # max_unpool2d keeps one of two values for one place; here they are added.
    unpooled = torch.zeros_like(first).flatten(2).scatter_add(2, switches.flatten(2), below.flatten(2)).view_as(first)
    size = x.shape[2] - ((first.shape[2] - 1) * 2 + 7)
    expected = functional.conv_transpose2d(unpooled.relu(), conv.weight, stride=2, output_padding=size)
    projected, _ = project(net, x, "fire2", [unit])
    assert pooled.shape == below.shape
    torch.testing.assert_close(projected, expected)


def test_what_it_cannot_explain_is_one_line() -> None:
    net = build_torchvision("efficientnet_b0", resize=(32, 32)).module
    x = torch.zeros(1, 3, 32, 32)
    with pytest.raises(InputError, match="has silu"):
        project(net, x, "features.1", [0])
    small = PlanktonCnn("cnn1", 5).eval()
    with pytest.raises(InputError, match="0 to 63"):
        project(small, torch.zeros(1, 1, 28, 28), "layer3", [64])
    with pytest.raises(InputError, match="each of 2 images"):
        project(small, torch.zeros(2, 1, 28, 28), "layer3", [1])


def test_a_batch_is_its_images() -> None:
    net = PlanktonCnn("cnn1", 5, seed=3).eval()
    x = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(5))
    together, _ = project(net, x, "layer2", [5, 300, 700])
    alone = torch.cat([project(net, x[i : i + 1], "layer2", [unit])[0] for i, unit in enumerate([5, 300, 700])])
    torch.testing.assert_close(together, alone)
