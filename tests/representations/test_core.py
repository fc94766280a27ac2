"""A core: planes lie where they say, samples are the hypercolumns, tiles equal the whole image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from drillcore.backbones.base import Backbone, weights_digest
from drillcore.backbones.networks.squeezenet import build_squeezenet
from drillcore.backbones.networks.torchvision_networks import build_torchvision
from drillcore.backbones.networks.vgg import build_vgg16
from drillcore.errors import InputError, UnknownNameError
from drillcore.representations.core_samples.core import CoreNetwork, blur, rescale
from drillcore.representations.core_samples.core_spec import CoreSpec

TAPS = ("conv1", "fire4", "fire8", "fire9")
ALL = CoreSpec(scales=(1.0, 0.5, 2.0), position=5, context=(1, 3), blur=(48,))


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return build_squeezenet(seed=1, resize=None)


def grey(*shape: int) -> Tensor:
    rng = np.random.default_rng(shape)
    return torch.from_numpy(rng.integers(0, 256, shape).astype(np.float32))


def everywhere(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat(np.arange(height), width), np.tile(np.arange(width), height)


def hypercolumns(core: CoreNetwork, maps: list[Tensor], height: int, width: int) -> Tensor:
    """The image the paper builds: every map at full size, read by torch's own grid_sample, [H * W, D]."""
    columns = []
    for plane, values in zip(core.planes, maps, strict=True):
        places = []
        for side, cells in ((height, values.shape[2]), (width, values.shape[3])):
            stride, origin = plane.grid.at(side)
            cell = ((torch.arange(side) - origin) / stride).clamp(0, cells - 1)
            places.append((2 * cell + 1) / cells - 1)
        grid = torch.stack(torch.meshgrid(places[1], places[0], indexing="xy"), dim=2)[None]
        full = functional.grid_sample(values, grid, mode="bilinear", padding_mode="border", align_corners=False)
        columns.append(full[0].flatten(1).T)
    return torch.cat(columns, dim=1)


@pytest.mark.parametrize("spec", [CoreSpec(), ALL, CoreSpec(scales=(0.25,), image=False, pad=0)])
@pytest.mark.parametrize("size", [(61, 90), (40, 33), (5, 3)])
def test_samples_are_the_hypercolumns(backbone: Backbone, spec: CoreSpec, size: tuple[int, int]) -> None:
    core = CoreNetwork(backbone, TAPS, spec)
    maps = core(grey(1, 3, *size))
    samples = core.sample(maps, size, *everywhere(*size))
    assert samples.shape == (size[0] * size[1], core.width)
    assert samples.dtype == torch.float32
    assert torch.allclose(samples, hypercolumns(core, maps, *size), atol=2e-5)


def test_maps_come_in_the_order_and_width_of_the_planes(backbone: Backbone) -> None:
    core = CoreNetwork(backbone, ("fire8", "conv1"), ALL)
    names = [plane.name for plane in core.planes]
    taps = [prefix + tap for prefix in ("", "half:", "double:") for tap in ("fire8", "conv1")]
    assert names == [*taps, "image", "blur48", "context1", "context3", "position"]
    maps = core(grey(2, 3, 50, 70))
    assert [values.shape[1] for values in maps] == [plane.width for plane in core.planes]
    assert sum(values.shape[1] for values in maps) == core.width
    assert all(values.shape[0] == 2 for values in maps)
    assert [tuple(values.shape[2:]) for values in maps[-4:]] == [(7, 9), (1, 1), (3, 3), (5, 5)]


def test_an_image_of_a_batch_reads_as_alone(backbone: Backbone) -> None:
    core = CoreNetwork(backbone, TAPS, ALL)
    images, pixels = grey(3, 3, 44, 52), everywhere(44, 52)
    together, alone = core(images), core(images[2:])
    assert torch.allclose(
        core.sample(together, (44, 52), *pixels, number=2), core.sample(alone, (44, 52), *pixels), atol=2e-5
    )


