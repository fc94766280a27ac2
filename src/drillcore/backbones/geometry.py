"""Which input pixels a cell of a map stands for: stride, centre of the first cell and receptive field, layer by layer.

A convolution or pooling of kernel k, dilation d, stride s and padding p sees e = d (k - 1) + 1 cells of the map below.
With t, o and f the stride, the first centre and the field of that map, all in pixels of the network's input, it has

    stride t s,    first centre o + ((e - 1) / 2 - p) t,    field f + (e - 1) t

(pixel 0 is the first pixel's centre). A layer that pads as TensorFlow does (SAME) has a p before the first cell that
depends on what the side leaves when divided by s; here p = max(e - s, 0) // 2, which holds where nothing is left: who
asks where cells lie brings images to sides that all strides divide (`same_padding`). `ceil_mode` adds a cell at the far
end and moves none. What treats each cell by itself leaves all three as they are; where branches meet, their cells have
to lie at the same places.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

# The field of a cell that depends on the whole image, however large: behind a squeeze-and-excitation, for instance.
WHOLE_IMAGE = 2**30

Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the cells of a map lie; numbers are (vertical, horizontal), in pixels of the network's input.

    Attributes:
        stride: from one cell's centre to the next; (0, 0) where there is one cell for the whole image.
        origin: pixel index of the first cell's centre.
        field: side of the rectangle of pixels a cell depends on, at most `WHOLE_IMAGE`.
        channels_last: the axes are [N, h, w, C], not [N, C, h, w].
    """

    stride: Pair = (1.0, 1.0)
    origin: Pair = (0.0, 0.0)
    field: Pair = (1.0, 1.0)
    channels_last: bool = False

    @property
    def square(self) -> bool:
        """Whether it is a map [N, C, h, w] whose cells lie alike along both axes."""
        alike = self.stride[0] == self.stride[1] and self.origin[0] == self.origin[1]
        return alike and self.stride[0] > 0 and not self.channels_last

    def window(self, kernel: Any, stride: Any, padding: Any, dilation: Any = 1) -> Geometry:
        """Return the geometry after a convolution or pooling; arguments as torch's, a number or a pair."""
        k, s, p, d = (_pair(value) for value in (kernel, stride, padding, dilation))
        reach = [d[axis] * (k[axis] - 1) for axis in (0, 1)]
        return replace(
            self,
            stride=_each(lambda axis: self.stride[axis] * s[axis]),
            origin=_each(lambda axis: self.origin[axis] + (reach[axis] / 2 - p[axis]) * self.stride[axis]),
            field=_each(lambda axis: min(self.field[axis] + reach[axis] * self.stride[axis], WHOLE_IMAGE)),
        )


def same_padding(network: nn.Module) -> bool:
    """Whether a layer of the network pads as TensorFlow does."""
    return any(_is_same(layer) for layer in network.modules())


ONE_CELL = Geometry((0.0, 0.0), (0.0, 0.0), (WHOLE_IMAGE, WHOLE_IMAGE))


def trace_geometry(graph: fx.Graph, network: nn.Module) -> dict[fx.Node, Geometry]:
    """Return the geometry of every node of a traced network that has one.

    Nodes are left out that are no maps (after flattening, for instance), or maps made by an operation that is not known
    here: nothing is guessed.

    Args:
        graph: of a network with one image input, as torch.fx traces it.
        network: whose submodules the graph calls.
    """
    found: dict[fx.Node, Geometry] = {}
    nowhere: set[fx.Node] = set()  # a parameter lies nowhere, and what is made of parameters alone
    for node in graph.nodes:
        if node.op == "get_attr" or (node.all_input_nodes and set(node.all_input_nodes) <= nowhere):
            nowhere.add(node)
            continue
        below = [item for item in node.all_input_nodes if item not in nowhere]
        geometry = Geometry() if node.op == "placeholder" else _after(node, below, network, found)
        if geometry is not None:
            found[node] = geometry
    return found


