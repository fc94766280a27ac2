"""One shard: rows, and the keys they belong to, in a safetensors file that is written once and never changed.

A shard says itself what it holds (`keys` uint8 [K, 32], `counts` int64 [K], `rows` [R, D]) and carries the checksum of
these bytes in its header, so that a shard whose writer was killed before the index was written is adopted, not lost.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from drillcore.digests import canonical_json
from drillcore.errors import StoreError
from drillcore.files import atomic_path

SUFFIX = ".safetensors"
_CRC_BLOCK = 1 << 22
_MAX_HEADER = 1 << 20
_DTYPES = {"U8": np.uint8, "I64": np.int64, "F16": np.float16, "F32": np.float32}
_CODES = {np.dtype(dtype).name: code for code, dtype in _DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Shard:
    """An open shard, memory-mapped.

    Attributes:
        keys: uint8 [K, 32].
        counts: int64 [K], rows of each key, in the order of the rows.
        rows: float16 or float32 [R, D], or uint8 of packed signs; read-only view of the file.
        crc: CRC-32 of the tensors' bytes, as the header says.
    """

    keys: npt.NDArray[np.uint8]
    counts: npt.NDArray[np.int64]
    rows: npt.NDArray[np.floating]
    crc: int


def write_shard(folder: Path, keys: list[str], counts: npt.NDArray[np.int64], rows: npt.NDArray[np.floating]) -> str:
    """Write a shard atomically and return its name, which follows from its content.

    The safetensors library would need the bytes twice in memory to put their checksum into the header in front.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    packed = np.frombuffer(bytes.fromhex("".join(keys)), np.uint8).reshape(-1, 32)
    tensors = {"counts": np.ascontiguousarray(counts, np.int64), "rows": np.ascontiguousarray(rows), "keys": packed}
    header: dict[str, object] = {}
    crc, digest, offset = 0, hashlib.sha256(), 0
    views: list[memoryview] = [array.reshape(-1).view(np.uint8).data for array in tensors.values()]
    for (name, array), view in zip(tensors.items(), views, strict=True):
        crc = zlib.crc32(view, crc)
        digest.update(view)
        offsets = [offset, offset + len(view)]
        header[name] = {"dtype": _CODES[array.dtype.name], "shape": list(array.shape), "data_offsets": offsets}
        offset += len(view)
    header["__metadata__"] = {"crc32": str(crc)}
    text = canonical_json(header).encode()
    text += b" " * (-len(text) % 8)
    name = digest.hexdigest()[:32] + SUFFIX
    with atomic_path(folder / name) as partial, partial.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for view in views:
            stream.write(view)
    return name


def open_shard(path: Path) -> Shard:
    """Map a shard into memory; its checksum is not looked at.

    Raises:
        StoreError: not a whole shard.
        FileNotFoundError: no such file.
    """
    with path.open("rb") as stream:
        try:
            view = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise _damaged(path, "empty") from None
    try:
        header, start = _header(view)
        _check_places(header, len(view) - start)
        tensors = {name: _tensor(view, start, header[name]) for name in ("keys", "counts", "rows")}
        crc = int(header["__metadata__"]["crc32"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise _damaged(path, str(error)) from None
    forms = [(tensors[name].dtype.kind, tensors[name].ndim) for name in ("keys", "counts", "rows")]
    if (
        forms not in ([("u", 2), ("i", 1), ("f", 2)], [("u", 2), ("i", 1), ("u", 2)])
        or tensors["keys"].shape[1] != 32
        or (tensors["counts"] < 0).any()
    ):
        raise _damaged(path, "its arrays are of another form")
    if int(tensors["counts"].sum()) != len(tensors["rows"]) or len(tensors["keys"]) != len(tensors["counts"]):
        raise _damaged(path, "keys and rows differ in number")
    return Shard(crc=crc, **tensors)


def verify_shard(path: Path) -> int:
    """Return the checksum of a shard after comparing it with its bytes.

    Raises:
        StoreError: they differ, or it is not a whole shard.
        FileNotFoundError: no such file.
    """
    shard = open_shard(path)
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        stream.seek(8 + length)
        crc = 0
        while block := stream.read(_CRC_BLOCK):
            crc = zlib.crc32(block, crc)
    if crc != shard.crc:
        raise _damaged(path, f"its checksum is {crc:08x}, {shard.crc:08x} is expected")
    return crc


def hex_keys(packed: npt.NDArray[np.uint8]) -> list[str]:
    """Return the keys uint8 [K, 32] as hexadecimal strings."""
    text = packed.tobytes().hex()
    return [text[start : start + 64] for start in range(0, len(text), 64)]


def _header(view: mmap.mmap) -> tuple[dict, int]:  # type: ignore[type-arg]
    length = int.from_bytes(view[:8], "little")
    if not 2 <= length <= min(_MAX_HEADER, len(view) - 8):
        raise ValueError("its header is cut")
    return json.loads(view[8 : 8 + length]), 8 + length


def _check_places(header: dict, size: int) -> None:  # type: ignore[type-arg]
    """Check that the tensors follow one another as they were written: the checksum is not of the header."""
    end = 0
    for name in ("counts", "rows", "keys"):
        begin, after = header[name]["data_offsets"]
        if begin != end:
            raise ValueError("its header does not fit its bytes")
        end = after
    if end != size:
        raise ValueError("its header does not fit its bytes")


def _tensor(view: mmap.mmap, start: int, entry: dict) -> npt.NDArray:  # type: ignore[type-arg]
    dtype = _DTYPES[entry["dtype"]]
    begin, end = entry["data_offsets"]
    if not 0 <= begin <= end <= len(view) - start:
        raise ValueError("it is cut")
    flat = np.frombuffer(view, dtype, count=(end - begin) // np.dtype(dtype).itemsize, offset=start + begin)
    return flat.reshape(entry["shape"])


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(f"shard {path.name} of the feature store is damaged: {why}; its images are computed anew")