def linear(seed_backbone: Backbone) -> Backbone:
    """The same geometry, but positive equal weights and averages for maxima: a cell's gradient is where it looks."""
    backbone = build_squeezenet(seed=0, resize=None)
    features: Any = backbone.module.features
    for index in (2, 6, 11):
        features[index] = nn.AvgPool2d(3, 2, ceil_mode=True)
    for parameter in backbone.module.parameters():
        parameter.fill_(1.0 / max(1, parameter[0].numel()) if parameter.ndim == 4 else 0.0)
    backbone.taps = seed_backbone.taps
    return backbone


@pytest.mark.parametrize("scale", [0.25, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("tap", TAPS)
def test_cells_look_at_where_their_plane_says(backbone: Backbone, tap: str, scale: float) -> None:
    core = CoreNetwork(linear(backbone), (tap,), CoreSpec(scales=(scale,), image=False))
    side = round(450 / min(scale, 1))
    line = torch.full((1, 3, 40, side), 255.0, requires_grad=True)
    # `forward` keeps no gradients: the same steps by hand.
    values = core.module.forward_taps(core.padded(rescale(core.normalise(line), scale)), (tap,))[tap]
    stride, origin = core.planes[0].grid.at(side)
    middle = values.shape[3] // 2
    (gradient,) = torch.autograd.grad(values[0, :, values.shape[2] // 2, middle].sum(), line)
    seen = gradient.abs().sum(dim=(0, 1, 2)).double()
    centre = float((seen * torch.arange(side)).sum() / seen.sum())
    assert centre == pytest.approx(origin + stride * middle, abs=1e-3)
    places = torch.nonzero(seen).flatten()
    assert int(places[-1] - places[0]) + 1 <= 2 * core.halo
    if scale == 1:
        assert int(places[-1] - places[0]) + 1 == backbone.taps[tap].field


@pytest.mark.parametrize("spec", [CoreSpec(), CoreSpec(scales=(1.0, 0.5), blur=(48,)), CoreSpec(scales=(2.0,), pad=0)])
@pytest.mark.parametrize("last", ["fire4", "fire9"])
def test_a_tile_with_its_halo_reads_as_the_whole_image(backbone: Backbone, spec: CoreSpec, last: str) -> None:
    core = CoreNetwork(backbone, ("conv1", last), spec)
    assert core.tileable
    assert core.halo % core.align == 0
    tile = 2 * core.align
    size = (core.halo + tile + core.align + 5, 2 * core.halo + tile + core.align + 5)
    image = grey(1, 3, *size)
    whole = core(image)
    # At the corner; halo on both sides, and the image's end below.
    for top, left in ((0, 0), (core.halo + tile, core.halo + core.align)):
        bottom, right = min(top + tile, size[0]), min(left + tile, size[1])
        y0, x0 = max(0, top - core.halo), max(0, left - core.halo)
        y1, x1 = min(size[0], bottom + core.halo), min(size[1], right + core.halo)
        part = core(image[:, :, y0:y1, x0:x1])
        ys, xs = everywhere(bottom - top, right - left)
        expected = core.sample(whole, size, ys + top, xs + left)
        found = core.sample(part, (y1 - y0, x1 - x0), ys + top - y0, xs + left - x0)
        assert torch.allclose(found, expected, atol=1e-5)


def test_what_depends_on_the_whole_image_cannot_be_tiled(backbone: Backbone) -> None:
    for spec in (CoreSpec(position=4), CoreSpec(context=(2,))):
        core = CoreNetwork(backbone, TAPS, spec)
        assert (core.tileable, core.halo) == (False, 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (2, 7), (35, 1)])
def test_images_smaller_than_any_field_pass(backbone: Backbone, size: tuple[int, int]) -> None:
    core = CoreNetwork(backbone, TAPS, ALL)
    samples = core.sample(core(grey(1, 3, *size)), size, *everywhere(*size))
    assert samples.isfinite().all()


def test_a_constant_image_is_the_same_everywhere(backbone: Backbone) -> None:
    # No zeros leak in from the padding of the image; those of the network's own layers stop before the tap conv1.
    core = CoreNetwork(backbone, ("conv1",), CoreSpec(scales=(1.0, 0.5, 0.25, 2.0), context=(4,)))
    samples = core.sample(core(torch.full((1, 3, 37, 51), 90.0)), (37, 51), *everywhere(37, 51))
    assert torch.allclose(samples, samples[:1].expand_as(samples), atol=1e-5)


@pytest.mark.parametrize("name", ["vgg16", "resnet18", "alexnet"])
def test_other_networks_are_drilled_too(name: str) -> None:
    network = build_vgg16(resize=None) if name == "vgg16" else build_torchvision(name, resize=None)
    taps = [tap for tap, found in network.taps.items() if found.field > 1][2::4][:6]
    core = CoreNetwork(network, taps, CoreSpec(scales=(1.0, 0.5)))
    for size in ((1, 1), (70, 45)):
        samples = core.sample(core(grey(1, 3, *size)), size, *everywhere(*size))
        assert samples.shape == (size[0] * size[1], core.width)
        assert samples.isfinite().all()


def test_one_channel_is_repeated(backbone: Backbone) -> None:
    one, three = CoreNetwork(backbone, TAPS, channels=1), CoreNetwork(backbone, TAPS)
    image, pixels = grey(1, 1, 40, 50), everywhere(40, 50)
    found = one.sample(one(image), (40, 50), *pixels)
    expected = three.sample(three(image.expand(-1, 3, -1, -1)), (40, 50), *pixels)
    assert (one.channels, three.channels, one.width) == (1, 3, three.width - 2)
    assert torch.allclose(found, expected[:, : one.width], atol=1e-5)


def test_the_image_plane_is_normalised_as_the_backbone_was_trained(backbone: Backbone) -> None:
    core = CoreNetwork(backbone, ("conv1",))
    image = grey(1, 3, 9, 9)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    samples = core.sample(core(image), (9, 9), [4], [7])
    assert torch.allclose(samples[0, -3:], (image[0, :, 4, 7] / 255 - mean) / std, atol=1e-5)


def test_blur_is_a_mean_with_the_border_repeated() -> None:
    values = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert torch.allclose(blur(values, 3)[0, 0, 0], torch.tensor([4 / 3, 2, 8 / 3]))
    assert blur(values, 1) is values


def test_the_backbone_stays_as_it_was(backbone: Backbone) -> None:
    before = weights_digest(backbone.module)
    CoreNetwork(backbone, TAPS, ALL)(grey(1, 3, 40, 40))
    assert weights_digest(backbone.module) == before == backbone.weights_sha256
    assert not any(parameter.requires_grad for parameter in backbone.module.parameters())


def test_spec_round_trip() -> None:
    assert CoreSpec.from_dict(ALL.to_dict()) == ALL
    assert CoreSpec.from_dict({"scales": [1, 2], "context": [2]}) == CoreSpec(scales=(1.0, 2.0), context=(2,))
    assert CoreSpec.from_dict({}) == CoreSpec()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"scale": 1}, "allowed: blur"),
        ({"scales": [3]}, "0.25, 0.5, 1, 2"),
        ({"scales": []}, "one or more"),
        ({"scales": [1, 1.0]}, "once"),
        ({"scales": 1}, "list"),
        ({"context": [0]}, "1 to 1024"),
        ({"context": [2.5]}, "list of numbers"),
        ({"position": 1}, "2 to 1024"),
        ({"position": True}, "whole number"),
        ({"image": 1}, "true or false"),
        ({"pad": -1}, "0 to 1024"),
    ],
)
def test_wrong_specs_say_what_is_allowed(params: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CoreSpec.from_dict(params)


def test_wrong_input_is_named(backbone: Backbone) -> None:
    with pytest.raises(UnknownNameError, match="fire8"):
        CoreNetwork(backbone, ("fire88",))
    with pytest.raises(InputError, match="1 or 3"):
        CoreNetwork(backbone, TAPS, channels=2)
    core = CoreNetwork(backbone, ("conv1",))
    with pytest.raises(InputError, match=r"\[N, 3, H, W\]"):
        core(grey(1, 1, 9, 9))
    maps = core(grey(1, 3, 9, 9))
    for ys, xs in (([9], [0]), ([0], [-1]), ([0.5], [0])):
        with pytest.raises(InputError, match=r"pixels|whole numbers"):
            core.sample(maps, (9, 9), ys, xs)
