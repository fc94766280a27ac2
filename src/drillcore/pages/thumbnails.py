"""Small pictures of data set images inside pages."""

from __future__ import annotations

import io
from pathlib import Path

from drillcore.arrays import Bytes
from drillcore.errors import BadImageError
from drillcore.pages.html import Content, Html, element, picture
from drillcore.settings import Settings

SIDE = 224  # pixels of the longer side: two for each that a card shows


def thumbnail_bytes(settings: Settings, path: Path, channels: int) -> bytes:
    """Return an image as a small PNG (grey) or JPEG (colour). Raises BadImageError."""
    from drillcore.runtime.images.decode import decode_file

    return small_picture(decode_file(path, channels, **settings.decoding()))


def small_picture(pixels: Bytes) -> bytes:
    """Return pixels uint8 [H,W,C] as a small PNG (grey) or JPEG (colour)."""
    from PIL import Image

    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    image.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    stream = io.BytesIO()
    if image.mode == "L":
        image.save(stream, "PNG")
    else:
        image.save(stream, "JPEG", quality=88)
    return stream.getvalue()


def image_card(settings: Settings, path: Path, channels: int, alt: str, *lines: Content) -> Html:
    """Return a list item with an image and a few lines; the reason where it cannot be read any more."""
    try:
        shown: Content = picture(thumbnail_bytes(settings, path, channels), alt)
    except BadImageError as error:
        shown = element("p", f"cannot be shown: {error}")
    return element("li", shown, [element("p", line) for line in lines])


def cards(items: list[Html]) -> Html:
    """Return the list that image cards stand in."""
    return element("ul", items, class_="cards", role="list")
