"""What a server answers for segments: a list, the ids as 16-bit grey, outlines; and odd images."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from online_case import Running, encoded
from PIL import Image
from segment_case import write_segment_model

from drillcore.runtime.model.served import put_blob, write_pointer
from drillcore.settings import Settings

Start = Callable[..., Running]


@pytest.fixture
def server(settings: Settings, start: Start, tmp_path: Path) -> Running:
    sha256 = put_blob(settings, write_segment_model(tmp_path / "parted.onnx"))
    write_pointer(settings, "parted", 3, sha256)
    return start("parted")


def halves() -> np.ndarray:
    pixels = np.full((12, 20, 3), 60, np.uint8)
    pixels[:, 15:] = 200
    return pixels


def test_a_list_the_ids_and_outlines(server: Running) -> None:
    image = encoded(halves())
    answer = server.predict(image, "parted").json()
    assert (answer["model"], answer["version"], answer["size"]) == ("parted", 3, [12, 20])
    one, other = answer["segments"]
    assert (one["segment"], one["area"], one["share"], one["box"]) == (0, 180, 0.75, [0, 0, 15, 12])
    assert (other["code"], other["box"]) == (f"{200:02x}", [15, 0, 20, 12])
    assert one["colour"] != other["colour"]
    picture = Image.open(io.BytesIO(server.predict(image, "parted", accept="image/png").content))
    assert picture.mode.startswith("I")
    assert np.array_equal(np.asarray(picture) == 1, halves()[:, :, 0] == 200)
    drawn = server.predict(image, "parted", accept="image/jpeg")
    assert drawn.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(drawn.content)).size == (20, 12)


def odd_images() -> list[tuple[str, Image.Image, int]]:
    """Name, image and segments of: one colour, 8 pixels, grey, alpha, 16 bits, a single pixel."""
    grey = halves()[:, :, 0]
    clear = np.dstack([halves(), np.where(grey == 200, 0, 255).astype(np.uint8)])
    return [
        ("one colour", Image.new("RGB", (30, 20), (70, 1, 2)), 1),
        ("8 pixels", Image.fromarray(halves()[:2, 13:17]), 2),
        ("1 pixel", Image.new("RGB", (1, 1)), 1),
        ("grey", Image.fromarray(grey), 2),
        ("alpha", Image.fromarray(clear), 2),
        ("16 bits", Image.fromarray(grey.astype(np.uint16) * 257), 2),
    ]


def test_odd_images_have_segments_too(server: Running) -> None:
    for name, image, count in odd_images():
        stream = io.BytesIO()
        image.save(stream, "PNG")
        answer = server.predict(stream.getvalue(), "parted").json()
        assert len(answer["segments"]) == count, (name, answer)
        assert sum(one["area"] for one in answer["segments"]) == image.width * image.height, name
    assert answer["segments"][1]["code"] == "c8"  # 200 of 255, as 200 * 257 of 65535
