"""Any of torchvision's classification networks, tapped at any node by the name torchvision gives it.

torch.fx traces the network once; its nodes are named as `torchvision.models.feature_extraction.get_graph_node_names`
names them ("layer2.0.relu"), and a module's name stands for the last node in it ("layer2"). Widths, strides and places
come from the trace (`geometry`), not from a table that could be wrong.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, fx, nn

from drillcore.backbones.base import Backbone, Tap, TappedModule
from drillcore.backbones.geometry import Geometry, trace_geometry
from drillcore.backbones.preprocessing import from_mean_std
from drillcore.errors import InputError, first_line

Size = Sequence[int] | None
DEFAULT_SIZE = (224, 224)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Trained elsewhere, with another rule; torchvision's own classes turn ImageNet's rule into it inside the network.
_OTHER_MEAN_STD = {"googlenet": ((0.5,) * 3, (0.5,) * 3), "inception_v3": ((0.5,) * 3, (0.5,) * 3)}
_BUILD_ARGUMENTS: dict[str, dict[str, object]] = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
}
# Layers whose result is a tensor of its own.
_MAKING = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d)
_OUT_OF_PLACE: dict[object, object] = {operator.iadd: operator.add, operator.imul: operator.mul}


class TracedNetwork(TappedModule):
    """A network run node by node, as far as the highest tap asked for.

    Args:
        network: in evaluation mode, of one input [N, 3, h, w]; its submodules become this module's, under their names.
        names: the taps and the node or module each one stands for; None: every node and module under its own name.
        any_size: leave out what does not work at every size: taps that are no maps, and the layers above the last map.
        leaves: what is not looked into.
        top: one more tap, the network's result; "": none.

    Attributes:
        nodes: by tap the node it is, lowest first.
        geometry: by tap where its cells lie; taps that are no maps are missing.

    Raises:
        InputError: a network that cannot be traced.
    """

    nodes: dict[str, fx.Node]
    geometry: dict[str, Geometry]

    def __init__(
        self,
        network: nn.Module,
        names: Mapping[str, str] | None = None,
        *,
        any_size: bool = False,
        leaves: Leaves | None = None,
        top: str = "",
    ) -> None:
        super().__init__()
        network = network.eval()
        by_path, graph = _trace(network, leaves or Leaves())
        final = graph.output_node().args[0]
        if top and isinstance(final, fx.Node):
            by_path[top] = final
        geometry = {node: found for node, found in trace_geometry(graph, network).items() if found.square}
        wanted = by_path if names is None else {tap: by_path[path] for tap, path in names.items()}
        if any_size:
            wanted = {tap: node for tap, node in wanted.items() if node in geometry}
        # Plain containers: fx nodes are no parameters, and a module has to be copied and moved without them.
        self.nodes = wanted
        self.geometry = {tap: geometry[node] for tap, node in wanted.items() if node in geometry}
        self._plans: dict[tuple[str, ...], list[_Step]] = {}
        if not wanted:
            raise InputError(f"{type(network).__name__} has no map of images of every size")
        needed = _below(graph, wanted.values())
        self._overwriting = _overwriting(graph, network)
        self._top = [node for node in graph.nodes if node in needed][-1]
        _adopt(self, network, needed)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation of the highest node there is; logits where the whole network is kept."""
        return self._run(x, ("",))[""]

    def forward_taps(self, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the activations of `nodes`; see `TappedModule`."""
        return self._run(x, tuple(names))

    def _run(self, x: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]:
        if names not in self._plans:
            tops = [self._top if name == "" else self.nodes[name] for name in names]
            self._plans[names] = _plan(tops, self._overwriting)
        values: dict[fx.Node, Any] = {}
        for step in self._plans[names]:
            values[step.node] = self._value(step, values, x)
            for node in step.done:
                del values[node]
        return {name: values[self._top if name == "" else self.nodes[name]] for name in names}

    def _value(self, step: _Step, values: dict[fx.Node, Any], x: Tensor) -> Any:
        node = step.node
        if node.op == "placeholder":
            return x
        if node.op == "get_attr":
            return operator.attrgetter(str(node.target))(self)
        arguments: Any = fx.map_arg((node.args, node.kwargs), values.__getitem__)
        args, kwargs = arguments
        if step.copy:
            args = (args[0].clone(), *args[1:])
        if node.op == "call_module":
            return self.get_submodule(str(node.target))(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        return node.target(*args, **kwargs)  # type: ignore[operator]


@dataclass(frozen=True, slots=True)
class Leaves:
    """Kinds of modules and functions that are nodes of their own, whatever happens in them."""

    modules: tuple[type[nn.Module], ...] = ()
    functions: tuple[Callable[..., object], ...] = ()


@dataclass(slots=True)
class _Step:
    """One node's turn.

    Attributes:
        node: what is computed.
        done: values nobody reads after it.
        copy: the layer overwrites what it reads, and somebody else wants that.
    """

    node: fx.Node
    done: list[fx.Node]
    copy: bool = False


def torchvision_models() -> ModuleType:
    """Return `torchvision.models`, which takes a second to import: only who asks for its networks waits for it."""
    import torchvision.models.feature_extraction

    found: ModuleType = torchvision.models
    return found


def torchvision_names() -> list[str]:
    """Return the names of torchvision's classification networks."""
    models = torchvision_models()
    return list(models.list_models(module=models))


def mean_std(name: str) -> tuple[Sequence[float], Sequence[float]]:
    """Return what is subtracted from grey levels of 0 to 1, and what they are divided by, as a network was trained."""
    return _OTHER_MEAN_STD.get(name, (IMAGENET_MEAN, IMAGENET_STD))


def build_torchvision(name: str, *, seed: int = 0, resize: Size = DEFAULT_SIZE) -> Backbone:
    """Return one of torchvision's networks with random weights.

    Args:
        name: one of `torchvision_names`.
        seed: of the weights.
        resize: height and width of the input; None: any, and only taps that are maps are there.

    Raises:
        InputError: a network that cannot be traced, or does not take that size.
    """
    module = TracedNetwork(
        seeded(lambda: torchvision_models().get_model(name, weights=None, **_BUILD_ARGUMENTS.get(name, {})), seed),
        any_size=resize is None,
    )
    return traced_backbone(f"torchvision:{name}", module, mean_std(name), resize)


def seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Return what `build` makes with torch's generator seeded; the generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def traced_backbone(
    name: str, module: TracedNetwork, constants: tuple[Sequence[float], Sequence[float]], resize: Size
) -> Backbone:
    """Return a traced network as a backbone.

    Args:
        name: of the backbone.
        module: its network.
        constants: mean and standard deviation, of grey levels from 0 to 1.
        resize: height and width of the input; None: any.

    Raises:
        InputError: the network does not take that size.
    """
    preprocessing = from_mean_std(*constants, resize)
    taps = {}
    for tap, shape in shapes_of(module, name, len(constants[0]), resize or DEFAULT_SIZE).items():
        flat = 0 if resize is None else int(torch.Size(shape[1:]).numel())
        taps[tap] = tap_of(shape, flat, module.geometry.get(tap))
    return Backbone(name, module, taps, preprocessing)