def _after(node: fx.Node, below: list[fx.Node], network: nn.Module, found: dict[fx.Node, Geometry]) -> Geometry | None:
    if not below or any(item not in found for item in below):
        return None
    inputs = [found[item] for item in below]
    if node.op == "call_module":
        return _after_layer(network.get_submodule(str(node.target)), inputs[0])
    if node.op == "call_function":
        return _after_function(node, inputs)
    if node.op == "call_method" and node.target == "permute":
        return _permuted(inputs[0], node.args[1] if isinstance(node.args[1], (tuple, list)) else node.args[1:])
    if node.op == "call_method" and node.target == "mean":
        return _averaged(node, inputs[0])
    if node.op == "call_method" and node.target in ("add", "add_", "mul", "mul_"):
        return _meet(inputs)
    if node.op == "call_method" and node.target in ("chunk", "split"):
        return _parted(node, inputs[0])
    return inputs[0] if node.op == "call_method" and node.target in _EACH_VALUE_METHODS else None


def _after_layer(layer: nn.Module, below: Geometry) -> Geometry | None:
    if isinstance(layer, _EACH_VALUE):
        return below
    if isinstance(layer, nn.Linear) and hasattr(layer, "kernel_size"):  # `networks.convolved`
        return None if below.channels_last else _windowed(below, layer.kernel_size, 1, 0)
    if isinstance(layer, nn.Linear | nn.LayerNorm):  # acts on the last axis
        return below if below.channels_last else None
    if below.channels_last:
        return None
    if isinstance(layer, nn.BatchNorm2d) or type(layer).__name__ == "FrozenBatchNormAct2d":
        return below
    if isinstance(layer, nn.GroupNorm):  # its means are of the whole image
        return replace(below, field=(WHOLE_IMAGE, WHOLE_IMAGE))
    if _is_same(layer):
        return _same_windowed(below, layer)
    if isinstance(layer, nn.Conv2d) and not isinstance(layer.padding, str):
        return _windowed(below, layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    if isinstance(layer, nn.MaxPool2d):
        return _windowed(below, layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    if isinstance(layer, nn.AvgPool2d):
        return _windowed(below, layer.kernel_size, layer.stride, layer.padding)
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        return ONE_CELL if _pair(layer.output_size) == (1, 1) else None
    return None


def _after_function(node: fx.Node, inputs: list[Geometry]) -> Geometry | None:
    called, below = node.target, inputs[0]
    if called in _MEETING:
        return _meet(inputs)
    if called in _EACH_VALUE_FUNCTIONS or getattr(called, "__name__", "") == "stochastic_depth":
        return below
    if called in (torch.chunk, torch.split):
        return _parted(node, below)
    if called is operator.getitem:  # one of several parts
        parts, number = node.args
        parted = isinstance(parts, fx.Node) and str(getattr(parts.target, "__name__", parts.target)) in _PARTING
        return below if parted and isinstance(number, int) else None
    if called is torch.permute:
        return _permuted(below, _argument(node, 1, "dims", ()))
    if called is functional.layer_norm:
        return below if below.channels_last else None
    if below.channels_last:
        return None
    if called in (functional.max_pool2d, functional.avg_pool2d):
        kernel = _argument(node, 1, "kernel_size", 1)
        stride = _argument(node, 2, "stride", None)
        dilation = _argument(node, 4, "dilation", 1) if called is functional.max_pool2d else 1
        return _windowed(below, kernel, stride or kernel, _argument(node, 3, "padding", 0), dilation)
    if called is functional.adaptive_avg_pool2d:
        return ONE_CELL if _pair(_argument(node, 1, "output_size", None)) == (1, 1) else None
    return None


def _is_same(layer: nn.Module) -> bool:
    """Whether a layer is one of timm's that pad as TensorFlow does: known by their names, for timm stays unimported."""
    return isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) and type(layer).__name__.endswith("Same")


def _same_windowed(below: Geometry, layer: nn.Module) -> Geometry | None:
    kernel, stride, dilation = (_pair(getattr(layer, name, 1)) for name in ("kernel_size", "stride", "dilation"))
    pads = [max(d * (k - 1) + 1 - s, 0) // 2 for k, s, d in zip(kernel, stride, dilation, strict=True)]
    return _windowed(below, kernel, stride, pads, dilation)


def _parted(node: fx.Node, below: Geometry) -> Geometry | None:
    """Return the geometry of a map's channels in several parts; None where it is parted along another axis."""
    axis = _argument(node, 2, "dim", 0)
    return below if axis == 1 and not below.channels_last else None


def _windowed(
    below: Geometry, kernel: object, stride: object, padding: object, dilation: object = 1
) -> Geometry | None:
    if below == ONE_CELL:
        return below if _pair(kernel) == (1, 1) and _pair(padding) == (0, 0) else None
    return below.window(kernel, stride, padding, dilation)


def _meet(inputs: Iterable[Geometry]) -> Geometry | None:
    """Return the geometry of maps added, multiplied or put side by side; None where their cells lie apart."""
    inputs = list(inputs)
    maps = [item for item in inputs if item.stride[0] > 0]
    if not maps:
        return ONE_CELL
    first = maps[0]
    if any((m.stride, m.origin, m.channels_last) != (first.stride, first.origin, first.channels_last) for m in maps):
        return None
    return replace(first, field=_each(lambda axis: max(item.field[axis] for item in inputs)))


def _permuted(below: Geometry, axes: Any) -> Geometry | None:
    order = [int(axis) % 4 for axis in axes]
    if below.stride[0] > 0 and order == ([0, 3, 1, 2] if below.channels_last else [0, 2, 3, 1]):
        return replace(below, channels_last=not below.channels_last)
    return None


def _averaged(node: fx.Node, below: Geometry) -> Geometry | None:
    axes = _argument(node, 1, "dim", ())
    kept = bool(_argument(node, 2, "keepdim", False))
    whole = isinstance(axes, (list, tuple)) and sorted(int(axis) % 4 for axis in axes) == [2, 3]
    return ONE_CELL if whole and kept and not below.channels_last else None


def _argument(node: fx.Node, place: int, name: str, default: Any) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


def _pair(value: Any) -> tuple[float, float]:
    if isinstance(value, (tuple, list)):
        first, second = (value[0], value[-1])
        return (math.nan if first is None else first, math.nan if second is None else second)
    return (math.nan, math.nan) if value is None else (value, value)


def _each(compute: Callable[[int], float]) -> Pair:
    return (compute(0), compute(1))


_MEETING = (
    operator.add,
    operator.iadd,
    operator.sub,
    operator.mul,
    operator.imul,
    operator.truediv,
    torch.add,
    torch.sub,
    torch.mul,
    torch.cat,
)
_PARTING = ("chunk", "split")
_EACH_VALUE_METHODS = ("contiguous", "clone", "sigmoid", "relu", "relu_", "tanh", "clamp")
_EACH_VALUE_FUNCTIONS = (
    functional.relu,
    functional.relu6,
    functional.silu,
    functional.gelu,
    functional.sigmoid,
    functional.hardswish,
    functional.hardsigmoid,
    functional.dropout,
    functional.leaky_relu,
    functional.elu,
    functional.mish,
    torch.relu,
    torch.tanh,
    torch.sigmoid,
)
_EACH_VALUE = (
    nn.ReLU,
    nn.ReLU6,
    nn.SiLU,
    nn.GELU,
    nn.Sigmoid,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.LeakyReLU,
    nn.ELU,
    nn.PReLU,
    nn.Mish,
    nn.Tanh,
    nn.Softplus,
    nn.Dropout,
    nn.Dropout2d,
    nn.Identity,
)
