"""Reads and decodes images; also the program of the processes that `decode_pool` starts.

One line of JSON (a list of paths) comes in on standard input; on standard output goes one line of JSON
(`[[sha256, height, width, channels, reason, detail, note], ...]`) and then the pixels of all rows, one after the other.
No pickle is involved, and the end of standard input ends the process: none is left behind when its parent is killed.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drillcore.digests import sha256_bytes
from drillcore.errors import BadImageError
from drillcore.json_types import Json
from drillcore.runtime.images.decode import decode_bytes
from drillcore.runtime.images.image_files import MAX_SIDE, read_image_bytes
from drillcore.runtime.images.value_range import Range

CHUNK_BYTES = 8 << 20  # a reply goes out once it holds so many bytes of pixels: bounds the memory of both ends
MISSING = "missing"  # a reason beside those of `decode.REASONS`: the file is not there


@dataclass(slots=True)
class DecodedImage:
    """One input, decoded or set aside.

    Attributes:
        path: where it was read from.
        sha256: of the file's bytes; empty if it could not be read.
        image: uint8 [H,W,C], or None if set aside.
        reason: a stable short word if set aside, else empty.
        detail: one line for a person if set aside, else empty.
        note: one line where its values look like something they are not read as, else empty.
    """

    path: str
    sha256: str
    image: NDArray[np.uint8] | None
    reason: str = ""
    detail: str = ""
    note: str = ""


def read_image(
    path: str, channels: int, max_pixels: int, max_side: int = MAX_SIDE, value_range: Range | None = None
) -> DecodedImage:
    """Read, digest and decode one file; what is wrong with it stands in the result."""
    sha256 = ""
    try:
        data = read_image_bytes(Path(path))
        sha256 = sha256_bytes(data)
        name = os.path.basename(path)  # noqa: PTH119 - Path costs several microseconds per image
        notes: list[str] = []
        limits: Json = {"max_pixels": max_pixels, "max_side": max_side, "value_range": value_range}
        pixels = decode_bytes(data, channels, name=name, notes=notes, **limits)
        return DecodedImage(path, sha256, pixels, note="; ".join(notes))
    except BadImageError as error:
        if not sha256 and not os.path.exists(path):  # noqa: PTH110 - Path raises where a name is too long
            return DecodedImage(path, sha256, None, MISSING, "there is no such file")
        return DecodedImage(path, sha256, None, error.reason, error.detail)
    except MemoryError:
        return DecodedImage(path, sha256, None, "too_large", "there is not memory enough to decode it")


def _serve(channels: int, max_pixels: int, max_side: int, value_range: Range | None) -> None:
    for line in sys.stdin.buffer:
        rows: list[list[Any]] = []
        pixels: list[NDArray[np.uint8]] = []
        held = 0
        for path in json.loads(line):
            item = read_image(path, channels, max_pixels, max_side, value_range)
            shape: tuple[int, ...] = (0, 0, 0)
            if item.image is not None:
                shape = item.image.shape
                pixels.append(np.ascontiguousarray(item.image))
                held += item.image.nbytes
            rows.append([item.sha256, *shape, item.reason, item.detail, item.note])
            if held >= CHUNK_BYTES:
                break  # the parent asks again for the rest
        out = sys.stdout.buffer
        out.write(json.dumps(rows).encode() + b"\n")
        for image in pixels:
            out.write(image.data)
        out.flush()


if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides; it closes standard input
    try:
        bounds = (float(sys.argv[4]), float(sys.argv[5])) if len(sys.argv) > 4 else None
        _serve(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), bounds)
    except BrokenPipeError:
        os._exit(1)  # the parent is gone; nothing is left to flush to
