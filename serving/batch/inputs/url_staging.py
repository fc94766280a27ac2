"""Images behind URLs, brought to files of this machine ahead of the decoders and removed after them.

Files and not bytes: the decoders are processes that read for themselves, and a scene's georeference is read from its
file too. On disk there are at no time more than a window or two.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from drillcore.ahead import run_ahead
from drillcore.errors import DrillcoreError, UrlError, first_line
from drillcore.remote import RemotePath, host_of, is_url, place
from drillcore.runtime.batch.windows import Window
from drillcore.runtime.images.decode_pool import DecodePool
from drillcore.runtime.images.decode_worker import MISSING, DecodedImage
from drillcore.runtime.images.image_files import MAX_FILE_BYTES
from drillcore_serving.batch.inputs.store_errors import reason_of

_AT_A_TIME = 16  # requests
_AHEAD = 64  # files
_TRIES = 4
_PAUSE = 0.5  # seconds, doubled each time


class Staging:
    """Stands between a list of files, of which some are URLs, and a pool of decoders.

    Args:
        pool: the decoders, entered.
        hold: keep each file until its window is answered; else it goes once it is decoded.
        hosts: patterns of hosts and buckets that may be asked; images elsewhere are set aside.
    """

    def __init__(self, pool: DecodePool, *, hold: bool, hosts: Sequence[str] = ("*",)) -> None:
        self.pool, self.hold, self.hosts = pool, hold, tuple(hosts)
        self._folder: str | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._refused: dict[str, tuple[str, str]] = {}
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def stream(self, paths: Iterable[str]) -> Iterator[list[DecodedImage]]:
        """Yield the images of `paths` in order; see `DecodePool.stream`.

        Raises:
            DrillcoreError: a store does not answer; an image that is not there, or not to be read, is set aside.
        """
        for images in self.pool.stream(self._bring(paths)):
            for item in images:
                if item.path in self._refused:
                    item.reason, item.detail = self._refused.pop(item.path)
            if not self.hold:
                self._remove(images)
            yield images

    def release(self, window: Window) -> None:
        """Remove the files of a window that is answered."""
        if self.hold:
            self._remove(window.images)

    def _bring(self, paths: Iterable[str]) -> Iterator[str]:
        return run_ahead(lambda path: self._start(path) if is_url(path) else lambda: path, paths, _AHEAD)

    def _start(self, url: str) -> Callable[[], str]:
        if self._threads is None or self._folder is None:
            self._threads = ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="fetch")
            self._folder = tempfile.mkdtemp(prefix="drillcore-inputs-")
        self._count += 1
        name = url.rpartition("/")[2][-100:]  # the decoder compares the suffix with the content
        target = os.path.join(self._folder, str(self._count), name if name.strip(".") else "image")  # noqa: PTH118
        return self._threads.submit(self._fetch, url, target).result

    def _fetch(self, url: str, target: str) -> str:
        try:
            source = place(url)
        except UrlError as error:
            self._refused[target] = ("unreadable", str(error))
            return target
        if not isinstance(source, RemotePath):
            return str(source)
        if not any(fnmatch.fnmatchcase(host_of(url), pattern) for pattern in self.hosts):
            self._refused[target] = ("unreadable", f"{source}: its host is not among DRILLCORE_LIST_HOSTS")
            return target
        os.mkdir(os.path.dirname(target))  # noqa: PTH102, PTH120 - once per image
        # A host that may be asked could send elsewhere.
        more = {} if "*" in self.hosts or not url.lower().startswith("http") else {"allow_redirects": False}
        for number in range(_TRIES):
            try:
                source.fs.get_file(source.key, target, callback=_limit(), **more)
            except _TooLargeError as error:
                self._refused[target] = (
                    "too_large",
                    f"{source.name} has {error} bytes; at most {MAX_FILE_BYTES} are read",
                )
            except Exception as error:  # clients raise types of their own
                reason = reason_of(error)
                if not reason:
                    if number + 1 == _TRIES:
                        raise DrillcoreError(
                            f"{source} cannot be read: {type(error).__name__}: {first_line(error)}; "
                            "what was finished stays: run the same again"
                        ) from error
                    time.sleep(_PAUSE * 2**number)
                    continue
                if reason != MISSING:  # else the decoder finds no file, and says so
                    self._refused[target] = (reason, f"{source} cannot be read: {first_line(error)}")
            else:
                return target
            with contextlib.suppress(OSError):
                Path(target).unlink()
            return target
        return target

    def _remove(self, images: Iterable[DecodedImage]) -> None:
        if self._folder is None:
            return
        for item in images:
            if item.path.startswith(self._folder):
                shutil.rmtree(os.path.dirname(item.path), ignore_errors=True)  # noqa: PTH120 - once per image


class _TooLargeError(Exception):
    pass


def _limit() -> object:
    """Return what stops a download of more than is ever decoded, before it begins."""
    from fsspec.callbacks import Callback

    class Limit(Callback):
        def set_size(self, size: int | None) -> None:
            if size is not None and size > MAX_FILE_BYTES:
                raise _TooLargeError(size)

    return Limit()
