"""A core: the maps of a frozen network beside the image, read at any pixel (paper 000, sections III-B and III-C).

From grey levels to maps, in this order; the exported graph takes the same steps:

1. a one-channel image is repeated to the three of the backbone; its affine (the constants it was trained with)
   gives the normalised image;
2. for each scale s of the spec: 1/2 and 1/4 are means of 2x2 and 4x4 pixels, after the last row and column were
   repeated until the sides can be divided; 2 is bilinear between half-pixel centres; 1 is the image;
3. edge padding: `pad` pixels of that scale on every side, then at the bottom and on the right whatever lacks to
   `min_side`, with which every tap has a cell, and to a multiple of the backbone's `multiple`. An image of one pixel
   passes;
4. the backbone's taps. Cell t of a map has its centre at origin + stride * t of the full-size image, with
   stride = tap.stride / s and origin = (tap.origin - pad + 1/2) / s - 1/2.

Planes, in this order: the taps of each scale ("fire8", "half:fire8", "quarter:fire8", "double:fire8"), the normalised
image ("image"), the highest tap of the first scale averaged over windows ("blur96"), the same averaged onto a relative
grid ("context6"), the position ("position"). Deviation from the paper: no plane is resized to the image's size; a
pixel's values are read between the cells' true centres, where a resize would shift them by up to half a cell.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from drillcore.backbones.base import Backbone, Tap, TappedModule
from drillcore.backbones.geometry import WHOLE_IMAGE
from drillcore.errors import InputError
from drillcore.json_types import Json
from drillcore.representations.core_samples.core_spec import SCALES, CoreSpec
from drillcore.representations.core_samples.planes import Grid, Plane, linear_weights, pooling_weights

Places = npt.NDArray[np.integer] | npt.NDArray[np.floating]  # pixel indices [P]


class CoreNetwork(nn.Module):
    """The frozen network below a core's planes.

    Args:
        backbone: frozen, for any image size; its own `resize` is not applied.
        taps: names; in the order their planes stand side by side.
        spec: what else a core is made of.
        channels: of the images, 1 or the backbone's; None: the backbone's.

    Attributes:
        planes: in the order of `forward`'s maps and of a sample's features.
        width: features of a sample, the sum of the planes' widths.
        channels: of the images.
        pad: pixels of edge padding, the rule resolved.
        min_side: pixels each side of the backbone's input has at least.
        halo: pixels around a tile that decide the values within it, a multiple of `align`; 0 where not tileable.
        align: pixels; a tile starts at a multiple of it, so that its cells lie where the whole image's do.
        tileable: whether no plane is spread over the whole image, and no tap depends on all of it.

    Raises:
        UnknownNameError: a tap the backbone does not have.
        InputError: a tap without a map, or channels that do not fit.
    """

    def __init__(
        self, backbone: Backbone, taps: Sequence[str], spec: CoreSpec | None = None, *, channels: int | None = None
    ) -> None:
        super().__init__()
        self.backbone, self.spec = backbone, spec or CoreSpec()
        self._by: TappedModule | None = None
        self.module = backbone.module
        self.taps = backbone.check_taps(taps)
        self.channels = backbone.channels if channels is None else channels
        if self.channels not in (1, backbone.channels):
            raise InputError(
                f"images of {self.channels} channels do not fit {backbone.name}; 1 or {backbone.channels} are expected"
            )
        found = [backbone.taps[name] for name in self.taps]
        for name, tap in zip(self.taps, found, strict=True):
            if tap.stride < 1 or tap.field < 1:
                raise InputError(f"tap {name} of {backbone.name} is no map with a place on the image")
        self.highest = max(self.taps, key=list(backbone.taps).index)
        self.pad = _covering_pad(found) if self.spec.pad is None else self.spec.pad
        self.min_side = max(2 * math.ceil(tap.origin) + 1 for tap in found)
        self.planes = self._planes()
        self.width = sum(plane.width for plane in self.planes)
        whole = any(tap.field >= WHOLE_IMAGE for tap in found)
        self.tileable = not (whole or any(plane.grid.relative for plane in self.planes))
        self.align = _align(self.planes, self.spec.scales, backbone.multiple)
        self.halo = math.ceil(self._reach() / self.align) * self.align
        preprocessing = backbone.preprocessing
        for name, values in (("scale", preprocessing["scale"]), ("offset", preprocessing["offset"])):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32)[:, None, None], persistent=False)
        self.to(backbone.device)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of images of one size.

        Args:
            images: float32 [N, channels, H, W], grey levels from 0 to 255, on the backbone's device.

        Returns:
            one map per plane, in the order of `planes`, float32 [N, width, h, w].

        Raises:
            InputError: another number of axes or channels, or no pixel.
        """
        if images.ndim != 4 or images.shape[1] != self.channels or min(images.shape[2:]) < 1:
            raise InputError(f"images [N, {self.channels}, H, W] are expected, {list(images.shape)} came")
        normal = self.normalise(images)
        maps: list[Tensor] = []
        for scale in self.spec.scales:
            found = self.backbone.forward_taps(self.padded(rescale(normal, scale)), self.taps, self._by)
            maps += [found[name] for name in self.taps]
        first = maps[self.taps.index(self.highest)]
        side = (int(images.shape[2]), int(images.shape[3]))
        if self.spec.image:
            maps.append(normal[:, : self.channels])
        maps += [blur(first, self.blur_cells(window)) for window in self.spec.blur]
        maps += [self._context(first, side, cells) for cells in self.spec.context]
        if self.spec.position:
            maps.append(position_map(self.spec.position).to(images.device).expand(len(images), -1, -1, -1))
        return maps

    @contextlib.contextmanager
    def compiled(self) -> Iterator[None]:
        """Let maps be computed by what is fastest where the backbone is; else they are torch's."""
        self._by = self.backbone.compiled(self.taps)
        try:
            yield
        finally:
            self._by = None

    def normalise(self, images: Tensor) -> Tensor:
        """Return the backbone's input at full size, float32 [N, backbone's channels, H, W]; arguments as `forward`."""
        scale, offset = self.get_buffer("scale"), self.get_buffer("offset")
        return images.expand(-1, len(scale), -1, -1) * scale + offset

    def padded(self, scaled: Tensor) -> Tensor:
        """Return a scaled image [N, C, h, w] with its edge padding, [N, C, max(h + 2 pad, min_side) or more, ...]."""
        lacking = [self._lacking(int(side) + 2 * self.pad) for side in scaled.shape[2:]]
        pads = (self.pad, self.pad + lacking[1], self.pad, self.pad + lacking[0])
        padded = functional.pad(scaled, pads, mode="replicate") if any(pads) else scaled
        if padded.device.type != "cpu":
            return padded
        # Channels last: on a CPU the backbone takes half the time, and a cell's channels are read in one go. A clone:
        # for one image `contiguous` may leave a stride of the batch by which convolutions judge otherwise.
        return padded.clone(memory_format=torch.channels_last)

    def _lacking(self, side: int) -> int:
        """Return the pixels from a side, padded, to the one the backbone gets."""
        wanted = max(self.min_side, side)
        return wanted + -wanted % self.backbone.multiple - side

    def sample(self, maps: Sequence[Tensor], side: Sequence[int], ys: Any, xs: Any, *, number: int = 0) -> Tensor:
        """Read core samples at pixels by gathers; no map is ever brought to the image's size.

        Args:
            maps: as `forward` gives them.
            side: height and width of the images in pixels.
            ys: pixel rows, integers [P].
            xs: pixel columns, integers [P].
            number: of the image in the batch.

        Returns:
            float32 [P, width], the planes side by side, on the maps' device.

        Raises:
            InputError: pixels outside of the image, or as many maps as planes did not come.
        """
        ys, xs = _pixels(ys, side[0], "ys"), _pixels(xs, side[1], "xs")
        if len(ys) != len(xs) or len(maps) != len(self.planes):
            raise InputError(f"{len(ys)} ys, {len(xs)} xs, {len(maps)} maps of {len(self.planes)} planes do not fit")
        return self.read(maps, side, ys, xs, number=number)

    def read(self, maps: Sequence[Tensor], side: Sequence[int], ys: Places, xs: Places, *, number: int = 0) -> Tensor:
        """Read core samples at any places, not checked: pixels, or between them; outside as at the image's edge.

        The arguments are those of `sample`; places are whole numbers or fractions.
        """
        result = torch.empty((len(ys), self.width), dtype=torch.float32, device=maps[0].device)
        start = 0
        for plane, values in zip(self.planes, maps, strict=True):
            read_bilinear(plane.grid, values[number], side, ys, xs, result[:, start : start + plane.width])
            start += plane.width
        return result

    def blur_cells(self, window: int) -> int:
        """Return a window's cells along each axis, the odd number nearest to window / stride."""
        return 2 * round((window / self.backbone.taps[self.highest].stride - 1) / 2) + 1 if window > 1 else 1

    def to_dict(self) -> Json:
        """Return what the values of a sample depend on beside weights and preprocessing, for keys and metadata."""
        own = {"multiple": self.backbone.multiple} if self.backbone.multiple > 1 else {}
        return {**self.spec.to_dict(), "pad": self.pad, "channels": self.channels, **own}

    def _planes(self) -> tuple[Plane, ...]:
        spec, taps = self.spec, self.backbone.taps
        planes = [
            Plane(name=SCALES[scale] + name, width=taps[name].width, grid=self._grid(taps[name], scale))
            for scale in spec.scales
            for name in self.taps
        ]
        top = taps[self.highest]
        if spec.image:
            planes.append(Plane(name="image", width=self.channels, grid=Grid(stride=1.0)))
        grid = self._grid(top, spec.scales[0])
        planes += [Plane(name=f"blur{window}", width=top.width, grid=grid) for window in spec.blur]
        planes += [Plane(name=f"context{cells}", width=top.width, grid=Grid(cells=cells)) for cells in spec.context]
        if spec.position:
            planes.append(Plane(name="position", width=2, grid=Grid(cells=spec.position)))
        return tuple(planes)

    def _grid(self, tap: Tap, scale: float) -> Grid:
        return Grid(stride=tap.stride / scale, origin=(tap.origin - self.pad + 0.5) / scale - 0.5)

    def _reach(self) -> float:
        """Pixels from a pixel to the furthest one that its values depend on; 0 where some depend on all of them."""
        if not self.tileable:
            return 0.0
        taps = [self.backbone.taps[name] for name in self.taps]
        # Half the field, the cell beyond the pixel, and the block or the neighbour that rescaling mixes in.
        reach = max(((tap.field - 1) / 2 + tap.stride + 1) / s for tap in taps for s in self.spec.scales)
        top, scale = self.backbone.taps[self.highest], self.spec.scales[0]
        for window in self.spec.blur:
            cells = self.blur_cells(window) // 2 + 1
            reach = max(reach, ((top.field - 1) / 2 + cells * top.stride + 1) / scale)
        return reach

    def _context(self, values: Tensor, side: tuple[int, int], cells: int) -> Tensor:
        grid = self._grid(self.backbone.taps[self.highest], self.spec.scales[0])
        down, across = (
            torch.from_numpy(pooling_weights(grid, side[axis], int(values.shape[2 + axis]), cells)).to(values.device)
            for axis in (0, 1)
        )
        return down @ values @ across.T


