"""Brings data sets from the landing zone to `data/`, one at a time, and versions to the remote and back.

One data.dvc names a version of all data sets. A data set's update replaces its own files in that version and leaves the
others' as they are, whatever is under `data/` or in the landing zone of theirs.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from drillcore.errors import DataError
from drillcore.files import write_text
from drillcore.settings import Settings
from drillcore.versions.mirroring import mirror
from drillcore.versions.repository import ensure, opened, turn
from drillcore.versions.tree import (
    Stat,
    current_tree,
    dvc_text,
    files_of,
    listing_path,
    md5_of,
    outs_md5,
    read_snapshot,
    refuse_hand_edits,
    snapshot_path,
    stats,
    take_snapshot,
    tree_of,
    trusted_landing,
    updating_mark,
)
from drillcore.versions.unversioned import NO_VERSION

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.stage import Stage

    from drillcore.versions.dvc_repository import Repository


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


def update(settings: Settings, *datasets: str, seen: Mapping[str, Stat] | None = None) -> Version:
    """Bring data sets of the landing zone to `data/` and record the version in data.dvc.

    Args:
        settings: where things are.
        datasets: names; none: all that are in the landing zone.
        seen: what was in the landing zone when it was checked.

    Raises:
        DataError: `data/` was edited by hand, the landing zone is empty or no longer as it was seen, DVC fails.
        OSError: the disk is full or a folder cannot be written; the next update mends `data/`.
    """
    ensure(settings)
    names = datasets or tuple(sorted(path.name for path in settings.landing.iterdir() if path.is_dir()))
    with turn(settings):
        for name in names:
            refuse_hand_edits(settings, name)
        if not names or not any(stats(settings.landing, name) for name in names):
            raise DataError(
                f"the landing zone {settings.landing} is empty; the last good version stays; "
                "run `drillcore data sample` or `drillcore data import`"
            )
        path = _data_dvc(settings)
        before = outs_md5(dvc_text(path)) if path.is_file() else None
        with _version(settings) as (repo, out):
            for name in names:
                _bring(settings, repo, out, name, stats(settings.landing, name) if seen is None else seen)
        md5, meta = str(out.hash_info.value), out.meta
    return Version(md5=md5, changed=md5 != before, nfiles=int(meta.nfiles or 0), size=int(meta.size or 0))


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
            with _version(settings) as (_, out):
                out.add(path=str(settings.data / dataset), relink=False)
        for path in (updating_mark(settings, dataset), snapshot_path(settings, dataset)):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _version(settings: Settings) -> Iterator[tuple[Repository, Output]]:
    """Yield DVC's repository and the output that data.dvc describes; what became of the output is written to data.dvc.

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
            out = stage.outs[0]
            if md5 is not None and tree_of(settings, md5) is None:
                _mend_listing(settings, repo, out, md5)
            yield repo, out
            _describe(settings, stage)
            stage.dump()
    except BaseException:
        if fresh:
            path.unlink(missing_ok=True)
        raise


def _mend_listing(settings: Settings, repo: Repository, out: Output, md5: str) -> None:
    listing_path(settings, md5).unlink(missing_ok=True)
    if out.get_dir_cache() is not None and tree_of(settings, md5) is not None:
        return
    listing_path(settings, md5).unlink(missing_ok=True)  # the remote's may be no better
    repo.forget(out)
    for folder in sorted(path for path in settings.data.glob("*/") if stats(path)):
        out.add(path=str(folder), relink=False)


def _bring(settings: Settings, repo: Repository, out: Output, name: str, seen: Mapping[str, Stat]) -> None:
    """Do for one data set what `dvc update data.dvc` does for all, but copy and read only the files that differ.

    DVC removes `data/` and downloads all of it again: minutes for 30,000 images of which 300 are new, all of which
    would then be looked at again since their times are new.
    """
    source, target = settings.landing / name, settings.data / name
    with _rewriting(settings, name):
        mirror(source, target, trusted=trusted_landing(settings, name))
        if stats(settings.landing, name) != seen:
            raise DataError(
                f"the landing zone of data set {name} changes while it is read; wait until the copy into it has ended, "
                "then run this again"
            )
        _tell_known(settings, repo, name)
        # Links are copies here: nothing to link again.
        out.add(path=str(target), relink=False)


def _tell_known(settings: Settings, repo: Repository, name: str) -> None:
    """Tell DVC the digests of files that are as the last version left them, so that it reads the others only."""
    snapshot = read_snapshot(settings, name) or {}
    recorded = {entry.path: entry.md5 for entry in current_tree(settings) or []}
    known = {
        settings.data / path: recorded[path]
        for path, stat in stats(settings.data, name).items()
        if path in recorded and snapshot.get(path) == stat
    }
    repo.remember(known)


def _describe(settings: Settings, stage: Stage) -> None:
    """Complete what data.dvc says: the size of all files, and that what came from the landing zone is what is here."""
    out, dep = stage.outs[0], stage.deps[0]
    sizes = {path: stat[0] for path, stat in stats(settings.data).items()}
    paths = ["/".join(key) for key, _, _ in out.obj]
    out.meta.size = sum(sizes[path] for path in paths) if sizes.keys() >= set(paths) else None
    dep.hash_info, dep.meta = out.hash_info, out.meta
    stage.md5 = stage.compute_md5()


def push(settings: Settings) -> int:
    """Send the current version to the remote; return how many objects were sent.

    Raises:
        DataError: the remote cannot be reached or written.
    """
    with opened(settings) as repo:
        return int(repo.push([str(_data_dvc(settings))]))


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


@contextlib.contextmanager
def _rewriting(settings: Settings, dataset: str) -> Iterator[None]:
    """Mark that `data/<dataset>` is rewritten; a mark left by a kill says that what is there is no hand's work."""
    mark = updating_mark(settings, dataset)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    yield
    take_snapshot(settings, dataset)
    mark.unlink(missing_ok=True)


def _data_dvc(settings: Settings) -> Path:
    return settings.root / "data.dvc"
