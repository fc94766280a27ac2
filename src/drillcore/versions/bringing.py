"""Brings the landing zone to `data/`, brings versions to the remote and back."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drillcore.errors import DataError
from drillcore.files import write_text
from drillcore.settings import Settings
from drillcore.versions.mirroring import mirror
from drillcore.versions.repository import ensure, opened
from drillcore.versions.tree import dvc_text, outs_md5, refuse_hand_edits, take_snapshot, tree_of, updating_mark

# What `dvc import-url remote://landing data` writes before it has looked.
_FRESH = "frozen: true\ndeps:\n- path: remote://landing\nouts:\n- path: data\n"


@dataclass(frozen=True, slots=True)
class Version:
    """A version of the data, all data sets together.

    Attributes:
        md5: DVC's digest, ends in ".dir".
        changed: whether the update brought another version than there was.
        nfiles: number of files.
        size: bytes.
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


def update(settings: Settings) -> Version:
    """Bring the landing zone to `data/` and record its version in data.dvc.

    Raises:
        DataError: `data/` was edited by hand, the landing zone is empty, DVC fails or is locked.
        OSError: the disk is full or a folder cannot be written; the next update mends `data/`.
    """
    ensure(settings)
    refuse_hand_edits(settings)
    if not any(path.is_file() for path in settings.landing.glob("*/**/*")):
        raise DataError(
            f"the landing zone {settings.landing} is empty; the last good version stays; "
            "run `drillcore data sample` or `drillcore data import`"
        )
    path = _data_dvc(settings)
    before = outs_md5(dvc_text(path)) if path.is_file() else None
    if not path.is_file():
        write_text(path, _FRESH)
    with _rewriting(settings), opened(settings) as repo:
        out = _bring(settings, repo, path)
        return Version(
            md5=out.hash_info.value,
            changed=out.hash_info.value != before,
            nfiles=int(out.meta.nfiles or 0),
            size=int(out.meta.size or 0),
        )


def _bring(settings: Settings, repo: Any, path: Path) -> Any:
    """Do what `dvc update data.dvc` does, but copy only the files that differ; return DVC's output.

    DVC removes `data/` and downloads all of it again: minutes for 30,000 images of which 300 are new, all of which
    would then be looked at again since their times are new.
    """
    from dvc.repo import lock_repo

    with lock_repo(repo):
        [stage] = list(repo.stage.collect(str(path)))
        stage.frozen = False
        for exact in (False, True):
            mirror(settings.landing, settings.data, exact=exact)
            stage.save()
            # Times may lie; DVC has read what is new on both sides.
            if stage.outs[0].hash_info == stage.deps[0].hash_info:
                break
        else:
            raise DataError("the landing zone changes while it is read; wait until the copy into it has ended")
        # Links are copies here: nothing to link again.
        stage.commit(relink=False)
        stage.frozen = True
        stage.dump()
        return stage.outs[0]


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
    refuse_hand_edits(settings)
    with _rewriting(settings), opened(settings) as repo:
        repo.pull([str(_data_dvc(settings))], force=True)


def restore(settings: Settings, text: str) -> None:
    """Bring `data/` and data.dvc to an earlier version, for a rebuild; what the cache lacks comes from the remote.

    Args:
        settings: where things are.
        text: what data.dvc was then.

    Raises:
        DataError: `data/` was edited by hand, the text is no data.dvc, or neither cache nor remote has that version;
            then everything is as it was.
    """
    refuse_hand_edits(settings)
    outs_md5(text)
    path = _data_dvc(settings)
    before = dvc_text(path) if path.is_file() else None
    write_text(path, text)
    try:
        _check_out(settings, text)
    except DataError as error:
        roll_back(settings, before)
        raise DataError(f"neither the DVC cache nor the remote has that version of the data ({error})") from None


def roll_back(settings: Settings, text: str | None) -> None:
    """Undo a refused update: `data/` and data.dvc become what they were.

    `None`, or a version whose content was never here (a fresh clone's), leaves no `data/`.
    """
    path = _data_dvc(settings)
    if text is None:
        path.unlink(missing_ok=True)
    else:
        write_text(path, text)
        with contextlib.suppress(DataError):
            _check_out(settings, text)
            return
    with _rewriting(settings):
        shutil.rmtree(settings.data, ignore_errors=True)


def _check_out(settings: Settings, text: str) -> None:
    md5 = outs_md5(text)
    if md5 is None:
        raise DataError("data.dvc names no version yet")
    with _rewriting(settings), opened(settings) as repo:
        target = str(_data_dvc(settings))
        if tree_of(settings, md5) is None:
            repo.pull([target], force=True)
        else:
            repo.checkout([target], force=True)


@contextlib.contextmanager
def _rewriting(settings: Settings) -> Iterator[None]:
    """Mark that DVC rewrites `data/`; a mark left by a kill tells the next run that what it finds is no hand's work."""
    mark = updating_mark(settings)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    yield
    take_snapshot(settings)
    mark.unlink(missing_ok=True)


def _data_dvc(settings: Settings) -> Path:
    return settings.root / "data.dvc"