def rescale(images: Tensor, scale: float) -> Tensor:
    """Return images float32 [N, C, H, W] at one of `SCALES`, as the module's step 2 says."""
    if scale == 1:
        return images
    if scale == 2:
        return functional.interpolate(images, scale_factor=2, mode="bilinear", align_corners=False)
    block = round(1 / scale)
    down, across = (-int(side) % block for side in images.shape[2:])
    return functional.avg_pool2d(functional.pad(images, (0, across, 0, down), mode="replicate"), block)


def blur(values: Tensor, cells: int) -> Tensor:
    """Return the mean over cells x cells (odd) around each cell, the map's border repeated outward; the same shape."""
    if cells == 1:
        return values
    half = cells // 2
    for pads, window in (((half, half, 0, 0), (1, cells)), ((0, 0, half, half), (cells, 1))):
        values = functional.avg_pool2d(functional.pad(values, pads, mode="replicate"), window, stride=1)
    return values


def position_map(cells: int) -> Tensor:
    """Return y and x from -1 (the first cell) to 1 (the last), float32 [1, 2, cells, cells]."""
    line = torch.linspace(-1, 1, cells)
    return torch.stack([line[:, None].expand(-1, cells), line[None].expand(cells, -1)])[None]


def read_bilinear(
    grid: Grid,
    values: Tensor,
    side: Sequence[int],
    ys: Places,
    xs: Places,
    out: Tensor,
) -> None:
    """Write one map's values at places into `out` float32 [P, width]; values float32 [width, h, w]."""
    device = values.device
    rows, columns = int(values.shape[1]), int(values.shape[2])
    top, bottom, down = linear_weights(grid, int(side[0]), rows, ys)
    left, right, across = linear_weights(grid, int(side[1]), columns, xs)
    corners = np.stack([top * columns + left, top * columns + right, bottom * columns + left, bottom * columns + right])
    shares = np.stack([(1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across])
    # A cell's channels side by side: a view where the map is channels-last, as it is on a CPU.
    by_cell = values.permute(1, 2, 0).reshape(rows * columns, -1)
    out.copy_(
        functional.embedding_bag(
            torch.from_numpy(corners.T.copy()).to(device),
            by_cell,
            mode="sum",
            per_sample_weights=torch.from_numpy(shares.T.copy()).to(device),
        )
    )


def _pixels(values: object, side: int, name: str) -> npt.NDArray[np.int64]:
    if isinstance(values, Tensor):
        values = values.cpu().numpy()
    pixels = np.asarray(values)
    if pixels.ndim != 1 or pixels.dtype.kind not in "iu":
        raise InputError(f"{name} is {pixels.dtype} {list(pixels.shape)}; whole numbers in one row are expected")
    if len(pixels) and (pixels.min() < 0 or pixels.max() >= side):
        raise InputError(f"{name} runs from {pixels.min()} to {pixels.max()}; the image has pixels 0 to {side - 1}")
    return pixels.astype(np.int64)


def _covering_pad(taps: Sequence[Tap]) -> int:
    return max(0, *(math.ceil(tap.origin - (tap.stride - 1) / 2) for tap in taps))


def _align(planes: Sequence[Plane], scales: Sequence[float], multiple: int) -> int:
    steps = [Fraction(plane.grid.stride) for plane in planes if not plane.grid.relative]
    steps += [multiple / Fraction(scale) for scale in scales]
    return math.lcm(*(step.numerator for step in steps))
