"""A row for each patch: the mean of the network's last map over it, the stand-in for paper 001's FC7.

By convolution over an image pyramid, which the paper names in section 3.3: the network runs once over each level, and a
patch is the mean of a window of cells. With `crops` each patch is cut out of its level and the network sees nothing
else: what the paper did, to compare with; it takes 6 times as long at 4:3. Near a patch's border a cell sees the image
around it in a pyramid, and zeros in a crop.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from drillcore.backbones.base import Backbone, TappedModule
from drillcore.backbones.preprocessing import resize
from drillcore.errors import InputError
from drillcore.representations.patches.params import PatchPlan
from drillcore.runtime.patches.patch_places import Level, levels_of

CROPS = 32  # patches that pass the network at once


class PatchNetwork:
    """A frozen network that looks at patches.

    Args:
        backbone: that takes images as they are.
        taps: one map.
        plan: which patches.
        crops: whether each patch passes the network alone.

    Attributes:
        window: cells of a patch's side.
        stride: pixels of a cell.
        cells: of the map for each of ours: more than 1 where sides have to be a multiple of several of the map's.
        width: features of a row.
        by: what computes the map, of `Backbone.compiled`; None: torch.

    Raises:
        UnknownNameError: no such tap.
        InputError: no map, more than one, or a patch that is not a whole number of cells.
    """

    def __init__(self, backbone: Backbone, taps: Sequence[str], plan: PatchPlan, *, crops: bool = False) -> None:
        names = backbone.check_taps(taps)
        tap = backbone.taps[names[0]]
        if len(names) > 1 or tap.stride < 1:
            raise InputError(f"patches are read from one map; {', '.join(names)} of {backbone.name} are not that")
        self.backbone, self.tap, self.plan = backbone, names[0], plan
        self.by: TappedModule | None = None
        self.stride, self.width = max(tap.stride, backbone.multiple), tap.width
        if plan.side % self.stride or self.stride % tap.stride:
            raise InputError(f"side is {plan.side}; patches of {backbone.name} are a multiple of {self.stride} pixels")
        self.window = plan.side // self.stride
        self.crops, self.cells = crops, self.stride // tap.stride  # of the map for each of ours

    def check(self) -> None:
        """Refuse a network that has not one cell for each stride of pixels. Raises InputError."""
        side = self.plan.side
        found = tuple(self._map(torch.zeros(1, self.backbone.planes, side, side, device=self.backbone.device)).shape)
        wanted = self.window * self.cells
        if found[2:] != (wanted, wanted):
            raise InputError(
                f"tap {self.tap} of {self.backbone.name} has {found[2]} x {found[3]} cells of {side} x {side} pixels, "
                f"patches need {wanted} x {wanted}; take a network that pads, such as EfficientNet or ResNet"
            )

    def levels(self, height: int, width: int) -> list[Level]:
        """Return the levels of an image of that many pixels."""
        return levels_of(height, width, self.plan.lambdas, self.window)

    def rows(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the rows of an image uint8 [H, W, C], float32 [P, D], in the order of `patch_boxes`."""
        look = self._by_crops if self.crops else self._by_pyramid
        return np.concatenate([look(level, self._level(image, level)) for level in self.levels(*image.shape[:2])])

    def _level(self, image: npt.NDArray[np.uint8], level: Level) -> torch.Tensor:
        """Return an image at a level, prepared, float32 [1, C, h, w]."""
        planes = resize(image, (level.height * self.stride, level.width * self.stride))
        rule = self.backbone.preprocessing
        scale, offset = (np.asarray(rule[key], np.float32)[:, None, None] for key in ("scale", "offset"))
        return torch.from_numpy(planes * scale + offset)[None].to(self.backbone.device)

    def _by_pyramid(self, level: Level, prepared: torch.Tensor) -> npt.NDArray[np.float32]:
        cells = self._map(prepared)
        window = self.window * self.cells
        means = torch.nn.functional.avg_pool2d(cells, window, stride=self.cells)[0]
        chosen = means[:, level.rows][:, :, level.columns]
        return chosen.reshape(self.width, -1).T.contiguous().cpu().numpy()

    def _by_crops(self, level: Level, prepared: torch.Tensor) -> npt.NDArray[np.float32]:
        side = self.plan.side
        corners = [(top * self.stride, left * self.stride) for top in level.rows for left in level.columns]
        found = []
        for first in range(0, len(corners), CROPS):
            part = corners[first : first + CROPS]
            crops = torch.cat([prepared[:, :, top : top + side, left : left + side] for top, left in part])
            found.append(self._map(crops).mean(dim=(2, 3)).cpu().numpy())
        return np.concatenate(found)

    def _map(self, images: torch.Tensor) -> torch.Tensor:
        return self.backbone.forward_taps(images, [self.tap], self.by)[self.tap]
