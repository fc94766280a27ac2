"""Brings data sets from the landing zone to `data/`, one at a time, and versions to the remote and back.

One data.dvc names a version of all data sets. A data set's update replaces its own files in that version and leaves the
others' as they are, whatever is under `data/` or in the landing zone of theirs.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from drillcore.errors import DataError
from drillcore.files import write_text
from drillcore.settings import Settings
from drillcore.versions.mirroring import mirror
from drillcore.versions.objects import lacking, object_path, put_objects
from drillcore.versions.repository import ensure, opened, turn
from drillcore.versions.tree import (
    Entry,
    Stat,
    cache_folder,
    current_tree,
    dvc_text,
    files_of,
    has_files,
    listing_path,
    md5_of,
    outs_md5,
    read_snapshot,
    refuse_hand_edits,
    snapshot_path,
    stats,
    stats_digest,
    take_snapshot,
    tree_of,
    trusted_landing,
    updating_mark,
    write_tree,
)
from drillcore.versions.unversioned import NO_VERSION

if TYPE_CHECKING:
    from dvc.output import Output


@dataclass(frozen=True, slots=True)
class Version:
    """A version of the data, all data sets together.

    Attributes:
        md5: DVC's digest, ends in ".dir".
        changed: whether the update brought another version than there was.
        nfiles: number of files.
        size: bytes, 0 where it is not known.
    """

    md5: str
    changed: bool
    nfiles: int
    size: int


def data_dvc_text(settings: Settings) -> str:
    """Return the text of data.dvc, which names the version.

    Raises:
        DataError: there is none.
    """
    try:
        return dvc_text(_data_dvc(settings))
    except FileNotFoundError:
        raise DataError(
            f"no data.dvc in {settings.root}; run `drillcore data sample` or `drillcore data import` first"
        ) from None


def update(settings: Settings, *datasets: str, seen: str | None = None) -> Version:
    """Bring data sets of the landing zone to `data/` and record the version in data.dvc.

    Args:
        settings: where things are.
        datasets: names; none: all that are in the landing zone.
        seen: `stats_digest` of the landing zone of the one data set when it was checked.

    Raises:
        DataError: `data/` was edited by hand, the landing zone is empty or no longer as it was seen, DVC fails.
        OSError: the disk is full or a folder cannot be written; the next update mends `data/`.
    """
    ensure(settings)
    names = datasets or tuple(sorted(path.name for path in settings.landing.iterdir() if path.is_dir()))
    with turn(settings):
        for name in names:
            refuse_hand_edits(settings, name)
        if not any(has_files(settings.landing / name) for name in names):
            raise DataError(
                f"the landing zone {settings.landing} is empty; the last good version stays; "
                "run `drillcore data sample` or `drillcore data import`"
            )
        path = _data_dvc(settings)
        before = outs_md5(dvc_text(path)) if path.is_file() else None
        with _version(settings) as draft:
            for name in names:
                _bring(settings, draft, name, seen)
        return draft.version(before)


def remove(settings: Settings, dataset: str) -> None:
    """Take a data set out of `data/` and of the version that data.dvc names; versions there were keep it.

    Raises:
        DataError: DVC fails.
        OSError: a folder cannot be written.
    """
    with turn(settings):
        shutil.rmtree(settings.data / dataset, ignore_errors=True)
        if not _folders(settings):
            if _data_dvc(settings).is_file():
                write_text(_data_dvc(settings), NO_VERSION)
        elif files_of(current_tree(settings) or [], dataset):
            with _version(settings) as draft:
                draft.put(dataset, [])
        for path in (updating_mark(settings, dataset), snapshot_path(settings, dataset)):
            path.unlink(missing_ok=True)


class _Draft:
    """The files of the version that is made: those of the version before until a data set's are put in their place."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = list(entries)
        self.sizes: dict[str, int] = {}  # bytes of the data sets that were put
        self.md5 = ""
        self.size: int | None = None

    def put(self, dataset: str, entries: Iterable[Entry], size: int = 0) -> None:
        """Replace a data set's files."""
        self.entries = [entry for entry in self.entries if not entry.path.startswith(f"{dataset}/")]
        self.entries += entries
        self.sizes[dataset] = size

    def version(self, before: str | None) -> Version:
        """Return what was written."""
        return Version(md5=self.md5, changed=self.md5 != before, nfiles=len(self.entries), size=self.size or 0)


