"""What a backbone is: a frozen network with named taps."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from drillcore.backbones.preprocessing import Preprocessing, prepare
from drillcore.digests import sha256_bytes
from drillcore.errors import InputError, UnknownNameError

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


class Subnetwork(nn.Module):
    """The part of a network below its taps, as one module: x [N, C, h, w] to rows float32 [N, D], taps concatenated."""

    def __init__(self, module: TappedModule, names: Sequence[str]) -> None:
        super().__init__()
        self.module, self.names = module, tuple(names)

    def forward(self, x: Tensor) -> Tensor:
        """Return the flattened activations side by side, in the order of the names."""
        found = self.module.forward_taps(x, self.names)
        rows = [found[name].flatten(1) for name in self.names]
        return rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)


class Backbone:
    """A frozen network: no gradients, evaluation mode, buffers that never change.

    Attributes:
        name: its name in the catalogue.
        module: the network, on the CPU until `to` moves it.
        taps: by name, lowest first.
        channels: of its input, 1 or 3.
        preprocessing: JSON; stands in the store's key and in the model's metadata.
        weights_sha256: of its weights as safetensors bytes.
        images_passed: images that went through `forward_taps`, for reports and tests.
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
        self.weights_sha256 = weights_sha256 or weights_digest(module)
        self.images_passed = 0
        self._counting = threading.Lock()  # batches may run side by side

    @property
    def resize(self) -> tuple[int, int] | None:
        """Height and width of the input; None: any."""
        size = self.preprocessing["resize"]
        return None if size is None else (size[0], size[1])

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

    def flat_width(self, taps: Sequence[str]) -> int:
        """Return the features per image of `taps` side by side; raises as `check_taps`."""
        return sum(self.taps[tap].flat for tap in self.check_taps(taps))

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Bring a decoded image uint8 [H, W, C] to the input float32 [C, h, w]."""
        return prepare(image, self.preprocessing)

    @torch.no_grad()
    def forward_taps(self, x: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Return the activations of prepared images.

        Args:
            x: float32 [N, C, h, w] as `prepare` gives it, on the backbone's device.
            taps: names.

        Returns:
            by name float32 [N, width, h', w'] or [N, width].

        Raises:
            UnknownNameError: a tap the backbone does not have.
        """
        names = self.check_taps(taps)
        with self._counting:
            self.images_passed += x.shape[0]
        return self.module.forward_taps(x, names)

    def rows(self, x: Tensor, taps: Sequence[str]) -> Tensor:
        """Return the flattened activations of `taps` side by side, float32 [N, D]; arguments as `forward_taps`."""
        found = self.forward_taps(x, taps)
        return torch.cat([found[tap].flatten(1) for tap in taps], dim=1)

    def subnetwork(self, taps: Sequence[str]) -> Subnetwork:
        """Return the network below `taps` as a module of its own, for export; shares the weights."""
        return Subnetwork(self.module, self.check_taps(taps)).eval()


def weights_bytes(module: nn.Module) -> bytes:
    """Return a module's weights and buffers as safetensors bytes, the same for equal values."""
    from safetensors.torch import save

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(module.state_dict().items())}
    return save(state)


def weights_digest(module: nn.Module) -> str:
    """Return the SHA-256 of `weights_bytes`."""
    return sha256_bytes(weights_bytes(module))
