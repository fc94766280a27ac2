"""What to score: a folder, a list of paths, or a table with a column `path`; kept small for millions of rows."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, overload

from drillcore.errors import InputError
from drillcore.remote import AnyPath, RemotePath, is_url, parquet_source, place
from drillcore.runtime.images.image_files import IMAGE_SUFFIXES
from drillcore.runtime.images.walking import claims_image, is_hidden_path, walk_images

if TYPE_CHECKING:
    import pyarrow as pa

_EXPECTED = "a folder of images, a .txt list of paths, or a CSV or Parquet file with a column path is expected"
_BLOCK = 65_536  # rows that are Python objects at a time


@dataclass(frozen=True, slots=True)
class InputItem:
    """One row of the input.

    Attributes:
        index: its position.
        path: as it is recorded: relative to the folder, or as the list has it.
        file: where it is read from.
    """

    index: int
    path: str
    file: AnyPath


class InputList(Sequence[InputItem]):
    """The rows of an input in order; a path given twice is two rows.

    Args:
        base: relative paths are below it.
        paths: a `pyarrow` array of text, about the text's own size in memory.
    """

    def __init__(self, base: AnyPath, paths: pa.ChunkedArray) -> None:
        self.base, self._paths = base, paths

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> InputItem: ...
    @overload
    def __getitem__(self, index: slice) -> list[InputItem]: ...
    def __getitem__(self, index: int | slice) -> InputItem | list[InputItem]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        path = self._paths[position].as_py()
        return InputItem(position, path, place(path) if is_url(path) else self.base / path)

    def paths(self, start: int = 0, stop: int | None = None) -> Iterator[str]:
        """Yield the recorded paths of a range of rows."""
        stop = len(self) if stop is None else min(stop, len(self))
        for block in range(start, stop, _BLOCK):
            yield from self._paths.slice(block, min(_BLOCK, stop - block)).to_pylist()

    def files(self, start: int = 0, stop: int | None = None) -> Iterator[str]:
        """Yield where the rows of a range are read from."""
        base = self.base.url if isinstance(self.base, RemotePath) else str(self.base)
        for path in self.paths(start, stop):
            yield path if is_url(path) else os.path.join(base, path)  # noqa: PTH118 - ten times faster than Path, once per image

    def digest(self) -> str:
        """Return the SHA-256 of the recorded paths in order; where they are read from is not part of it."""
        state = hashlib.sha256()
        for path in self.paths():
            state.update(path.encode() + b"\0")
        return state.hexdigest()


def list_inputs(source: AnyPath, *, skip: AnyPath | None = None) -> InputList:
    """List what is to be scored, without opening an image.

    Args:
        source: a folder (recursive, sorted by POSIX path, what claims to be an image by `runtime.images.walking`),
            a `.txt` list (one path per line) or a table with a column `path`: a CSV or Parquet file, or a folder of
            Parquet files whose name ends in .parquet. Relative paths are relative to the list's or table's folder.
        skip: a folder whose content is left out, such as an output inside of the source.

    Raises:
        InputError: no such source, not one of these, or nothing in it.
    """
    try:
        if source.is_dir() and is_table(source):
            return _listed(source, _from_parquet(_parts_of(source)))
        if source.is_dir():
            found = InputList(source, _from_folder(source, skip))
            if not len(found):
                suffixes = ", ".join(IMAGE_SUFFIXES)
                raise InputError(f"no images in {source}: files that end in {suffixes} are expected")
            return found
        if not source.exists():
            raise InputError(f"no such input: {source}; {_EXPECTED}")
        if not source.is_file():
            raise InputError(f"{source} is neither a file nor a folder; {_EXPECTED}")
        if source.suffix.lower() == ".txt":
            paths = _from_text(source)
        elif source.suffix.lower() == ".csv":
            paths = _from_csv(source)
        elif is_table(source):
            paths = _from_parquet([source])
        elif source.suffix.lower() in IMAGE_SUFFIXES:
            raise InputError(f"{source} is a single image: use `drillcore predict`; here {_EXPECTED}")
        else:
            raise InputError(f"{source} cannot be used as an input; {_EXPECTED}")
    except OSError as error:
        raise InputError(
            f"cannot read {source}: {error.strerror or str(error).splitlines()[0][:160]}; {_EXPECTED}"
        ) from None
    return _listed(source, paths)


def _listed(source: AnyPath, paths: pa.ChunkedArray) -> InputList:
    if not len(paths):
        raise InputError(f"{source} lists no paths; {_EXPECTED}")
    return InputList(source.parent, paths)


def _from_folder(source: AnyPath, skip: AnyPath | None) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    if isinstance(source, RemotePath):
        paths = packed(_walk_remote(source, skip))
    else:
        paths = packed(walk_images(source, skip=os.path.realpath(skip) if isinstance(skip, Path) else None))
    return paths.take(pc.sort_indices(paths))  # by the bytes of UTF-8, the same everywhere


def packed(paths: Iterator[str]) -> pa.ChunkedArray:
    """Gather texts, of which only some are Python objects at a time."""
    import pyarrow as pa

    chunks = [pa.array([], pa.large_string())]
    while block := list(islice(paths, _BLOCK)):
        chunks.append(pa.array(block, pa.large_string()))
    return pa.concat_arrays(chunks)


def _walk_remote(source: RemotePath, skip: AnyPath | None) -> Iterator[str]:
    """Yield what claims to be an image below a URL; see `walk_images`."""
    prefix = f"{source.url}/"
    inner = f"{skip.url[len(prefix) :]}/" if isinstance(skip, RemotePath) and skip.url.startswith(prefix) else None
    for path in source.walk_files():
        outside = inner is None or not path.startswith(inner)
        if outside and claims_image(path) and not is_hidden_path(path):
            yield path


def _from_text(source: AnyPath) -> pa.ChunkedArray:
    try:
        with io.TextIOWrapper(source.open("rb"), encoding="utf-8-sig", newline="\n") as lines:
            return packed(line.rstrip("\r\n") for line in lines if line.strip())
    except UnicodeDecodeError:
        raise InputError(f"{source} is no list of paths: it is not UTF-8 text; {_EXPECTED}") from None


def _from_csv(source: AnyPath) -> pa.ChunkedArray:
    try:
        with io.TextIOWrapper(source.open("rb"), encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines, strict=True)
            if "path" not in (rows.fieldnames or ()):
                raise InputError(
                    f"{source} has no column path; it has {', '.join(rows.fieldnames or ('none',))}; {_EXPECTED}"
                )
            return packed(row["path"] for row in rows if row["path"])
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{source} is no CSV file in UTF-8 ({error}); {_EXPECTED}") from None


def is_table(source: AnyPath) -> bool:
    """Whether a file or folder is named as a Parquet table."""
    return source.suffix.lower() in (".parquet", ".pq")


def _parts_of(folder: AnyPath) -> list[AnyPath]:
    """Return the files of a table that is a folder, as Spark, Dask and others write it, in the order of their paths."""
    if isinstance(folder, RemotePath):
        names = list(folder.walk_files())
    else:
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    # What begins with _ or . says something about the table, and holds no rows.
    rows = [name for name in names if not any(part.startswith(("_", ".")) for part in name.split("/"))]
    found: list[AnyPath] = [folder / name for name in sorted(rows)]
    if not found:
        raise InputError(f"{folder} holds no parts of a table; {_EXPECTED}")
    return found


def _from_parquet(files: Sequence[AnyPath]) -> pa.ChunkedArray:
    import pyarrow as pa

    return pa.concat_arrays([chunk for file in files for chunk in _column(file).chunks] or [packed(iter(()))])


def _column(source: AnyPath) -> pa.ChunkedArray:
    """Return the paths of one Parquet file as a chunked array of large_string."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(parquet_source(source)) as file:
            if "path" not in file.schema_arrow.names:
                columns = ", ".join(file.schema_arrow.names)
                raise InputError(f"{source} has no column path; it has {columns}; {_EXPECTED}")
            column = file.read(columns=["path"]).column("path")
        kind = column.type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
            column = column.cast(kind)
        if not any(fits(kind) for fits in _text_kinds()):
            raise InputError(f"the column path of {source} holds {kind}; text is expected")
        if pa.types.is_binary_view(kind):  # cannot be cast to text at once
            column = column.cast(pa.large_binary())
        column = column.cast(pa.large_string())
        column.validate(full=True)  # else bytes that are no UTF-8 pass
    except pa.ArrowException as error:
        raise InputError(f"{source} is no Parquet file: {str(error).splitlines()[0][:120]}; {_EXPECTED}") from None
    if column.null_count:
        raise InputError(f"the column path of {source} has {column.null_count} empty rows; a path in each is expected")
    return column


def _text_kinds() -> tuple[Callable[[pa.DataType], bool], ...]:
    """Return what tells the types of text, and of bytes, which some writers make of text."""
    from pyarrow import types

    return (
        types.is_string,
        types.is_large_string,
        types.is_string_view,
        types.is_binary,
        types.is_large_binary,
        types.is_binary_view,
    )
