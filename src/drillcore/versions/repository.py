"""The DVC repository of a checkout: opened in process, silent, with all of its state inside the state folder."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from drillcore.environment import give_identity
from drillcore.errors import DataError
from drillcore.files import write_text
from drillcore.locks import take
from drillcore.settings import Settings

if TYPE_CHECKING:
    from drillcore.versions.dvc_repository import Repository

# The same text is committed as `.dvc/config`; a checkout without one (a test's) is given it.
CONFIG = """\
[core]
    analytics = false
    check_update = false
    remote = store
[cache]
    dir = ../.drillcore/dvc/cache
['remote "landing"']
    url = ../.drillcore/landing
['remote "store"']
    url = ../.drillcore/dvc/remote
"""
IGNORED = "/config.local\n/tmp\n/cache\n"
_LOCAL_NOTE = "# Written by drillcore from its settings; edit those instead.\n"


def ensure(settings: Settings) -> None:
    """Make the checkout a DVC repository whose cache, remotes and landing zone are the settings'.

    Works without git too: DVC is told to leave source control alone.

    Raises:
        OSError: the checkout or the state folder cannot be written.
    """
    folder = settings.root / ".dvc"
    if not (folder / "config").is_file():
        write_text(folder / "config", CONFIG)
    if not (folder / ".gitignore").is_file():
        write_text(folder / ".gitignore", IGNORED)
    local, wanted = folder / "config.local", _local_config(settings)
    found = local.read_text(encoding="utf-8") if local.is_file() else ""
    # A local configuration that somebody wrote by hand (credentials, say) is theirs.
    if found != wanted and (not found or found.startswith(_LOCAL_NOTE)):
        if wanted:
            write_text(local, wanted)
        else:
            local.unlink(missing_ok=True)
    settings.landing.mkdir(parents=True, exist_ok=True)
    (settings.state / "dvc").mkdir(parents=True, exist_ok=True)
    # Earlier versions of drillcore kept DVC's site cache here, which is made of pickles.
    shutil.rmtree(settings.state / "dvc" / "site", ignore_errors=True)


def _local_config(settings: Settings) -> str:
    parts = []
    if settings.state != settings.root / ".drillcore":
        parts.append(f"[cache]\n    dir = {settings.state / 'dvc' / 'cache'}\n")
        parts.append(f"['remote \"landing\"']\n    url = {settings.landing}\n")
    store = settings.dvc_remote
    if not store and parts:
        store = str(settings.state / "dvc" / "remote")
    if store:
        parts.append(f"['remote \"store\"']\n    url = {store}\n")
    return _LOCAL_NOTE + "".join(parts) if parts else ""


@contextlib.contextmanager
def turn(settings: Settings) -> Iterator[None]:
    """Wait until no other process writes versions of this checkout's data, and keep others waiting meanwhile."""
    folder = settings.state / "dvc"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "turn.lock").open("w") as lock:
        take(lock.fileno(), wait=True)
        yield


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[Repository]:
    """Yield the checkout's repository; what DVC would print stays off the terminal.

    Raises:
        DataError: DVC refuses or fails, or another process holds its lock; one line.
        OSError: the disk is full or a folder cannot be written.
    """
    ensure(settings)
    _confine(settings)
    from drillcore.versions.dvc_repository import DvcException, LockError, ObjectFormatError, Repository

    # DVC's site cache is made of pickles: it lives where this process alone may write, and no longer than that.
    with tempfile.TemporaryDirectory(prefix="drillcore-dvc-", ignore_cleanup_errors=True) as site, _silenced():
        try:
            with Repository(settings.root, site) as repo:
                yield repo
        except LockError:
            raise DataError(
                f"another process is versioning the data of {settings.root} and holds its lock, .dvc/tmp/lock; "
                "wait for it to end, then run this again"
            ) from None
        except ObjectFormatError as error:
            raise DataError(f"DVC's cache is damaged ({_line(error)}); run drillcore doctor") from error
        except DvcException as error:
            if isinstance(error.__cause__, OSError):
                raise error.__cause__ from None
            raise DataError(f"DVC could not do it: {_line(error)}") from error


def check_remote(settings: Settings) -> str:
    """Ask the DVC remote whether it is there; return its URL without a password.

    Raises:
        DataError: it cannot be reached.
    """
    with opened(settings) as repo:
        remote = repo.cloud.get_remote()
        shown = re.sub(r"(?<=//)([^:/@]*):[^@/]*@", r"\1:***@", str(remote.path))
        try:
            # A remote nothing was pushed to yet need not exist; asking is what fails where it cannot be reached.
            remote.fs.exists(remote.path)
        except Exception as error:  # noqa: BLE001 - each kind of remote has errors of its own
            raise DataError(f"the DVC remote {shown} cannot be reached: {_line(error)}") from None
    return shown


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _confine(settings: Settings) -> None:
    give_identity(settings)
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    os.environ.pop("DVC_SITE_CACHE_DIR", None)  # it would come before the configuration's
    for name in ("global", "system"):
        variable = f"DVC_{name.upper()}_CONFIG_DIR"
        # A process may work on several checkouts (tests do): what we set before follows the settings.
        if os.environ.get(variable, "").endswith(f"/dvc/{name}") or variable not in os.environ:
            os.environ[variable] = str(settings.state / "dvc" / name)


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keep DVC's log and progress bars off our terminal; errors come as exceptions."""
    loggers = [logging.getLogger(name) for name in ("dvc", "dvc_data", "dvc_objects", "dvc_render")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        sys.stdout.flush()
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
