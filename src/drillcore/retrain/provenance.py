"""Which code made a model: git revision, and whether the checkout differs from it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

UNKNOWN = "unknown"
# Changed by every import and stored with each version by itself: no reason to call the code dirty.
_NOT_CODE = ("data.dvc",)


@dataclass(frozen=True, slots=True)
class GitFacts:
    """Revision (40 hex digits, or "unknown") and whether tracked or new files differ from it."""

    revision: str
    dirty: bool


def git_facts(root: Path) -> GitFacts:
    """Return the facts of the checkout at `root`; "unknown" and dirty where it is no git repository."""
    revision = _git(root, "rev-parse", "HEAD")
    status = _git(root, "status", "--porcelain", "--untracked-files=normal")
    if revision is None or status is None:
        return GitFacts(UNKNOWN, True)
    changed = [line[3:] for line in status.splitlines()]
    return GitFacts(revision.strip(), any(path not in _NOT_CODE for path in changed))


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return None  # git is not installed
    return done.stdout if done.returncode == 0 else None
