"""Paths on object stores and whatever else fsspec knows, with the part of pathlib's manners that scoring needs.

An object appears whole or not at all, so nothing is renamed; there are no folders to make. Credentials come from the
environment, as each store's own client reads them. Objects are read and written as a whole.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import functools
import importlib.util
import io
import ipaddress
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias

from drillcore.errors import InputError, UrlError, first_line

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_LOCAL = ("file", "local")
_BUCKETS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "memory")  # folders are names only


@dataclass(frozen=True, slots=True, order=True)
class RemotePath:
    """A place below a URL; errors of the store are OSErrors. Make one by `place`.

    Attributes:
        url: without a slash at its end, but for a store's root, such as memory://.
    """

    url: str

    def __str__(self) -> str:
        return re.sub(r"(?<=//)([^:/@]*):[^@/]*@", r"\1:***@", self.url)

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self.url}{'' if self.url.endswith('://') else '/'}{name}")

    @property
    def name(self) -> str:
        """What follows the last slash."""
        return self.url.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The end of the name, with its dot."""
        return Path(self.name).suffix

    @property
    def parent(self) -> RemotePath:
        """What precedes the last slash; the root is its own parent."""
        return RemotePath(_without_end(self.url.rpartition("/")[0] + "/"))

    @property
    def fs(self) -> AbstractFileSystem:
        """The file system, one for all paths of a store."""
        with _os_errors(self):
            scheme, _, rest = self.url.partition("://")
            return _file_system(f"{scheme}://{rest.partition('/')[0]}", os.getpid())

    @property
    def key(self) -> str:
        """The path as the file system has it."""
        return str(self.fs._strip_protocol(self.url))

    def absolute(self) -> RemotePath:
        """Return itself."""
        return self

    def exists(self) -> bool:
        """Whether there is an object or anything below."""
        with _os_errors(self):
            return bool(self.fs.exists(self.key))

    def is_file(self) -> bool:
        """Whether there is an object."""
        with _os_errors(self):
            return bool(self.fs.isfile(self.key))

    def is_dir(self) -> bool:
        """Whether there is anything below."""
        with _os_errors(self):
            return bool(self.fs.isdir(self.key))

    def read_bytes(self) -> bytes:
        """Return the object."""
        with _os_errors(self):
            data: bytes = self.fs.cat_file(self.key)
            return data

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the object as text."""
        return self.read_bytes().decode(encoding)

    def open(self, mode: str = "rb") -> io.BytesIO:
        """Return the object as a stream that can be sought in."""
        if mode != "rb":
            raise ValueError(f"objects are opened to be read, mode 'rb', not {mode!r}")
        return io.BytesIO(self.read_bytes())

    def write_bytes(self, data: bytes | memoryview) -> None:
        """Put an object in one step."""
        with _os_errors(self):
            self._make_folder()
            self.fs.pipe_file(self.key, bytes(data))

    def create_bytes(self, data: bytes | memoryview) -> bool:
        """Put an object unless there is one; return whether it was put."""
        with _os_errors(self):
            self._make_folder()
            try:
                self.fs.pipe_file(self.key, bytes(data), mode="create")
            except FileExistsError:
                return False
            except (NotImplementedError, TypeError, ValueError):  # a store without conditional writes
                if self.fs.exists(self.key):
                    return False
                self.fs.pipe_file(self.key, bytes(data))
            return True

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Remove the object."""
        with _os_errors(self):
            try:
                self.fs.rm_file(self.key)
            except FileNotFoundError:
                if not missing_ok:
                    raise

    def mkdir(self, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a folder is there as soon as something is in it."""

    def rmdir(self) -> None:
        """Do nothing: a folder is gone with what was in it."""

    def iterdir(self) -> Iterator[RemotePath]:
        """Yield what is directly below, nothing where there is nothing."""
        with _os_errors(self):
            try:
                found = self.fs.ls(self.key, detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return
        for key in sorted(found):
            name = key.rstrip("/").rpartition("/")[2]
            if name and key.rstrip("/") != self.key.rstrip("/"):
                yield self / name

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """Yield what is directly below and whose name fits."""
        return (path for path in self.iterdir() if fnmatch.fnmatchcase(path.name, pattern))

    def walk_files(self) -> Iterator[str]:
        """Yield the paths of all objects below, relative to this one."""
        start = len(self.key.rstrip("/")) + 1
        with _os_errors(self):
            for key in self.fs.find(self.key):
                yield key[start:]

    def walk_stamps(self) -> Iterator[tuple[str, str]]:
        """Yield the paths of all objects below, relative to this one, each with what changes when the object does."""
        start = len(self.key.rstrip("/")) + 1
        with _os_errors(self):
            for key, about in self.fs.find(self.key, detail=True).items():
                marks = (about.get(name) for name in ("size", "ETag", "etag", "md5Hash", "generation", "mtime"))
                times = (about.get(name) for name in ("LastModified", "last_modified", "updated", "created"))
                yield key[start:], ":".join(str(mark) for mark in (*marks, *times) if mark is not None)

    def _make_folder(self) -> None:
        protocols = self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,)
        if not set(protocols) & set(_BUCKETS):
            self.fs.makedirs(self.parent.key, exist_ok=True)


@functools.cache
def _file_system(store: str, process: int) -> AbstractFileSystem:
    """Return the file system of scheme and host; fsspec's own cache would make one, with connections, per thread."""
    import fsspec

    # Another process' objects must be seen: listings are not kept.
    return fsspec.core.url_to_fs(store, use_listings_cache=False)[0]


AnyPath: TypeAlias = Path | RemotePath


def is_url(text: str) -> bool:
    """Whether a text is a URL and no path of this machine."""
    return _URL.match(text) is not None


def place(text: str) -> AnyPath:
    """Return the path that a text means: a URL that fsspec knows, or a path of this machine.

    Raises:
        UrlError: a URL of a kind that is not read.
        InputError: one whose client is not installed.
    """
    found = _URL.match(text)
    if found is None and "::" not in text:
        return Path(text)
    if "::" in text and (found is None or "::" in text[: found.end()]):
        if found is None and not re.match(r"[a-z0-9+.-]+::[a-z0-9+.-]+://", text):
            return Path(text)
        raise UrlError(f"{text}: chained URLs are not read; a plain one, such as s3://bucket/folder, is expected")
    protocol = found.group(1).lower() if found else ""
    if importlib.util.find_spec("fsspec") is None:
        raise InputError(f"{protocol}:// needs fsspec, which is not installed: pip install 'drillcore[cluster]'")
    import fsspec

    if protocol in _LOCAL:
        return Path(fsspec.core.url_to_fs(text)[1])
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        raise InputError(f"{protocol}:// cannot be used: {first_line(error)}") from None
    except ValueError:
        raise UrlError(
            f"{text}: unknown kind of URL {protocol!r}; a path or, for instance, s3:// is expected"
        ) from None
    return RemotePath(_without_end(text))


def _without_end(url: str) -> str:
    """Return a URL without slashes at its end; those behind its scheme stay."""
    scheme, mark, rest = url.partition("://")
    return f"{scheme}{mark}{rest.rstrip('/')}"


def host_of(url: str) -> str:
    """Return what a URL names after its scheme, in lower case: a host without user and port, or a bucket."""
    rest = url.partition("://")[2].partition("/")[0].rpartition("@")[2]
    host = rest.partition("]")[0].removeprefix("[") if rest.startswith("[") else rest.partition(":")[0]
    return host.lower()


def parquet_source(path: AnyPath) -> Path | IO[bytes]:
    """Return what pyarrow opens."""
    return path if isinstance(path, Path) else path.open("rb")


def read_many(paths: Sequence[RemotePath]) -> list[bytes | None]:
    """Return objects of one store, read side by side; None for those that are not there."""
    if not paths:
        return []
    keys = [path.key for path in paths]
    with _os_errors(paths[0]):
        found = paths[0].fs.cat(keys, on_error="return")
        if isinstance(found, bytes):
            return [found]
        for value in found.values():
            if isinstance(value, Exception) and not isinstance(value, FileNotFoundError):
                raise value
        return [value if isinstance(value := found[key], bytes) else None for key in keys]


@contextlib.contextmanager
def _os_errors(path: RemotePath) -> Iterator[None]:
    """Turn whatever a store's client raises into an OSError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # clients raise types of their own
        raise OSError(errno.EIO, f"{type(error).__name__}: {first_line(error)}", str(path)) from error


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0"), is_loopback("localhost")
    (True, True, False, True)
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
