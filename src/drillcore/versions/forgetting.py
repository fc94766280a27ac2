"""Files taken out of all versions: their objects go from DVC's cache and remote; what lists them stays."""

from __future__ import annotations

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
        DataError: the remote is not there, a version is neither in the cache nor in it, or DVC fails.
    """
    cache = settings.state / "dvc" / "cache" / "files" / "md5"
    known = {path.parent.name + path.name for path in cache.glob("*/*.dir")}
    absent = sorted(set(versions) - known)
    if not known and not absent:
        return {}
    with opened(settings) as repo:
        repo.pull_objects(repo.in_remote(absent))
    users, touched = dict[str, set[str]](), set[str]()
    for md5 in sorted({*known, *absent}):
        tree = tree_of(settings, md5)
        if tree is None:
            raise DataError(f"DVC's cache lost the list of files of version {md5[:12]}; run drillcore doctor")
        if any("/" not in entry.path for entry in tree):
            continue  # DVC's list of one data set, part of a version: its paths lack the data set
        for entry in tree:
            users.setdefault(entry.md5, set()).add(entry.path)
            if entry.path in paths:
                touched.add(entry.md5)
    return {md5: users[md5] for md5 in touched}


def bring_objects(settings: Settings, md5s: Collection[str]) -> None:
    """Bring objects from the remote that the cache lacks; what neither has is gone already.

    Raises:
        DataError: the remote is not there, or has objects that cannot be brought, so that nobody can look at them.
    """
    absent = [md5 for md5 in md5s if not listing_path(settings, md5).is_file()]
    if not absent:
        return
    with opened(settings) as repo:
        there = repo.in_remote(absent)
        repo.pull_objects(there)
    if lost := [md5 for md5 in there if not listing_path(settings, md5).is_file()]:
        raise DataError(
            f"{len(lost)} files of the DVC remote could not be brought, so that nobody knows whether they are to go; "
            "nothing was removed. Look at the remote and the disk, then forget"
        )


def holds(settings: Settings, md5: str, digests: Collection[str]) -> bool:
    """Return whether an object in the cache has a content of one of some SHA-256 digests."""
    path = listing_path(settings, md5)
    return path.is_file() and sha256_file(path) in digests


def drop_objects(settings: Settings, md5s: Collection[str]) -> list[str]:
    """Remove objects from DVC's cache and remote; return the paths of those that stay, since data.dvc names them.

    Raises:
        DataError: the remote is not there.
        OSError: the cache or the remote cannot be written.
    """
    kept = [entry for entry in current_tree(settings) or [] if entry.md5 in set(md5s)]
    wanted = sorted(set(md5s) - {entry.md5 for entry in kept})
    if wanted:
        with opened(settings) as repo:
            repo.remove_from_remote(wanted)
        for md5 in wanted:
            listing_path(settings, md5).unlink(missing_ok=True)
    return sorted(entry.path for entry in kept)
