"""What answering images needs of an open model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from drillcore.arrays import Array
from drillcore.runtime.model.metadata import ModelMetadata


class Network(Protocol):
    """The part of `drillcore.runtime.model.session.Model` that scoring uses."""

    @property
    def metadata(self) -> ModelMetadata:
        """What the model says of itself."""
        ...

    def run(
        self,
        canvas: Array,
        sizes: Array | None = None,
        outputs: Sequence[str] | None = None,
        *,
        release: bool = False,
    ) -> dict[str, Array]:
        """Answer a batch uint8 [N,H,W,C] with sizes int32 [N,2]; give its memory back at once if `release`."""
        ...
