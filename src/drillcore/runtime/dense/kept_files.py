"""The files beside the parts of a dense output: masks and values, named by their image's digest, and overlays.

An overlay is for people: its name is that of its image, and the first eight digits of its digest.

A part names them in a column and their digests in another: `mask` and `mask_sha256`, `value` and `value_sha256`,
`overlay` and `overlay_sha256`. Two rows of one image share one file.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drillcore.digests import sha256_file
from drillcore.errors import ReceiptError, first_line
from drillcore.remote import AnyPath, RemotePath, parquet_source

MASKS, VALUES, OVERLAYS = "masks", "values", "overlays"
FOLDERS = (MASKS, VALUES, OVERLAYS)
_COLUMNS = ("mask", "value", "overlay")
_LONGEST = 80  # characters of an image's name, of at most 3 bytes each: file systems end at 255
_FILE = re.compile(rf"[0-9a-f]{{64}}\.(png|tif|jpg)|[\w.-]{{1,{_LONGEST}}}-[0-9a-f]{{8}}\.jpg")
_NAME = re.compile(rf"(masks|values|overlays)/({_FILE.pattern})")
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")


def overlay_name(image: str, sha256: str) -> str:
    """Return where the overlay of an image goes, below the output.

    Example:
        >>> overlay_name("frames/street 7.png", 64 * "a")
        'overlays/street_7-aaaaaaaa.jpg'
    """
    stem = image.replace("\\", "/").rpartition("/")[2].rpartition(".")[0] or "image"
    plain = "".join(letter for letter in _NOT_IN_NAMES.sub("_", stem) if ord(letter) < 0x10000)
    return f"{OVERLAYS}/{plain[:_LONGEST] or 'image'}-{sha256[:8]}.jpg"


def listed(path: AnyPath) -> Iterator[tuple[int, str, str]]:
    """Yield input_index, name and SHA-256 of each file that the rows of a part name.

    Raises:
        ReceiptError: a name that is none of ours, or the part cannot be read.
    """
    import pyarrow as pa

    try:
        for column, rows in _columns(path):
            for index, name, sha256 in zip(rows["input_index"], rows[column], rows[f"{column}_sha256"], strict=True):
                if name is None and column == "overlay":
                    continue
                if not isinstance(name, str) or not _NAME.fullmatch(name):
                    raise ReceiptError(f"{path}: the row of input_index {index} names no file of this output")
                yield index, name, sha256
    except (OSError, KeyError, ValueError, TypeError, pa.ArrowException) as error:
        raise ReceiptError(f"{path} cannot be read: {first_line(error)[:120]}") from None


def _columns(path: AnyPath) -> Iterator[tuple[str, dict[str, list[Any]]]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(parquet_source(path)) as file:
        names = [name for name in _COLUMNS if name in file.schema_arrow.names]
        if names:
            columns = ["input_index", *names, *(f"{name}_sha256" for name in names)]
            for batch in file.iter_batches(columns=columns):
                rows = batch.to_pydict()
                for name in names:
                    yield name, rows


def changed(output: AnyPath, name: str, sha256: str) -> bool:
    """Whether a file is missing or does not match its digest."""
    path = output / name
    return not path.is_file() or sha256_file(path) != sha256


def intact(output: AnyPath, part: str) -> bool:
    """Whether all files of a part are as its rows say; those that are not are removed, so that they are made again."""
    whole = True
    for _, name, sha256 in listed(output / part):
        if changed(output, name, sha256):
            (output / name).unlink(missing_ok=True)
            whole = False
    return whole


def digest(output: AnyPath, parts: list[str]) -> str:
    """Return the SHA-256 over the names and digests of all files in the order of the rows; empty if there are none."""
    state, count = hashlib.sha256(), 0
    for part in parts:
        for _, name, sha256 in listed(output / part):
            state.update(f"{name} {sha256}\n".encode())
            count += 1
    return state.hexdigest() if count else ""


def check(output: AnyPath, parts: list[str]) -> None:
    """Check that each file is there, as its rows say, and that there is no other.

    Raises:
        ReceiptError: names the first that is not.
    """
    for part in parts:
        for index, name, sha256 in listed(output / part):
            if changed(output, name, sha256):
                what = "changed: its digest is not that of its row" if (output / name).exists() else "missing"
                raise ReceiptError(f"{output / name}, of input_index {index}, is {what}")
    extra = next(unlisted(output, parts), None)
    if extra is not None:
        raise ReceiptError(f"{extra} belongs to no row of the receipt")


def unlisted(output: AnyPath, parts: list[str]) -> Iterator[AnyPath]:
    """Yield the files of the folders that no row names: what a killed run left of images that have changed since."""
    present = [folder for folder in FOLDERS if (output / folder).is_dir()]
    if not present:
        return
    keys = _keys(output, parts)
    for folder in present:
        for path in files_of(output / folder):
            key = np.uint64(_key(path.name))
            place = int(np.searchsorted(keys[folder], key))
            if place == len(keys[folder]) or keys[folder][place] != key:
                yield path


def files_of(folder: AnyPath) -> Iterator[AnyPath]:
    """Yield the files of a folder that are named as ours are, in no order."""
    if isinstance(folder, RemotePath):
        yield from (path for path in folder.iterdir() if _FILE.fullmatch(path.name))
    elif folder.is_dir():
        with os.scandir(folder) as entries:
            for entry in entries:
                if _FILE.fullmatch(entry.name):
                    yield folder / entry.name


def _keys(output: AnyPath, parts: list[str]) -> dict[str, NDArray[np.uint64]]:
    """Return a key of each file by folder, sorted: 8 bytes a file, for outputs of any length."""
    found: dict[str, list[NDArray[np.uint64]]] = {folder: [np.empty(0, np.uint64)] for folder in FOLDERS}
    for part in parts:
        numbers: dict[str, list[int]] = {folder: [] for folder in FOLDERS}
        for _, name, _sha256 in listed(output / part):
            folder, _, file = name.partition("/")
            numbers[folder].append(_key(file))
        for folder, values in numbers.items():
            found[folder].append(np.array(values, np.uint64))
    return {folder: np.unique(np.concatenate(arrays)) for folder, arrays in found.items()}


def _key(file: str) -> int:
    return int.from_bytes(hashlib.sha256(file.encode()).digest()[:8], "big")
