"""What a row of features depends on, and the key made of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from drillcore.digests import canonical_json, sha256_json
from drillcore.errors import InputError
from drillcore.json_types import Json

SIGN2 = "sign2"  # -1, 0 and 1 in two bits each (`store.signs`)
DTYPES = ("float16", "float32", SIGN2)
BYTES = "uint8"  # no features but codes, or what is known of them
_PLACE = "\u0001image\u0001"  # cannot be part of a digest or a tap's name


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpec:
    """All but the image that decides the rows of an image (CONTRACTS, STORE).

    Attributes:
        weights: SHA-256 of the backbone's weights.
        taps: names, in the order their activations stand side by side.
        preprocessing: JSON of resize and normalisation.
        dtype: of the rows, one of DTYPES, or BYTES.
        sampling: JSON of what is sampled from an image, with its seed; None: all of it, one row per image.
    """

    weights: str
    taps: tuple[str, ...]
    preprocessing: Json
    dtype: str = "float16"
    sampling: Json | None = None

    def __post_init__(self) -> None:
        if self.dtype not in (*DTYPES, BYTES):
            raise InputError(f"features of dtype {self.dtype!r} cannot be stored; allowed: {', '.join(DTYPES)}")

    @property
    def kept(self) -> np.dtype:
        """Dtype of the numbers in a shard: bytes where signs are packed."""
        return np.dtype(np.uint8 if self.dtype == SIGN2 else self.dtype)

    def to_dict(self) -> Json:
        """Return plain values, as they stand in the key beside `image`."""
        return {
            "weights": self.weights,
            "taps": list(self.taps),
            "preprocessing": self.preprocessing,
            "dtype": self.dtype,
            "sampling": self.sampling,
        }

    @property
    def digest(self) -> str:
        """SHA-256 of the JSON without an image: the name of the table."""
        return sha256_json(self.to_dict())

    def keys(self, images: Sequence[str]) -> list[str]:
        """Return the key of each image: SHA-256 of the canonical JSON with `image` in it.

        Args:
            images: SHA-256 of the images' files, hexadecimal.
        """
        before, _, after = canonical_json(self.to_dict() | {"image": _PLACE}).partition(canonical_json(_PLACE))
        start, end = hashlib.sha256(before.encode()), f'"{after}'.encode()
        keys = []
        for image in images:
            state = start.copy()
            state.update(b'"' + image.encode() + end)
            keys.append(state.hexdigest())
        return keys