def tap_of(shape: torch.Size, flat: int, place: Geometry | None) -> Tap:
    """Return the tap of an activation of that shape, whose cells lie at `place`; None: it is no map."""
    width = int(shape[1] if len(shape) in (2, 4) else shape[-1])
    if place is None:
        return Tap(width=width, stride=0, flat=flat)
    return Tap(
        width=width, stride=int(place.stride[0]), flat=flat, origin=float(place.origin[0]), field=int(max(place.field))
    )


def shapes_of(module: TracedNetwork, name: str, channels: int, size: Sequence[int]) -> dict[str, torch.Size]:
    """Return the shape of every tap that is one tensor; on torch's meta device, where nothing is computed.

    Raises:
        InputError: the network, called `name`, does not take images of that size.
    """
    try:
        return _shapes(module, channels, size)
    except (RuntimeError, AssertionError) as error:
        reason = first_line(error)
        raise InputError(f"{name} does not take images of {list(size)}: {reason}") from None


def _shapes(module: TracedNetwork, channels: int, size: Sequence[int]) -> dict[str, torch.Size]:

    class _All(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = module

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return self.network.forward_taps(x, list(module.nodes))

    network = _All()
    state = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    bare = {name: tensor.to("meta") for name, tensor in state.items()}
    with torch.no_grad():
        found = torch.func.functional_call(network, bare, torch.empty(1, channels, *size, device="meta"))
    return {name: value.shape for name, value in found.items() if isinstance(value, Tensor)}


def _trace(network: nn.Module, leaves: Leaves) -> tuple[dict[str, fx.Node], fx.Graph]:
    """Return the nodes by path, lowest first, and the graph; of its functions none works in place."""
    tracer = torchvision_models().feature_extraction.NodePathTracer(
        leaf_modules=list(leaves.modules), autowrap_functions=leaves.functions
    )
    try:
        # Of several arguments the image is the first; the others stay what they are by default.
        given = list(inspect.signature(network.forward).parameters.values())[1:]
        fixed = {item.name: item.default for item in given if item.default is not item.empty}
        graph = tracer.trace(network, concrete_args=fixed or None)
    except Exception as error:  # noqa: BLE001 - a network's own code runs here, on stand-ins for tensors
        raise InputError(f"{type(network).__name__} cannot be traced: {error}") from None
    places: dict[str, fx.Node] = {}
    image = _above(graph)
    for node in graph.nodes:
        if node.op == "call_function":
            node.target = _OUT_OF_PLACE.get(node.target, node.target)
            if node.kwargs.get("inplace"):
                node.kwargs = {**node.kwargs, "inplace": False}
        if node in image and node.op in ("call_module", "call_function", "call_method"):
            path = tracer.node_to_qualname[node]
            places[path] = node
            for end in range(path.count("."), 0, -1):
                places[".".join(path.split(".")[:end])] = node
    order = {node: number for number, node in enumerate(graph.nodes)}
    return dict(sorted(places.items(), key=lambda item: order[item[1]])), graph


def _above(graph: fx.Graph) -> set[fx.Node]:
    """Return the nodes that depend on the image, the first input."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if (node.op == "placeholder" and not found) or any(item in found for item in node.all_input_nodes):
            found.add(node)
    return found


def _below(graph: fx.Graph, tops: Any) -> set[fx.Node]:
    """Return the nodes that some of `tops` depend on, these included."""
    needed = set(tops)
    for node in reversed(graph.nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    return needed


def _overwriting(graph: fx.Graph, network: nn.Module) -> dict[fx.Node, bool]:
    """Return the nodes whose layer works in place, and whether what they read is a layer's own new tensor.

    Dropout, for one, hands on in evaluation mode the tensor it got: to overwrite that would overwrite a tap below it.
    """
    found = {}
    for node in graph.nodes:
        if node.op == "call_module" and getattr(network.get_submodule(str(node.target)), "inplace", False):
            below = node.args[0]
            made = isinstance(below, fx.Node) and below.op == "call_module"
            found[node] = made and isinstance(network.get_submodule(str(below.target)), _MAKING)
    return found


def _plan(tops: Sequence[fx.Node], overwriting: Mapping[fx.Node, bool]) -> list[_Step]:
    """Return the steps to `tops` in order: values dropped after their last use, taps kept from being overwritten."""
    needed = _below(tops[0].graph, tops)
    steps = [_Step(node, []) for node in tops[0].graph.nodes if node in needed]
    seen = set(tops)
    for step in reversed(steps):
        for node in step.node.all_input_nodes:
            if node not in seen:
                seen.add(node)
                step.done.append(node)
        if step.node in overwriting:
            alone = step.done == step.node.all_input_nodes  # nobody reads it later, and it is no tap
            step.copy = not (alone and overwriting[step.node])
    return steps


def _adopt(module: nn.Module, network: nn.Module, needed: set[fx.Node]) -> None:
    """Give `module` the layers and parameters of `network` that some needed node reads, under their names."""
    kept = {str(node.target) for node in needed if node.op in ("call_module", "get_attr")}
    _prune(network, "", kept)
    for name, child in network.named_children():
        module.add_module(name, child)
    for name, parameter in network.named_parameters(recurse=False):
        if name in kept:
            module.register_parameter(name, parameter)
    for name, buffer in network.named_buffers(recurse=False):
        if name in kept:
            module.register_buffer(name, buffer)
    for name in kept - {name for name, _ in network.named_parameters()} - {name for name, _ in network.named_buffers()}:
        value = getattr(network, name, None)
        if isinstance(value, Tensor):  # made while tracing: no weight
            module.register_buffer(name, value, persistent=False)


def _prune(holder: nn.Module, prefix: str, kept: set[str]) -> None:
    for name, child in list(holder.named_children()):
        path = f"{prefix}{name}"
        if path in kept:
            continue
        if any(other.startswith(f"{path}.") for other in kept):
            _prune(child, f"{path}.", kept)
        else:
            delattr(holder, name)
