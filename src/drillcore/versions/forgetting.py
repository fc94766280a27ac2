"""Files taken out of all versions: their objects go from DVC's cache and remote; what lists them stays."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable

from drillcore.digests import sha256_file
from drillcore.errors import DataError
from drillcore.settings import Settings
from drillcore.versions.repository import opened
from drillcore.versions.tree import current_tree, listing_path, tree_of


def objects_of(settings: Settings, paths: Collection[str], versions: Iterable[str]) -> dict[str, set[str]]:
    """Return the objects that some files have been in all versions, MD5 -> all paths below `data/` that were the same.

    Args:
        settings: where the cache and the remote are.
        paths: POSIX, below `data/`, the data set first.
        versions: MD5 of versions beside those whose listings are in the cache, ending in ".dir".

    Raises:
        DataError: a version is neither in the cache nor in the remote, or DVC fails.
    """
    cache = settings.state / "dvc" / "cache" / "files" / "md5"
    known = {path.parent.name + path.name for path in cache.glob("*/*.dir")}
    if absent := sorted(set(versions) - known):
        with opened(settings) as repo:
            repo.pull_objects(absent)
    users, touched = dict[str, set[str]](), set[str]()
    for md5 in sorted({*known, *absent}):
        tree = tree_of(settings, md5)
        if tree is None:
            raise DataError(f"DVC's cache lost the list of files of version {md5[:12]}; run drillcore doctor")
        for entry in tree:
            users.setdefault(entry.md5, set()).add(entry.path)
            if entry.path in paths:
                touched.add(entry.md5)
    return {md5: users[md5] for md5 in touched}


def bring_objects(settings: Settings, md5s: Collection[str]) -> None:
    """Bring objects from the remote that the cache lacks; what neither has is gone already. Raises DataError."""
    absent = [md5 for md5 in md5s if not listing_path(settings, md5).is_file()]
    if absent:
        with opened(settings) as repo, contextlib.suppress(DataError):
            repo.pull_objects(absent)


def holds(settings: Settings, md5: str, digests: Collection[str]) -> bool:
    """Return whether an object in the cache has a content of one of some SHA-256 digests."""
    path = listing_path(settings, md5)
    return path.is_file() and sha256_file(path) in digests


def drop_objects(settings: Settings, md5s: Collection[str]) -> int:
    """Remove objects from DVC's cache and remote, and return how many there were; those that data.dvc names stay.

    Raises:
        DataError: the remote cannot be reached or written.
        OSError: the cache cannot be written.
    """
    named = {entry.md5 for entry in current_tree(settings) or []}
    wanted = sorted(set(md5s) - named)
    if not wanted:
        return 0
    with opened(settings) as repo:
        gone = repo.remove_from_remote(wanted)
    for md5 in wanted:
        path = listing_path(settings, md5)
        if path.is_file():
            path.unlink()
            gone.add(md5)
    return len(gone)
