"""The code that made a registered version: its revision checked out, the packages that this locks, and its Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from drillcore.errors import RegistryError
from drillcore.files import write_text
from drillcore.project import MARKER
from drillcore.retrain.provenance import UNKNOWN, git_output
from drillcore.settings import Settings
from drillcore.upkeep.version_record import VersionRecord

LOCK = "requirements.lock"
_CODE = "src/drillcore/upkeep/rebuild_stages.py"


def code_of(
    settings: Settings, record: VersionRecord, folder: Path, tell: Callable[[str], None]
) -> tuple[Path, str, dict[str, str]]:
    """Return a folder with the version's code, the Python that runs it, and its environment.

    A project that holds drillcore's own code is cloned at the revision, without a copy of its objects. In any other
    the code is the installed package, which must be of the version's release.

    Args:
        settings: of the project.
        record: of the version.
        folder: of the rebuild; what is made goes below it.
        tell: told a line where packages are installed.

    Raises:
        RegistryError: the code, or the packages that it locks, cannot be had.
    """
    checkout, env = folder / f"checkout-{record.git[:12]}-{record.version.version}", dict(os.environ)
    env.pop("VIRTUAL_ENV", None)
    root = settings.root
    if not (root / "src" / "drillcore").is_dir() or record.git == UNKNOWN:
        made_with = str(record.machine.get("drillcore"))
        if made_with != (here := metadata.version("drillcore")):
            raise RegistryError(
                f"{record.name} was made with drillcore {made_with}, this is {here}: install that release in an "
                "environment of its own and rebuild from there"
            )
        checkout.mkdir(parents=True, exist_ok=True)
        write_text(checkout / MARKER, "")
        return checkout, sys.executable, env
    if git_output(root, "cat-file", "-e", f"{record.git}:{_CODE}") is None:
        known = git_output(root, "cat-file", "-e", record.git) is not None
        why = "cannot rebuild yet" if known else "is not in this repository: git fetch it"
        raise RegistryError(f"{record.name} was made by revision {record.git[:12]}, which {why}")
    if not checkout.is_dir():
        partial = checkout.with_name(f".partial-{checkout.name}")
        shutil.rmtree(partial, ignore_errors=True)
        _must(root, "clone", "-q", "--shared", "--no-checkout", str(root), str(partial))
        _must(partial, "checkout", "-q", "--detach", record.git)
        partial.rename(checkout)
    python = _python(settings, record, checkout, tell)
    env["PYTHONPATH"] = str(checkout / "src")
    return checkout, python, env


def _python(settings: Settings, record: VersionRecord, checkout: Path, tell: Callable[[str], None]) -> str:
    """Return this Python where the revision locks the same packages, else one with those that it locks."""
    here = settings.root / LOCK
    if not here.is_file() or here.read_bytes() == (checkout / LOCK).read_bytes():
        return sys.executable
    tell(f"environment: the packages that revision {record.git[:12]} locks")
    cache = os.environ.get("UV_CACHE_DIR", str(Path(sys.prefix) / "cache"))
    done = subprocess.run(
        ["make", "-s", "setup", f"PYTHON={sys.executable}", f"UV_CACHE_DIR={cache}"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise RegistryError(
            f"the packages of revision {record.git[:12]} cannot be installed: {said[-1] if said else ''}"
        )
    return str(checkout / ".venv" / "bin" / "python")


def _must(folder: Path, *arguments: str) -> None:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RegistryError(f"git {arguments[0]}: {done.stderr.strip()[:300]}")
