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
from drillcore.runtime.images.walking import is_hidden

MAX_ENTRIES = 2_000_000
# Images hardly compress: a zip that grows a hundredfold is no collection of photographs. Small ones may.
MAX_RATIO = 100
FREE_BYTES = 256 << 20
_RESERVE = 64 << 20  # bytes that stay free on the disk
_BLOCK = 1 << 20
_ENCRYPTED, _UTF8 = 0x1, 0x800  # flags of a member
_READ = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_COMPRESSIONS = {
    1: "Shrink",
    2: "Reduce",
    3: "Reduce",
    4: "Reduce",
    5: "Reduce",
    6: "Implode",
    9: "Deflate64",
    10: "PKWARE's Implode",
    18: "TERSE",
    19: "LZ77",
    20: "Zstandard",
    93: "Zstandard",
    94: "MP3",
    95: "XZ",
    96: "JPEG",
    97: "WavPack",
    98: "PPMd",
    99: "AES",
}
_DRIVE = re.compile(r"^[A-Za-z]:")


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
            members = [(info, name) for info in archive.infolist() if (name := _stored_name(info, source))]
            _check_sizes(members, source, folder)
            with progress("unpacking", len(members), "files") as advance:
                for info, name in members:
                    _extract(archive, info, folder / name, source)
                    advance(1)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeError, RuntimeError) as error:
        raise InputError(f"{source} is damaged or of an unknown kind ({error}); download it again") from None
    return len(members)


def _stored_name(info: zipfile.ZipInfo, source: Path) -> str:
    """Return where a member goes, "" for one that is left out. Raises InputError: the archive is refused."""
    # Programs that do not know the format write the separator of Windows.
    name = _decoded(info, source).replace("\\", "/")
    parts = name.split("/")
    if name.startswith("/") or _DRIVE.match(name) or ".." in parts or "\0" in name:
        raise InputError(f"{source} is refused: member {name[:120]!r} leads outside its folder")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InputError(f"{source} is refused: member {name[:120]!r} is a link or a device; only files are expected")
    if info.flag_bits & _ENCRYPTED:
        raise InputError(f"{source} is encrypted; unpack it yourself and import the folder")
    if name.endswith("/") or any(is_hidden(part) for part in parts):
        return ""
    if info.compress_type not in _READ:
        packed = _COMPRESSIONS.get(info.compress_type, f"method {info.compress_type}")
        raise InputError(
            f"{source} is compressed with {packed}, which is not read; unpack it yourself and import the folder, or "
            "pack it again with Deflate"
        )
    return name


def _decoded(info: zipfile.ZipInfo, source: Path) -> str:
    """Return a member's name; one that is not said to be UTF-8 must be that, or ASCII."""
    if info.flag_bits & _UTF8 or info.filename.isascii():
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")  # as some programs write it, without saying so
    except UnicodeError:
        raise InputError(
            f"{source} does not say in which encoding its names are ({info.filename[:60]!r} if taken for the first "
            "PC's); unpack it yourself, for instance with unzip -O shift_jis, and import the folder"
        ) from None


def _check_sizes(members: list[tuple[zipfile.ZipInfo, str]], source: Path, folder: Path) -> None:
    total, packed = sum(info.file_size for info, _ in members), source.stat().st_size
    if len(members) > MAX_ENTRIES or total > max(FREE_BYTES, MAX_RATIO * packed):
        raise InputError(
            f"{source} is refused: {len(members):,} files, {packed / 1e6:,.0f} MB that would grow to "
            f"{total / 1e6:,.0f} MB; unpack it yourself if you trust it, and import the folder"
        )
    names = {name for _, name in members}
    if len(names) != len(members):
        raise InputError(f"{source} is refused: it holds several files of the same name")
    free = shutil.disk_usage(folder).free - _RESERVE
    if total > free:
        raise InputError(
            f"{source} needs {total / 1e6:,.0f} MB unpacked, and {max(free, 0) / 1e6:,.0f} MB are free there; make room"
        )


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, place: Path, source: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with archive.open(info) as packed, place.open("xb") as out:
        # A member may hold more than its header says.
        while block := packed.read(_BLOCK):
            written += len(block)
            if written > info.file_size:
                raise InputError(f"{source} is refused: {info.filename[:120]!r} is larger than it says")
            out.write(block)
