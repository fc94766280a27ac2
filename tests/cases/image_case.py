"""Small images and their files, and the reason a file is set aside for."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from drillcore.errors import BadImageError
from drillcore.runtime.images.decode import decode_bytes
from drillcore.runtime.images.image_files import REASONS

LIMIT = 10_000_000


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def grey(height: int = 5, width: int = 7) -> np.ndarray:
    return (np.arange(height * width, dtype=np.uint8) * 3).reshape(height, width)


def colour(height: int = 5, width: int = 7) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def reason_of(data: bytes, name: str = "", channels: int = 1, max_pixels: int = LIMIT) -> str:
    with pytest.raises(BadImageError) as caught:
        decode_bytes(data, channels, max_pixels=max_pixels, name=name)
    assert caught.value.reason in REASONS
    assert "\n" not in str(caught.value)
    return caught.value.reason
