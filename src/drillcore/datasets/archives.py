"""Zips from strangers: nothing is written outside the folder, nothing grows without bound."""

from __future__ import annotations

import re
import shutil
import stat
import zipfile
import zlib
from pathlib import Path

from drillcore.errors import InputError
from drillcore.progress import progress

MAX_ENTRIES = 2_000_000
# Images hardly compress: a zip that grows a hundredfold is no collection of photographs. Small ones may.
MAX_RATIO = 100
FREE_BYTES = 256 << 20
_RESERVE = 64 << 20  # bytes that stay free on the disk
_BLOCK = 1 << 20
_ENCRYPTED = 0x1
_DRIVE = re.compile(r"^[A-Za-z]:")
_SKIPPED = ("__MACOSX/",)


def extract_zip(source: Path, folder: Path) -> int:
    """Unpack a zip into an empty folder; return the number of files.

    Links, absolute paths, paths that lead outside, encrypted members, and archives that would grow beyond 100 times
    their size (or the disk) are refused before anything is written.

    Raises:
        InputError: no zip, a damaged one, or one that is refused.
        OSError: it cannot be read, or the disk is full.
    """
    if not source.is_file() or not zipfile.is_zipfile(source):
        raise InputError(f"{source} is no zip; a zip or a folder of images is expected")
    try:
        with zipfile.ZipFile(source) as archive:
            members = [info for info in archive.infolist() if _wanted(info, source)]
            _check_sizes(members, source, folder)
            with progress("unpacking", len(members), "files") as advance:
                for info in members:
                    _extract(archive, info, folder, source)
                    advance(1)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeError, RuntimeError) as error:
        raise InputError(f"{source} is damaged or of an unknown kind ({error}); download it again") from None
    return len(members)


def _wanted(info: zipfile.ZipInfo, source: Path) -> bool:
    name = info.filename
    parts = name.split("/")
    if name.startswith(("/", "\\")) or _DRIVE.match(name) or ".." in parts or "\\" in name or "\0" in name:
        raise InputError(f"{source} is refused: member {name[:120]!r} leads outside its folder")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InputError(f"{source} is refused: member {name[:120]!r} is a link or a device; only files are expected")
    if info.flag_bits & _ENCRYPTED:
        raise InputError(f"{source} is encrypted; unpack it yourself and import the folder")
    return not info.is_dir() and not name.startswith(_SKIPPED) and "/__MACOSX/" not in name


def _check_sizes(members: list[zipfile.ZipInfo], source: Path, folder: Path) -> None:
    total, packed = sum(info.file_size for info in members), source.stat().st_size
    if len(members) > MAX_ENTRIES or total > max(FREE_BYTES, MAX_RATIO * packed):
        raise InputError(
            f"{source} is refused: {len(members):,} files, {packed / 1e6:,.0f} MB that would grow to "
            f"{total / 1e6:,.0f} MB; unpack it yourself if you trust it, and import the folder"
        )
    names = {info.filename for info in members}
    if len(names) != len(members):
        raise InputError(f"{source} is refused: it holds several files of the same name")
    free = shutil.disk_usage(folder).free - _RESERVE
    if total > free:
        raise InputError(
            f"{source} needs {total / 1e6:,.0f} MB unpacked, and {max(free, 0) / 1e6:,.0f} MB are free there; make room"
        )


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path, source: Path) -> None:
    place = folder / info.filename
    place.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with archive.open(info) as packed, place.open("xb") as out:
        # A member may hold more than its header says.
        while block := packed.read(_BLOCK):
            written += len(block)
            if written > info.file_size:
                raise InputError(f"{source} is refused: {info.filename[:120]!r} is larger than it says")
            out.write(block)
