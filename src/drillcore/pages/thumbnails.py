"""Small pictures of data set images inside pages."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageDraw

from drillcore.arrays import Bytes
from drillcore.errors import BadImageError
from drillcore.pages.html import Content, Html, element, picture
from drillcore.runtime.images.decode import decode_file
from drillcore.runtime.segments.pictures import OUTLINE
from drillcore.settings import Settings

SIDE = 224  # pixels of the longer side: two for each that a card shows


def thumbnail_bytes(
    settings: Settings, path: Path, channels: int, box: tuple[int, int, int, int] | None = None
) -> bytes:
    """Return an image as a small picture, see `small_picture`. Raises BadImageError."""
    return small_picture(decode_file(path, channels, **settings.decoding()), box)


def small_picture(pixels: Bytes, box: tuple[int, int, int, int] | None = None) -> bytes:
    """Return pixels uint8 [H,W,C] as a small PNG (grey) or JPEG (colour).

    Args:
        pixels: of an image.
        box: drawn in it: x0, y0, x1, y1 in pixels, half-open.
    """
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    width, height = image.size
    image.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    if box is not None:
        image = image.convert("RGB")
        across, down = image.width / width, image.height / height
        x0, y0, x1, y1 = (side * by for side, by in zip(box, (across, down, across, down), strict=True))
        drawn = ImageDraw.Draw(image)
        corners = (x0, y0, max(x0, x1 - 1), max(y0, y1 - 1))
        drawn.rectangle(corners, outline=(0, 0, 0), width=4)
        drawn.rectangle(corners, outline=OUTLINE, width=2)
    stream = io.BytesIO()
    if image.mode == "L":
        image.save(stream, "PNG")
    else:
        image.save(stream, "JPEG", quality=88)
    return stream.getvalue()


def image_card(
    settings: Settings,
    path: Path,
    channels: int,
    alt: str,
    *lines: Content,
    box: tuple[int, int, int, int] | None = None,
) -> Html:
    """Return a list item with an image, a box in it, and a few lines; the reason where it cannot be read any more."""
    try:
        shown: Content = picture(thumbnail_bytes(settings, path, channels, box), alt)
    except BadImageError as error:
        shown = element("p", f"cannot be shown: {error}")
    return element("li", shown, [element("p", line) for line in lines])


def cards(items: list[Html]) -> Html:
    """Return the list that image cards stand in."""
    return element("ul", items, class_="cards", role="list")
