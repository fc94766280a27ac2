"""What a representation is: images in, rows out, and the answers to the rows put together again, image by image.

Its stages are given a run (`retrain.run.Run`): settings, recipe, list of images, folder, and the loaded backbone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from drillcore.arrays import Array
from drillcore.digests import sha256_bytes
from drillcore.heads.row_source import RowSource

if TYPE_CHECKING:
    import pandas as pd

    from drillcore.backbones.base import Backbone
    from drillcore.retrain.run import Run

FIT_SPLITS = ("train", "val")


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of images, one image's after the other, and what is learnt from each.

    Attributes:
        rows: [N, D], a source of rows.
        targets: class indices int64 or uint8 [N], or values float32 [N, D'].
        weights: how much each row stands for, float32 [N]; None: all for the same.
        images: number of the image each row is of, int64 [N].
        extracted: images, or views of them, that passed the backbone for this.
    """

    rows: RowSource
    targets: Array
    weights: npt.NDArray[np.float32] | None = None
    images: npt.NDArray[np.int64]
    extracted: int

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class State:
    """What a representation has learnt without labels, a projection for instance.

    Attributes:
        arrays: by name.
    """

    arrays: Mapping[str, Array]

    def to_bytes(self) -> bytes:
        """Return a safetensors file; equal arrays give equal bytes."""
        data: bytes = save({name: np.ascontiguousarray(array) for name, array in sorted(self.arrays.items())})
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> State:
        """Read what `to_bytes` gave. Raises ValueError."""
        try:
            return cls(load(data))
        except SafetensorError as error:
            raise ValueError(str(error)) from None

    @property
    def sha256(self) -> str:
        """Digest of the bytes: it stands in the store's key."""
        return sha256_bytes(self.to_bytes())


class Representation(ABC):
    """Images -> rows.

    Which tasks it has, where its parameters are read and who writes its ONNX nodes stands in its row of the catalogue.

    Args:
        plan: the parameters, as the row's `plan` reads them from a recipe.

    Attributes:
        name: of the row.
        unit: what passes the backbone, for people.
    """

    name: ClassVar[str]
    unit: ClassVar[str] = "images"

    def __init__(self, plan: Any) -> None:
        self.plan = plan

    def look(self, backbone: Backbone, taps: Sequence[str]) -> Backbone:
        """Return a loaded backbone as it looks at images for these rows: over several views, or in blocks.

        Raises:
            UnknownNameError: a tap the backbone does not have.
            InputError: taps or parameters that do not fit it.
        """
        return backbone.averaged(getattr(self.plan, "views", 1))

    def check(self, run: Run) -> None:  # noqa: B027 - most have nothing to refuse
        """Refuse what does not fit the data, before anything is computed. Raises InputError."""

    def fit(self, run: Run) -> State | None:
        """Learn a state from the training images, without their labels; None: it has none."""
        return None

    def fit_splits(self, run: Run) -> tuple[str, ...]:
        """Return the splits the head asks for, where there are images of them."""
        wanted = run.head_splits
        return wanted if run.manifest.table["split"].isin(wanted).any() else FIT_SPLITS

    def kept_rows(self, run: Run) -> pd.DataFrame:
        """Return the rows of the manifest that the store is filled with: those learnt from, those measured on."""
        splits = sorted({*self.fit_splits(run), run.recipe.evaluate.split})
        table: pd.DataFrame = run.manifest.table
        return table[table["split"].isin(splits)]

    def unkept(self) -> str:
        """Return why nothing is kept in the store, in words; "": rows are."""
        return ""

    @abstractmethod
    def rows(self, run: Run, table: pd.DataFrame) -> Rows:
        """Return the rows of images, from the store where it has them.

        Args:
            run: with its backbone, and the state where there is one.
            table: rows of the manifest.

        Raises:
            BadImageError: an image that cannot be decoded any more.
            StoreError: the store cannot be written.
        """

    def gather(self, answers: Array, images: npt.NDArray[np.int64]) -> Array:
        """Return one answer for each image of the answers to its rows.

        Args:
            answers: of the head, [N, K].
            images: number of the image each row is of, ascending, [N].
        """
        return answers

    def maps(self, run: Run, image: npt.NDArray[np.uint8]) -> list[tuple[str, Array]]:
        """Return what the rows of an image are read from, for people: (name, float32 [C, h, w]); none as a rule."""
        return []

    def parts(
        self, run: Run, row: pd.Series, image: npt.NDArray[np.uint8]
    ) -> list[tuple[tuple[str, ...] | None, npt.NDArray[np.uint8]]]:
        """Return parts of a training image and what each is learnt as, for people; none as a rule.

        Args:
            run: opened.
            row: of the manifest.
            image: uint8 [H, W, C].

        Returns:
            labels, () of background and None of what is left out; and the part, uint8 [h, w, C].
        """
        return []
