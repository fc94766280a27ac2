"""Any of timm's networks by name, "timm:tf_efficientnet_lite0", tapped by its feature table or at any node.

The network is traced as torchvision's are (`torchvision_networks`), without its classifier. Its taps are the nodes, a
module's name standing for the last node in it, and `pooled`: what the classifier would read, one row per image.

What a tap is depends on what its node holds. Maps with channels last (Swin) are turned to [N, C, h, w]. Of a vision
transformer the patch tokens are a map, [N, C, h, w] as they lie on the image, and the class token is a row, the tap
`<node>.class`; a network that holds tokens takes images of one size only.

Mean, deviation and input size come from timm's own table of each network. Its interpolation and crop are not followed:
images are brought to the input's size by the one antialiased bilinear resize there is, whole, where timm judges its
networks on the middle of an image that bicubic interpolation made a little larger. What lies at the edge is seen, and
the aspect ratio lost.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor, nn

from drillcore.backbones.base import Backbone, Tap
from drillcore.backbones.geometry import WHOLE_IMAGE, same_padding
from drillcore.backbones.networks.torchvision_networks import (
    Leaves,
    Size,
    TracedNetwork,
    seeded,
    shapes_of,
    tap_of,
)
from drillcore.backbones.preprocessing import from_mean_std
from drillcore.errors import InputError, UnknownNameError, first_line
from drillcore.json_types import Json

PREFIX = "timm:"
POOLED = "pooled"
CLASS = ".class"
MAPS = 5  # taps of a core by default: as many as paper 000 drills


@dataclass(frozen=True, slots=True)
class Constants:
    """What timm's table says of a network's input.

    Attributes:
        mean: subtracted from grey levels of 0 to 1, per channel.
        std: what they are divided by.
        size: height and width.
        only: whether the network takes no other size, unless it is built for it.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int]
    only: bool


