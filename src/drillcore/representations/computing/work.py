"""What is computed of images, part by part, wherever it is done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from drillcore.backbones.base import Backbone

Part = TypeVar("Part")
Made = TypeVar("Made")


class Work(ABC, Generic[Part, Made]):
    """A frozen network and what is made of the images that pass it.

    What is made depends on the part alone, not on what else is computed beside it: whoever computes it, the bits are
    those of one thread. It is sent to Dask workers as a whole, unopened.

    Attributes:
        load: number of an image to its pixels uint8 [H, W, C]; one that has `paths` says where they are read.
    """

    load: Any

    @property
    @abstractmethod
    def network(self) -> Backbone:
        """The frozen network."""

    @abstractmethod
    def opened(self, device: torch.device) -> AbstractContextManager[None]:
        """Bring the network to a device, and within let it be computed by what is fastest there."""

    @abstractmethod
    def __call__(self, part: Part) -> Made:
        """Compute a part; called in several threads once it is opened.

        Raises:
            BadImageError: an image that cannot be decoded any more.
            DataError: values or labels that do not fit.
        """

    @abstractmethod
    def first(self, part: Part) -> int:
        """Return the number of a part's first image."""

    def path(self, number: int) -> Path | None:
        """Return where an image is read; None: it is in memory."""
        paths = getattr(self.load, "paths", None)
        return paths[number] if paths else None
