"""Tables of images and labels: a CSV file, or `metadata.csv` and `metadata.jsonl` of Hugging Face's `imagefolder`.

    path,label,split
    images/a.jpg,copepod,train

A table's columns are found by their usual names, or given. Paths are relative to the table. Without a column of splits
they are given once, 70 / 10 / 20, and kept. Folders named after splits with a table each are splits as named.

With a separator images have several labels, `copepod|eggs`, and those of an empty cell none.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from drillcore.datasets.adapters.base import Choices, Conversion, inside, split_named
from drillcore.datasets.adapters.tagged import TaggedFolder
from drillcore.datasets.base import SPLIT_FOLDERS
from drillcore.errors import LayoutError

_PATHS = ("path", "file_name", "filename", "file", "image", "image_path", "filepath", "img", "name")
_LABELS = ("label", "class", "label_name", "class_name", "category", "species", "target", "y", "labels", "tags")
_SPLITS = ("split", "set", "subset", "partition", "fold")
_METADATA = ("metadata.csv", "metadata.jsonl")
Row = Mapping[str, str]


def from_table(source: Path, folder: Path, choices: Choices) -> Conversion:
    """Read a CSV file, or the only one in a folder; see the module.

    Raises:
        LayoutError: there is no such table, or its columns cannot be told.
    """
    return _converted([(_only_table(source), None)], folder, choices)


def from_image_folder(source: Path, folder: Path, choices: Choices) -> Conversion:
    """Read folders with `metadata.csv` or `metadata.jsonl`, one for each split or one in all. Raises LayoutError."""
    tables: list[tuple[Path, str | None]] = [(path, None) for name in _METADATA if (path := source / name).is_file()]
    tables += [
        (path, split)
        for word, split in SPLIT_FOLDERS.items()
        for name in _METADATA
        if (path := source / word / name).is_file()
    ]
    if not tables:
        raise LayoutError(
            f"no {' or '.join(_METADATA)} in {source} or in its folders train, validation, test; folders of classes "
            "without a table are imported with --layout classes"
        )
    return _converted(tables, folder, choices)


def _converted(tables: Sequence[tuple[Path, str | None]], folder: Path, choices: Choices) -> Conversion:
    separator, rows = choices.label_separator, 0
    made = Conversion("voc" if separator else "classes", folder)
    tagged = TaggedFolder(made, choices.max_pixels) if separator else None
    for table, split in tables:
        columns: tuple[str, str, str | None] | None = None
        for number, row in enumerate(_rows(table), 2):
            rows += 1
            columns = columns or _columns(table, list(row), choices.columns)
            path, label = (row.get(columns[0]) or "").strip(), (row.get(columns[1]) or "").strip()
            named = bool(label) or (tagged is not None and columns[1] in row)
            where = f"{table.name}, line {number}"
            if not path:
                made.leave_out(where, ("no_image", "the row names no image"))
            elif not named:
                made.leave_out(path, ("no_label", f"{where} has no label"))
            elif (image := inside(table.parent, path)) is None:
                made.leave_out(path, ("unreadable", f"{where} names a file that is not there"))
            else:
                given = split_named(row.get(columns[2]) or "", where) if columns[2] else None
                if tagged is None:
                    made.place(image, label, split or given)
                else:
                    tagged.place(image, label.split(separator), split or given)
    if not rows:
        raise LayoutError(f"{tables[0][0]} has no rows: a line of column names, then a line for each image")
    if tagged is not None:
        tagged.finish()
    return made


def _only_table(source: Path) -> Path:
    if source.is_file():
        return source
    found = sorted(path for path in source.iterdir() if path.suffix.lower() == ".csv")
    if not found and len(inner := [path for path in source.iterdir() if path.is_dir()]) == 1:
        return _only_table(inner[0])
    if len(found) != 1:
        names = ", ".join(path.name for path in found[:5]) or "none"
        raise LayoutError(f"one CSV file is expected in {source}, found: {names}; name the file itself as SOURCE")
    return found[0]


def _rows(table: Path) -> Iterator[Row]:
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LayoutError(f"{table} cannot be read as UTF-8 ({error}); save it as a CSV file in UTF-8") from None
    if table.suffix == ".jsonl":
        for number, line in enumerate(text.splitlines(), 1):
            try:
                found = json.loads(line) if line.strip() else {}
            except ValueError:
                found = None
            if not isinstance(found, dict):
                raise LayoutError(f"{table.name}, line {number}: an object in JSON is expected on each line")
            if found:
                yield {str(key): str(value) for key, value in found.items() if value is not None}
        return
    try:
        dialect: type[csv.Dialect] | csv.Dialect = csv.Sniffer().sniff(text[:8192].splitlines()[0], delimiters=",;\t|")
    except (csv.Error, IndexError):
        dialect = csv.excel
    try:
        for row in csv.DictReader(text.splitlines(), dialect=dialect, strict=True):
            yield {key: value for key, value in row.items() if isinstance(key, str) and isinstance(value, str)}
    except csv.Error as error:
        raise LayoutError(f"{table} is no CSV file ({error})") from None


def _columns(table: Path, names: list[str], given: Sequence[str]) -> tuple[str, str, str | None]:
    """Return the columns of path, label and split; the last may be missing."""
    if missing := [name for name in given if name not in names]:
        raise LayoutError(f"{table.name} has no column {missing[0]!r}; its columns: {', '.join(names)}")
    if len(given) in (2, 3):
        return given[0], given[1], given[2] if len(given) > 2 else None
    known = {name.strip().lower(): name for name in reversed(names)}
    path, label, split = (next((known[word] for word in words if word in known), None) for words in _WORDS)
    if path is None or label is None or given:
        raise LayoutError(
            f"{table.name}: which columns hold path and label? Say --columns PATH,LABEL or PATH,LABEL,SPLIT; its "
            f"columns: {', '.join(names)}"
        )
    return path, label, split


_WORDS = (_PATHS, _LABELS, _SPLITS)