class TimmNetwork(TracedNetwork):
    """A traced network of timm whose taps are maps or rows, whatever its nodes hold; arguments as `TracedNetwork`.

    Attributes:
        forms: by tap what is done with its node: "" nothing, "turn" channels come first, "map" patch tokens become a
            map, "class" the class token.
        grid: rows and columns of patches; (0, 0) where there are no tokens.
        prefix: tokens before those of the patches.
    """

    def __init__(
        self, network: nn.Module, *, any_size: bool = False, grid: tuple[int, int] = (0, 0), prefix: int = 0
    ) -> None:
        super().__init__(network, any_size=any_size, leaves=timm_leaves(), top=POOLED)
        self.forms: dict[str, str] = {}
        self.grid, self.prefix = grid, prefix

    def shape(self, shapes: Mapping[str, torch.Size], *, last: bool) -> None:
        """Decide what each tap is.

        Args:
            shapes: of the nodes, by tap.
            last: whether the network keeps its channels in the last axis.
        """
        tokens = self.grid[0] * self.grid[1] + self.prefix
        for tap in list(self.nodes):
            found = shapes.get(tap)
            if found is None:  # several tensors, or none
                del self.nodes[tap]
            elif len(found) == 3 and found[1] == tokens > self.prefix:
                self.forms[tap] = "map"
                if self.prefix:
                    self.nodes[tap + CLASS], self.forms[tap + CLASS] = self.nodes[tap], "class"
            elif last and len(found) == 4 and not (tap in self.geometry and self.geometry[tap].square):
                self.forms[tap] = "turn"

    def forward_taps(self, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the activations of `nodes` as their forms say; see `TappedModule`."""
        return {name: self._formed(name, value) for name, value in super().forward_taps(x, names).items()}

    def _formed(self, name: str, value: Tensor) -> Tensor:
        form = self.forms.get(name, "")
        if form == "turn":
            return value.permute(0, 3, 1, 2)
        if form == "class":
            return value[:, 0]
        if form == "map":
            cells = value[:, self.prefix :].permute(0, 2, 1)
            return cells.reshape(value.shape[0], value.shape[2], *self.grid)
        return value


def _timm() -> ModuleType:
    """Return timm, which takes seconds to import and registers all its networks: not for those who take others."""
    import timm

    found: ModuleType = timm
    return found


@functools.cache
def timm_leaves() -> Leaves:
    """Return what timm itself does not look into when it traces its networks."""
    traced = _timm().layers._fx
    return Leaves(tuple(traced.get_notrace_modules()), tuple(traced.get_notrace_functions()))


@functools.cache
def timm_names() -> frozenset[str]:
    """Return the names of timm's networks, without those of their weights."""
    return frozenset(_timm().list_models())


def check_timm(name: str) -> str:
    """Return timm's name of a network, "timm:" taken off.

    Raises:
        UnknownNameError: timm has none of that name.
    """
    network = name.removeprefix(PREFIX)
    if network.partition(".")[0] not in timm_names():
        raise UnknownNameError("network of timm", network, sorted(timm_names()))
    return network


def constants_of(network: str) -> Constants:
    """Return what timm's table says of a network's input; raises UnknownNameError for a tag it does not know."""
    known = _timm().get_pretrained_cfg
    found = known(network, allow_unregistered=False) if "." in network else None
    found = found or known(network.partition(".")[0])
    if found is None:
        raise UnknownNameError("network of timm", network, sorted(timm_names()))
    size = (int(found.input_size[1]), int(found.input_size[2]))
    return Constants(tuple(found.mean), tuple(found.std), size, bool(found.fixed_input_size))


def hub_weights(name: str) -> str:
    """Return the weights timm's table names for a network, as a recipe writes them; "seed:0" where it names none."""
    found = _timm().get_pretrained_cfg(check_timm(name))
    hub = getattr(found, "hf_hub_id", None)
    return f"hub:{hub}@main" if hub else "seed:0"


def build_timm(name: str, *, seed: int = 0, resize: Size | None = None, any_size: bool = False) -> Backbone:
    """Return one of timm's networks with random weights, its classifier left out.

    Args:
        name: of timm's, "tf_efficientnet_lite0", with or without the tag of its weights.
        seed: of the weights.
        resize: height and width of the input; None: those of timm's table.
        any_size: images come as they are; only taps that are maps are there.

    Raises:
        UnknownNameError: timm has none of that name.
        InputError: a network that cannot be traced, does not take that size, or takes no image as it is.
    """
    network = check_timm(name)
    constants = constants_of(network)
    size = constants.size if resize is None else (int(resize[0]), int(resize[1]))
    if any_size and constants.only:
        # Attention between all patches of an image: the checks on model files refuse what outgrows the image.
        raise InputError(
            f"{PREFIX}{network} takes images of one size only, so it has no map of images as they are: its attention "
            "grows with the square of the pixels, and tiles do not see what the whole image shows; for pixels take a "
            "convolutional network, such as timm:tf_efficientnet_lite0 or timm:convnext_atto"
        )
    made = seeded(lambda: _create(network, size, constants), seed)
    grid, prefix = _tokens(made)
    last = getattr(made, "output_fmt", "NCHW") == "NHWC"
    table = [str(row["module"]) for row in getattr(made, "feature_info", [])]
    module = TimmNetwork(made, any_size=any_size, grid=grid, prefix=prefix)
    shapes = shapes_of(module, f"{PREFIX}{network}", 3, size)
    module.shape(shapes, last=last)
    taps = _taps(module, shapes_of(module, f"{PREFIX}{network}", 3, size), size, any_size)
    rule = from_mean_std(constants.mean, constants.std, None if any_size else size)
    backbone = Backbone(f"{PREFIX}{network}", module, taps, rule)
    if same_padding(module):
        backbone.multiple = max((tap.stride for tap in taps.values()), default=1)
    backbone.row_taps = (POOLED,) if POOLED in taps else ()
    backbone.map_taps = tuple(_spread([name for name in table if name in taps and taps[name].stride > 0]))
    return backbone


def build_colour_timm(network: str) -> nn.Module:
    """Return timm's network of a name, without its classifier and with random weights; raises InputError."""
    constants = constants_of(network)
    return _create(network, constants.size, constants)


def fit_timm(backbone: Backbone, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a file as this network names and shapes them, where timm knows an older form of them.

    Position embeddings of another size are resampled, names of the authors' own files turned into timm's.
    """
    network = backbone.name.removeprefix(PREFIX)
    entry = _timm().model_entrypoint(network.partition(".")[0])
    change = getattr(sys.modules[entry.__module__], "checkpoint_filter_fn", None)
    if change is None or _fits(backbone.module, tensors):
        return tensors
    size = backbone.resize or constants_of(network).size
    try:
        changed = change(dict(tensors), _create(network, size, constants_of(network)))
    except (RuntimeError, KeyError, AttributeError, AssertionError, TypeError):
        return tensors  # the tensors that do not fit are named by whoever takes them
    return changed if isinstance(changed, dict) else tensors


def state_names(network: str) -> list[str]:
    """Return the names of a whole network's tensors in their order, its classifier's last, counters left out."""
    with torch.device("meta"):
        made = _timm().create_model(network, pretrained=False)
    return [name for name in made.state_dict() if not name.endswith(".num_batches_tracked")]


def _fits(module: nn.Module, tensors: Mapping[str, Tensor]) -> bool:
    wanted = module.state_dict()
    return all(name in tensors and tensors[name].shape == value.shape for name, value in wanted.items())


def _create(network: str, size: tuple[int, int], constants: Constants) -> nn.Module:
    more: Json = {"img_size": size} if constants.only and size != constants.size else {}
    try:
        made: nn.Module = _timm().create_model(network, pretrained=False, num_classes=0, **more)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        reason = first_line(error)
        own = f"{constants.size[0]} x {constants.size[1]}"
        raise InputError(f"{PREFIX}{network} cannot be built for {list(size)}: {reason}; its own is {own}") from None
    return made


def _tokens(network: nn.Module) -> tuple[tuple[int, int], int]:
    """Return the grid of a transformer's patches and the tokens before them; (0, 0) and 0 where there are none."""
    embed = getattr(network, "patch_embed", None)
    grid = getattr(embed, "grid_size", None)
    if grid is None or getattr(network, "output_fmt", "") == "NHWC":
        return (0, 0), 0
    return (int(grid[0]), int(grid[1])), int(getattr(network, "num_prefix_tokens", 0) or 0)


def _taps(
    module: TimmNetwork, shapes: Mapping[str, torch.Size], size: tuple[int, int], any_size: bool
) -> dict[str, Tap]:
    taps = {}
    for name, shape in shapes.items():
        flat = 0 if any_size else int(torch.Size(shape[1:]).numel())
        form = module.forms.get(name, "")
        if form in ("map", "turn"):
            taps[name] = _seen_whole(shape, size, flat)
        else:
            taps[name] = tap_of(shape, flat, module.geometry.get(name))
    return taps


def _seen_whole(shape: torch.Size, size: tuple[int, int], flat: int) -> Tap:
    """Return the tap of a map each of whose cells stands for a patch and depends on the whole image."""
    stride, rest = divmod(size[0], int(shape[2]))
    if rest or size[1] != stride * int(shape[3]):
        return Tap(width=int(shape[1]), stride=0, flat=flat)
    return Tap(width=int(shape[1]), stride=stride, flat=flat, origin=(stride - 1) / 2, field=WHOLE_IMAGE)


def _spread(names: list[str]) -> list[str]:
    """Return at most `MAPS` of them, evenly, the last one always."""
    if len(names) <= MAPS:
        return names
    places = [round((number + 1) * len(names) / MAPS) - 1 for number in range(MAPS)]
    return [names[place] for place in places]