@contextlib.contextmanager
def _version(settings: Settings) -> Iterator[_Draft]:
    """Yield the files of the version that data.dvc names; what became of them is written to data.dvc.

    Where the version's listing is lost, it comes from the remote, else from what lies under `data/`.
    """
    path = _data_dvc(settings)
    fresh = not path.is_file()
    if fresh:
        write_text(path, NO_VERSION)
    try:
        md5 = outs_md5(dvc_text(path))
        with opened(settings) as repo, repo.held():
            [stage] = list(repo.stage.collect(str(path)))
            draft = _Draft([] if md5 is None else _listed(settings, stage.outs[0], md5))
            yield draft
            draft.md5, draft.size = write_tree(settings, draft.entries), _size(settings, draft)
            repo.describe(stage, draft.md5, files=len(draft.entries), size=draft.size)
    except BaseException:
        if fresh:
            path.unlink(missing_ok=True)
        raise


def _listed(settings: Settings, out: Output, md5: str) -> list[Entry]:
    listing = tree_of(settings, md5)
    if listing is None:
        listing_path(settings, md5).unlink(missing_ok=True)
        if out.get_dir_cache() is not None:
            listing = tree_of(settings, md5)
    if listing is None:
        listing_path(settings, md5).unlink(missing_ok=True)  # the remote's may be no better
        names = sorted(_folders(settings))
        listing = [entry for name in names for entry in _kept(settings, name, stats(settings.data, name), {})]
    return listing


def _bring(settings: Settings, draft: _Draft, name: str, seen: str | None) -> None:
    """Do for one data set what `dvc update data.dvc` does for all, but copy and read only the files that differ.

    DVC removes `data/` and downloads all of it again: minutes for 30,000 images of which 300 are new, all of which
    would then be looked at again since their times are new.
    """
    source, target = settings.landing / name, settings.data / name
    recorded = {entry.path: entry.md5 for entry in files_of(draft.entries, name)}
    seen = seen or stats_digest(stats(settings.landing, name))
    with _rewriting(settings, name) as left:
        mirror(source, target, trusted=trusted_landing(settings, name))
        if stats_digest(stats(settings.landing, name)) != seen:
            raise DataError(
                f"the landing zone of data set {name} changes while it is read; wait until the copy into it has ended, "
                "then run this again"
            )
        left.files = stats(settings.data, name)
        entries = _kept(settings, name, left.files, recorded)
        draft.put(name, entries, sum(stat[0] for stat in left.files.values()))


def _kept(settings: Settings, name: str, found: Mapping[str, Stat], recorded: Mapping[str, str]) -> list[Entry]:
    """Bring the files of `data/<name>` to DVC's cache and return them; read are those that are not as they were left.

    Args:
        settings: where things are.
        name: of the data set.
        found: its files.
        recorded: their MD5 in the last version, by path.
    """
    snapshot = read_snapshot(settings, name) or {}
    entries = [
        Entry(path, recorded[path] if path in recorded and snapshot.get(path) == stat else md5_of(settings.data / path))
        for path, stat in found.items()
    ]
    absent = set(lacking(cache_folder(settings), (entry.md5 for entry in entries)))
    sources = {entry.md5: settings.data / entry.path for entry in entries if entry.md5 in absent}
    put_objects(cache_folder(settings), sources, "keeping")
    return entries


def _size(settings: Settings, draft: _Draft) -> int | None:
    """Return the bytes of all files of a version, None where some of another data set are not here."""
    total = sum(draft.sizes.values())
    for name in {entry.path.partition("/")[0] for entry in draft.entries} - draft.sizes.keys():
        found = stats(settings.data, name)
        paths = [entry.path for entry in files_of(draft.entries, name)]
        if not found.keys() >= set(paths):
            return None
        total += sum(found[path][0] for path in paths)
    return total


def push(settings: Settings) -> int:
    """Send the current version to the remote; return how many objects were sent.

    Raises:
        DataError: the remote cannot be reached or written.
    """
    with opened(settings) as repo:
        remote, md5 = repo.remote_folder(), outs_md5(data_dvc_text(settings))
        entries = None if remote is None or md5 is None else tree_of(settings, md5)
        if remote is None or md5 is None or entries is None:
            return int(repo.push([str(_data_dvc(settings))]))
        cache = cache_folder(settings)
        absent = lacking(remote, (entry.md5 for entry in entries))
        if lacking(cache, absent):  # DVC sends what there is
            return int(repo.push([str(_data_dvc(settings))]))
        count = 0
        # The listing last: where it is, all that it lists is.
        for md5s in (absent, lacking(remote, [md5])):
            put_objects(remote, {one: object_path(cache, one) for one in md5s}, "pushing")
            count += len(md5s)
    return count


