"""What a command has written into a project and git does not know yet: the command says what to commit."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import click

from drillcore.cli.session import shown
from drillcore.settings import Settings

_SECONDS = 10.0  # a large work tree on a slow disk


def say_uncommitted(settings: Settings, *paths: Path, why: str) -> None:
    """Print how to commit those of the paths that git sees as new or changed; nothing where there are none."""
    changed = [path for path in paths if _is_changed(settings, path)]
    if changed:
        names = " ".join(shlex.quote(shown(settings, path)) for path in changed)
        click.echo(f"to keep: git add {names} && git commit -m {shlex.quote(why)}", err=True)


def say_left_lying(settings: Settings, folder: Path) -> None:
    """Say that an output lies in the project where git sees it: it is to be ignored, or committed."""
    if settings.root in folder.resolve().parents and _is_changed(settings, folder):
        name = shown(settings, folder)
        click.echo(f"git sees {name}/ as new: commit it, or leave it out with: echo /{name}/ >> .gitignore", err=True)


def _is_changed(settings: Settings, path: Path) -> bool:
    command = ["git", "-C", str(settings.root), "status", "--porcelain", "--", str(path.resolve())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and bool(done.stdout.strip())
