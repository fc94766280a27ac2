"""What a backbone is: a frozen network with named taps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save
from torch import Tensor, nn

from drillcore.backbones.preprocessing import Preprocessing, input_planes, prepare
from drillcore.digests import sha256_bytes
from drillcore.errors import InputError, UnknownNameError
from drillcore.json_types import Json, Values
from drillcore.runtime.images.value_range import Range, read_range

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Tap:
    """A place where activations are taken.

    Attributes:
        width: channels.
        stride: input pixels from one cell to the next; 0 where the activation is no map.
        flat: length of one image's flattened activation at the backbone's resize; 0 where any size is allowed.
        origin: index of the input pixel in the centre of the first cell; a fraction, or negative, where it must be.
        field: side of the square of input pixels that one cell depends on, `geometry.WHOLE_IMAGE` where that is all of
            the image; 0 where the activation is no map.
    """

    width: int
    stride: int
    flat: int
    origin: float = 0.0
    field: int = 0


class TappedModule(nn.Module):
    """A network whose activations can be asked for by name; `forward` gives logits or the last activation."""

    def forward_taps(self, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the activations `names` of x, float32 [N, C, h, w]; what lies above the highest is not computed."""
        raise NotImplementedError


# How an image is looked at, as (transposed, axes turned round): the first 1, 2, 4 or 8 of these. Half and quarter turns
# come first; on plankton they were at least as good as as many mirror images.
VIEWS: tuple[tuple[bool, tuple[int, ...]], ...] = (
    (False, ()),
    (False, (2, 3)),
    (True, (3,)),
    (True, (2,)),
    (False, (3,)),
    (False, (2,)),
    (True, ()),
    (True, (2, 3)),
)
VIEW_COUNTS = (1, 2, 4, 8)


class Subnetwork(nn.Module):
    """The part of a network below its taps, as one module: x [N, C, h, w] to rows float32 [N, D], taps concatenated.

    With several `views` each image is looked at in the first of `VIEWS`, and its rows are averaged.
    """

    def __init__(self, module: TappedModule, names: Sequence[str], views: int = 1) -> None:
        super().__init__()
        self.module, self.names, self.views = module, tuple(names), views

    def forward(self, x: Tensor) -> Tensor:
        """Return the flattened activations side by side, in the order of the names."""
        return _rows(self.module, x, self.names, self.views)


def _rows(module: TappedModule, x: Tensor, names: Sequence[str], views: int) -> Tensor:
    """Return rows float32 [N, D] of prepared images, averaged over the first of `VIEWS`."""
    # One after the other, not as one larger batch: a row must not depend on how many images come together.
    total = _side_by_side(module.forward_taps(x, names), names)
    for transposed, turned in VIEWS[1:views]:
        seen = x.permute(0, 1, 3, 2) if transposed else x
        found = module.forward_taps(seen.flip(turned) if turned else seen, names)
        total = total + _side_by_side(found, names)
    return total * (1.0 / views) if views > 1 else total


def _side_by_side(found: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    rows = [found[name].flatten(1) for name in names]
    return rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)


