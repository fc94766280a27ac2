"""Maps of real numbers as a plain TIFF: float32, one plane after the other, uncompressed.

GDAL, tifffile and, if there is one plane, Pillow read it; Pillow writes no more than one channel of float32.
"""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

from drillcore.errors import InputError

_SHORT, _LONG = 3, 4
_LIMIT = 2**32 - 2**16  # offsets of a classic TIFF have 32 bits


def encode_float_tiff(value: npt.NDArray[np.float32]) -> bytes:
    """Return the TIFF of float32 [D,H,W].

    Raises:
        InputError: more than 4 GB.
    """
    planes, height, width = value.shape
    size = height * width * 4
    if planes * size > _LIMIT:
        raise InputError(f"{planes} planes of {width} x {height} values pass the 4 GB of a TIFF")
    fields = [
        (256, _LONG, [width]),
        (257, _LONG, [height]),
        (258, _SHORT, [32] * planes),
        (259, _SHORT, [1]),  # no compression
        (262, _SHORT, [1]),  # grey, low is black
        (273, _LONG, [0] * planes),  # where each plane lies; filled in below
        (277, _SHORT, [planes]),
        (278, _LONG, [height]),
        (279, _LONG, [size] * planes),
        (284, _SHORT, [2 if planes > 1 else 1]),  # planes apart
        *([(338, _SHORT, [0] * (planes - 1))] if planes > 1 else []),  # what is beyond the first is unspecified
        (339, _SHORT, [3] * planes),  # IEEE floating point
    ]
    outside = 8 + 2 + 12 * len(fields) + 4
    start = outside + sum(_length(kind, numbers) for _, kind, numbers in fields if _length(kind, numbers) > 4)
    fields[5] = (273, _LONG, [start + plane * size for plane in range(planes)])
    directory, rest = b"", b""
    for tag, kind, numbers in fields:
        data = struct.pack(f"<{len(numbers)}{'H' if kind == _SHORT else 'I'}", *numbers)
        if len(data) > 4:
            directory += struct.pack("<HHII", tag, kind, len(numbers), outside + len(rest))
            rest += data
        else:
            directory += struct.pack("<HHI", tag, kind, len(numbers)) + data.ljust(4, b"\0")
    head = b"II*\0" + struct.pack("<IH", 8, len(fields)) + directory + bytes(4) + rest
    return head + np.ascontiguousarray(value, "<f4").tobytes()


def _length(kind: int, numbers: list[int]) -> int:
    return len(numbers) * (2 if kind == _SHORT else 4)
