"""Rows of -1, 0 and 1 in two bits each (paper 003, section 4.3.3): a sixteenth of float32, an eighth of float16."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from drillcore.arrays import Array, Bytes

_PER_BYTE = 4
# By byte the four numbers in it, lowest bits first: 0 is 0, 1 is 1, 2 is -1; 3 is never written.
_NUMBERS = np.array([0, 1, -1, 0], np.float16)[(np.arange(256)[:, None] >> np.arange(0, 8, 2)) & 3]


def pack_signs(rows: Array) -> Bytes:
    """Return the signs of rows [N, D] as uint8 [N, ceil(D / 4)], the last byte filled up with 0.

    Example:
        >>> unpack_signs(pack_signs(np.array([[-3.0, 0.0, 2.0, -0.5, 1.0]])), 5)
        array([[-1.,  0.,  1., -1.,  1.]], dtype=float16)
    """
    count, width = rows.shape
    codes = np.zeros((count, -(-width // _PER_BYTE) * _PER_BYTE), np.uint8)
    codes[:, :width] = (rows > 0) + 2 * (rows < 0)
    four = codes.reshape(count, -1, _PER_BYTE)
    return np.ascontiguousarray(four[..., 0] | four[..., 1] << 2 | four[..., 2] << 4 | four[..., 3] << 6)


def unpack_signs(packed: Bytes, width: int) -> npt.NDArray[np.float16]:
    """Return rows float16 [N, width] of `pack_signs`' bytes."""
    return np.ascontiguousarray(_NUMBERS[packed].reshape(len(packed), -1)[:, :width])