class Backbone:
    """A frozen network: no gradients, evaluation mode, buffers that never change.

    Attributes:
        name: its name in the catalogue.
        module: the network, on the CPU until `to` moves it.
        taps: by name, lowest first.
        channels: of the images it takes, 1 or 3.
        views: flips and quarter turns over which rows are averaged, 1, 2, 4 or 8 (`VIEWS`).
        looks: how an image is cut into blocks, JSON (`backbones.blocks`); empty: it is not.
        preprocessing: JSON; stands in the store's key and in the model's metadata.
        weights_sha256: of its weights as safetensors bytes.
        images_passed: images that went through `forward_taps`, for reports and tests.
        multiple: sides of images that come as they are have to be brought to a multiple of it, so that cells lie where
            the taps say; 1 but for networks that pad as TensorFlow does.
        row_taps: taps that make a good row of an image, where a recipe names none; empty: none is known.
        map_taps: taps that make a good core.
        compiler: gives what computes some taps faster than torch on a processor, or None; None: there is none.
    """

    def __init__(
        self,
        name: str,
        module: TappedModule,
        taps: Mapping[str, Tap],
        preprocessing: Preprocessing,
        weights_sha256: str | None = None,
    ) -> None:
        self.name = name
        self.module = module.eval().requires_grad_(False)
        self.taps = dict(taps)
        self.preprocessing = preprocessing
        self.channels = len(preprocessing["scale"])
        self.views = 1
        self.looks: Json = {}
        self.weights_sha256 = weights_sha256 or weights_digest(module)
        self.images_passed = 0
        self.multiple = 1
        self.row_taps: tuple[str, ...] = ()
        self.map_taps: tuple[str, ...] = ()
        self.compiler: Callable[[Backbone, Sequence[str]], TappedModule | None] | None = None
        self._counting = threading.Lock()  # batches may run side by side

    def __getstate__(self) -> Json:
        """Return what is sent to another process: all but the lock."""
        return {name: value for name, value in vars(self).items() if name != "_counting"}

    def __setstate__(self, state: Values) -> None:
        vars(self).update(state, _counting=threading.Lock())

    @property
    def resize(self) -> tuple[int, int] | None:
        """Height and width of the input; None: any."""
        size = self.preprocessing["resize"]
        return None if size is None else (size[0], size[1])

    @property
    def planes(self) -> int:
        """Planes of a prepared image: the channels, and the image's size where it goes along."""
        return input_planes(self.preprocessing)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    def to(self, device: str | torch.device) -> Backbone:
        """Move the weights; returns itself."""
        self.module.to(device)
        return self

    def check_taps(self, taps: Sequence[str]) -> tuple[str, ...]:
        """Return `taps` as a tuple.

        Raises:
            UnknownNameError: a tap the backbone does not have.
            InputError: none, or one twice.
        """
        for tap in taps:
            if tap not in self.taps:
                raise UnknownNameError(f"tap of {self.name}", tap, self.taps)
        if not taps or len(set(taps)) != len(taps):
            raise InputError(
                f"one or more different taps are expected, {list(taps)} came; known: {', '.join(self.taps)}"
            )
        return tuple(taps)

    def default_taps(self, *, maps: bool = False) -> list[str]:
        """Return the taps that are read where none is named: of a row or, with `maps`, of a core.

        Where the network has none of its own for that: its highest tap, and of maps the highest one of each stride, the
        last five at most, as many as paper 000 drills.
        """
        if not maps:
            return list(self.row_taps) or list(self.taps)[-1:]
        highest = {tap.stride: name for name, tap in self.taps.items() if tap.stride > 0}
        return list(self.map_taps) or [highest[stride] for stride in sorted(highest)][-5:]

    def flat_width(self, taps: Sequence[str]) -> int:
        """Return the features per image of `taps` side by side; raises as `check_taps`."""
        return sum(self.taps[tap].flat for tap in self.check_taps(taps))

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Bring a decoded image uint8 [H, W, C] to the input float32 [C, h, w]."""
        return prepare(image, self.preprocessing)

    @property
    def engine(self) -> Json:
        """What rows depend on beside weights and preprocessing, for keys: who computes them; {} for torch alone."""
        return {"engine": "onnxruntime"} if self.compiler else {}

    def compiled(self, taps: Sequence[str]) -> TappedModule:
        """Return what computes taps of many images fastest where the backbone is, to be given to `rows` as `by`.

        Raises:
            UnknownNameError: a tap the backbone does not have.
        """
        names = self.check_taps(taps)
        made = self.compiler(self, names) if self.compiler and self.device.type == "cpu" else None
        return made or self.module

    @torch.no_grad()
    def forward_taps(self, x: Tensor, taps: Sequence[str], by: TappedModule | None = None) -> dict[str, Tensor]:
        """Return the activations of prepared images.

        Args:
            x: float32 [N, C, h, w] as `prepare` gives it, on the backbone's device.
            taps: names.
            by: of `compiled`; None: torch's module.

        Returns:
            by name float32 [N, width, h', w'] or [N, width].

        Raises:
            UnknownNameError: a tap the backbone does not have.
        """
        names = self.check_taps(taps)
        with self._counting:
            self.images_passed += x.shape[0]
        return (by or self.module).forward_taps(x, names)

    def rows(self, x: Tensor, taps: Sequence[str], by: TappedModule | None = None) -> Tensor:
        """Return the flattened activations of `taps` side by side, float32 [N, D]; arguments as `forward_taps`."""
        names = self.check_taps(taps)
        with self._counting:
            self.images_passed += x.shape[0]
        with torch.no_grad():
            return _rows(by or self.module, x, names, self.views)

    def subnetwork(self, taps: Sequence[str]) -> Subnetwork:
        """Return the network below `taps` as a module of its own, for export; shares the weights."""
        return Subnetwork(self.module, self.check_taps(taps), self.views).eval()

    @property
    def value_range(self) -> Range | None:
        """Stored numbers (low, high) that images' grey levels are made of, where they are stated."""
        return read_range(self.preprocessing)

    def reading(self, bounds: Range | None) -> Backbone:
        """Look at images whose levels are made of that range from now on, None: as decoding does; returns itself."""
        stated: Preprocessing = {**self.preprocessing}
        stated.pop("value_range", None)
        self.preprocessing = stated if bounds is None else {**stated, "value_range": list(bounds)}
        return self

    def averaged(self, views: int) -> Backbone:
        """Average rows over that many views from now on; returns itself.

        Raises:
            InputError: not 1, 2, 4 or 8, or quarter turns of an input that is not square.
        """
        if views not in VIEW_COUNTS:
            raise InputError(f"views is {views!r}; allowed: {', '.join(map(str, VIEW_COUNTS))}")
        if views > 1 and (self.resize is None or (views > 2 and self.resize[0] != self.resize[1])):
            raise InputError(f"{views} views need an input size, and quarter turns one that is square")
        self.views = views
        return self


def weights_bytes(module: nn.Module) -> bytes:
    """Return a module's weights and buffers as safetensors bytes, the same for equal values."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(module.state_dict().items())}
    found: bytes = save(state)
    return found


def weights_digest(module: nn.Module) -> str:
    """Return the SHA-256 of `weights_bytes`."""
    return sha256_bytes(weights_bytes(module))
