"""A project of one's own: a folder in which every command works, under git and DVC from its first file on."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath

from drillcore.errors import InputError
from drillcore.files import write_text
from drillcore.project import MARKER
from drillcore.versions.repository import CONFIG, IGNORED
from drillcore.versions.unversioned import NO_VERSION

# Where each file of `files/` goes that has another name there: one that begins with a dot, or marks a project.
_NAMES = {"gitignore": ".gitignore", "dvcignore": ".dvcignore", "settings.toml": MARKER}
# What may lie in the folder already: none of it is touched.
_HARMLESS = frozenset({".git", ".DS_Store", ".idea", ".vscode", "LICENSE", "Thumbs.db", "desktop.ini"})
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Started:
    """A project that was begun.

    Attributes:
        folder: its root.
        files: what was written there, relative to it.
        history: how it stands with git, in one line.
    """

    folder: Path
    files: tuple[str, ...]
    history: str


def start_project(folder: Path) -> Started:
    """Make a project in a new or empty folder, and a git repository with a first commit where there is none.

    An environment of Python, `.git`, a licence and what editors leave are let stand. On an error nothing is left.

    Raises:
        InputError: the folder is a project already, holds something else, or is no folder.
        OSError: it cannot be written.
    """
    _refuse(folder)
    texts = project_files()
    with _whole_or_nothing(folder, texts):
        for name, text in texts.items():
            write_text(folder / name, text)
    return Started(folder, tuple(texts), _under_git(folder, list(texts)))


def project_files() -> dict[str, str]:
    """Return text by path of all that a project begins with; the marker comes last, so that half a project is none."""
    found = {str(place): text for place, text in _texts(resources.files("drillcore.starter") / "files", "")}
    texts = {_NAMES.get(name, name): text for name, text in sorted(found.items())}
    texts |= {".dvc/config": CONFIG, ".dvc/.gitignore": IGNORED, "data.dvc": NO_VERSION}
    return {**{name: text for name, text in texts.items() if name != MARKER}, MARKER: texts[MARKER]}


def _texts(folder: resources.abc.Traversable, prefix: str) -> Iterator[tuple[PurePosixPath, str]]:
    for item in folder.iterdir():
        place = PurePosixPath(prefix, item.name)
        if item.is_dir():
            yield from _texts(item, str(place))
        else:
            yield place, item.read_text(encoding="utf-8")


def _refuse(folder: Path) -> None:
    if (folder / MARKER).exists():
        raise InputError(f"{folder} is a drillcore project already; commands work in it as it is")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder} is a file; a new or empty folder is expected")
    odd = sorted(path.name for path in folder.iterdir() if path.name not in _HARMLESS and not _is_environment(path))
    if odd:
        more = ", ..." if len(odd) > _SHOWN else ""
        raise InputError(
            f"{folder} is not empty, it holds {', '.join(odd[:_SHOWN])}{more}; choose a new folder: images are brought "
            "into a project by `drillcore data import`"
        )


def _is_environment(path: Path) -> bool:
    return (path / "pyvenv.cfg").is_file()


@contextlib.contextmanager
def _whole_or_nothing(folder: Path, names: Mapping[str, str]) -> Iterator[None]:
    made = [place for place in (*reversed(folder.absolute().parents), folder.absolute()) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for name in names:
            (folder / name).unlink(missing_ok=True)
        inner = {folder / parent for name in names for parent in PurePosixPath(name).parents[:-1]}
        for place in [*sorted(inner, reverse=True), *reversed(made)]:
            with contextlib.suppress(OSError):
                place.rmdir()
        raise


def _under_git(folder: Path, names: list[str]) -> str:
    """Make a repository and commit; where somebody has one already, the commit is theirs to make."""
    place = shlex.quote(str(folder))
    keep = f"git -C {place} add . && git -C {place} commit -m 'A drillcore project'"
    try:
        inside = _git(folder, "rev-parse", "--is-inside-work-tree").stdout.strip() == "true"
    except OSError:
        return "git is not installed: versions of models will not know their recipe's revision"
    if inside:
        return f"it stands in a git repository; commit it there: {keep}"
    if _git(folder, "init", "--quiet").returncode:
        return "git could not make a repository here"
    done = [_git(folder, "add", "--", *names), _git(folder, "commit", "--quiet", "-m", "A drillcore project")]
    if any(one.returncode for one in done):
        return f"a git repository; nothing is committed yet (git knows no name of yours, or refused): {keep}"
    return "a git repository with its first commit"


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in ("GIT_DIR", "GIT_WORK_TREE")}
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env, stdin=subprocess.DEVNULL)
