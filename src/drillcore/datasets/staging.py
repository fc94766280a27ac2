"""The way into the landing zone: a source opened, its files staged beside the zone and swapped in whole."""

from __future__ import annotations

import contextlib
import errno
import filecmp
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from drillcore.datasets.adapters.base import Adapter, Choices, Conversion
from drillcore.datasets.archives import extract_zip
from drillcore.datasets.base import Fault, FoundItem
from drillcore.datasets.description import FILE_NAME
from drillcore.errors import DataError, InputError
from drillcore.progress import progress
from drillcore.settings import Settings


def staging_folder(settings: Settings) -> Path:
    """Return the folder imports are prepared in."""
    # Not inside the landing zone: what a kill leaves behind there would be taken for data.
    return settings.state / "importing"


@contextlib.contextmanager
def scratch(settings: Settings) -> Iterator[Path]:
    """Yield an empty folder, gone afterwards."""
    staging = staging_folder(settings)
    staging.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".partial-", dir=staging))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def opened_source(settings: Settings, source: Path) -> Iterator[Path]:
    """Yield a zip's or folder's content as a folder, for reading; raises as `opened`."""
    with opened(settings, source) as (folder, _):
        yield folder


@contextlib.contextmanager
def opened(settings: Settings, source: Path) -> Iterator[tuple[Path, bool]]:
    """Yield the source as a folder, and whether it is ours to move files out of.

    Raises:
        InputError: there is no such source, it is inside the landing zone, or it is no zip that is taken.
    """
    if not source.exists():
        raise InputError(f"no such file or folder: {source}; a zip or a folder of images is expected")
    if source.is_dir():
        inside = source.resolve()
        if inside == settings.landing.resolve() or settings.landing.resolve() in inside.parents:
            raise InputError(f"{source} is inside the landing zone itself; name the folder the images come from")
        yield source, False
        return
    with scratch(settings) as folder:
        extract_zip(source, folder)
        yield folder, True


@contextlib.contextmanager
def adapted(
    settings: Settings, source: Path, adapter: Adapter | None, choices: Choices | None
) -> Iterator[tuple[Path, bool, Conversion | None]]:
    """Yield the source in one of our layouts, whether its files are ours to move, and what an adapter has made of it.

    Raises:
        InputError: as `opened`; LayoutError: the adapter's tool has not written it.
    """
    if adapter is None:
        with opened(settings, source) as (folder, ours):
            yield folder, ours, None
        return
    single = source.is_file() and source.suffix.lower() != ".zip"  # a table or an annotation file beside its images
    with contextlib.ExitStack() as stack:
        place = source if single else stack.enter_context(opened(settings, source))[0]
        made = adapter(
            place, stack.enter_context(scratch(settings)), choices or Choices(max_pixels=settings.max_pixels)
        )
        yield made.folder, False, made


def link_all(target: Path, staged: Path) -> None:
    """Link what the landing zone has into the staged folder, the description left out."""
    staged.mkdir(parents=True, exist_ok=True)
    with os.scandir(target) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                link_all(Path(entry.path), staged / entry.name)
            elif entry.is_file() and entry.name != FILE_NAME:
                # Both are ours, and the old one goes once the new one is in place.
                os.link(entry.path, f"{staged}/{entry.name}")


def bring(items: Sequence[FoundItem], staged: Path, *, move: bool) -> tuple[int, list[FoundItem]]:
    """Copy or move images and their annotations; return how many images were new, and what is set aside unopened.

    A file that cannot be read, is none, or has the name of another that is there already is set aside.

    Raises:
        OSError: the disk is full, or nothing can be written there.
    """
    added, odd = 0, []
    with progress("importing", len(items)) as advance:
        for item in items:
            fault = item.fault
            if fault is None and item.target is not None and item.target_path is not None:
                fault = _place_fault(item.target, staged / item.target_path)
            if fault is None:
                fault = _place_fault(item.source, staged / item.path)
            if fault is not None:
                odd.append(replace(item, fault=fault))
            else:
                added += _place(item, staged, move=move)
            advance(1)
    return added, odd


def _place(item: FoundItem, staged: Path, *, move: bool) -> bool:
    if item.target is not None and item.target_path is not None:
        place_file(item.target, staged / item.target_path, move=False)
    return place_file(item.source, staged / item.path, move=move)


def _place_fault(source: Path, place: Path) -> Fault | None:
    """Return why a file cannot be brought to its place, None where it can."""
    try:
        if not source.is_file():
            return "unreadable", "no regular file, or a link that leads nowhere"
        with source.open("rb"):
            pass
    except OSError as error:
        return "unreadable", f"cannot be read: {error.strerror}"
    if place.exists() and not filecmp.cmp(source, place, shallow=False):
        return "same_name", f"another image is there as {place.parent.name}/{place.name} already; rename this one"
    return None


def place_file(source: Path, place: Path, *, move: bool) -> bool:
    """Copy or move a file to its place; return whether it was not there yet. Raises OSError."""
    if place.exists():
        return False
    place.parent.mkdir(parents=True, exist_ok=True)
    if move:
        source.rename(place)
    else:
        shutil.copyfile(source, place)
    return True


def swap_in(settings: Settings, name: str) -> None:
    """Put the staged folder in the landing zone's place; `recover_imports` mends a kill in between."""
    target, ready = settings.landing / name, staging_folder(settings) / name
    old = staging_folder(settings) / f"{name}.old"
    shutil.rmtree(old, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        target.rename(old)
    ready.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def recover_imports(settings: Settings) -> None:
    """Finish or undo a swap that a kill interrupted."""
    staging = staging_folder(settings)
    if not staging.is_dir():
        return
    for old in staging.glob("*.old"):
        name = old.name.removesuffix(".old")
        target, ready = settings.landing / name, staging / name
        if not target.exists():
            (ready if ready.exists() else old).rename(target)


@contextlib.contextmanager
def told_in_one_line(settings: Settings, name: str) -> Iterator[None]:
    """Say in one line what the operating system refused; nothing half-written stays."""
    try:
        yield
    except OSError as error:
        shutil.rmtree(staging_folder(settings) / name, ignore_errors=True)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = f"the disk of {settings.state} is full; make room" if full else f"{error}; check the file or folder"
        raise DataError(f"nothing was imported: {reason}, then run the import again") from None