def pull(settings: Settings) -> None:
    """Bring the version that data.dvc names from the remote to `data/`.

    Raises:
        DataError: `data/` was edited by hand, or the remote does not have that version.
    """
    with turn(settings):
        _check_out(settings)


def restore(settings: Settings, text: str) -> None:
    """Bring `data/` and data.dvc to an earlier version, for a rebuild; what the cache lacks comes from the remote.

    Args:
        settings: where things are.
        text: what data.dvc was then.

    Raises:
        DataError: `data/` was edited by hand, the text is no data.dvc, or neither cache nor remote has that version;
            then everything is as it was.
    """
    outs_md5(text)
    path = _data_dvc(settings)
    with turn(settings):
        before = dvc_text(path) if path.is_file() else None
        _refuse_any_hand_edit(settings)
        write_text(path, text)
        try:
            _check_out(settings)
        except DataError as error:
            if before is None:
                path.unlink(missing_ok=True)
            else:
                write_text(path, before)
                with contextlib.suppress(DataError):
                    _check_out(settings)
            raise DataError(f"neither the DVC cache nor the remote has that version of the data ({error})") from None


def write_out(settings: Settings, dataset: str, md5: str, folder: Path) -> int:
    """Write a data set's files as they were in an earlier version below `folder`; return how many.

    Args:
        settings: where the cache and the remote are.
        dataset: its name; paths below `folder` begin below it.
        md5: names the version, as data.dvc did then; ends in ".dir".
        folder: where the files go.

    Raises:
        DataError: neither the DVC cache nor the remote has all of it.
        OSError: a file cannot be written.
    """
    with opened(settings) as repo:
        if tree_of(settings, md5) is None:
            listing_path(settings, md5).unlink(missing_ok=True)
            repo.pull_objects([md5])
        entries = files_of(tree_of(settings, md5) or [], dataset)
        lost = [entry for entry in entries if md5_of(listing_path(settings, entry.md5)) != entry.md5]
        for entry in lost:
            listing_path(settings, entry.md5).unlink(missing_ok=True)
        if lost:
            repo.pull_objects(entry.md5 for entry in lost)
    if not entries or any(not listing_path(settings, entry.md5).is_file() for entry in lost):
        raise DataError(f"neither the DVC cache nor the remote has that version of data set {dataset}")
    for entry in entries:
        place = folder / entry.path.partition("/")[2]
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(listing_path(settings, entry.md5), place)
    return len(entries)


def _check_out(settings: Settings) -> None:
    text = data_dvc_text(settings)
    md5 = outs_md5(text)
    if md5 is None:
        raise DataError("data.dvc names no version yet")
    _refuse_any_hand_edit(settings)
    names = {entry.path.split("/", 1)[0] for entry in tree_of(settings, md5) or []}
    with contextlib.ExitStack() as stack:
        for name in sorted(names | _folders(settings)):
            stack.enter_context(_rewriting(settings, name))
        repo = stack.enter_context(opened(settings))
        target = str(_data_dvc(settings))
        if tree_of(settings, md5) is None:
            repo.pull([target], force=True)
        else:
            repo.checkout([target], force=True)


def _refuse_any_hand_edit(settings: Settings) -> None:
    for name in sorted(_folders(settings)):
        refuse_hand_edits(settings, name)


def _folders(settings: Settings) -> set[str]:
    return {path.name for path in settings.data.glob("*/")} if settings.data.is_dir() else set()


@dataclass(slots=True)
class _Left:
    """What `data/<dataset>` holds when it has been rewritten; None: nobody has looked."""

    files: Mapping[str, Stat] | None = None


@contextlib.contextmanager
def _rewriting(settings: Settings, dataset: str) -> Iterator[_Left]:
    """Mark that `data/<dataset>` is rewritten; a mark left by a kill says that what is there is no hand's work."""
    mark = updating_mark(settings, dataset)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    left = _Left()
    yield left
    take_snapshot(settings, dataset, left.files)
    mark.unlink(missing_ok=True)


def _data_dvc(settings: Settings) -> Path:
    return settings.root / "data.dvc"
