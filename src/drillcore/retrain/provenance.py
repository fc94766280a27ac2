"""Which code made a model (git revision, whether the checkout differs from it), and on what machine, with what."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from drillcore.environment import processor
from drillcore.json_types import Json
from drillcore.retrain.records import BackboneDone, Exported, Fitted
from drillcore.settings import Settings

if TYPE_CHECKING:
    from drillcore.retrain.run import Run

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
    revision = git_output(root, "rev-parse", "HEAD")
    status = git_output(root, "status", "--porcelain", "--untracked-files=normal")
    if revision is None or status is None:
        return GitFacts(UNKNOWN, True)
    changed = [line[3:] for line in status.splitlines()]
    return GitFacts(revision.strip(), any(path not in _NOT_CODE for path in changed))


def machine(settings: Settings) -> Json:
    """Return what the last bits of a training may depend on besides its threads: processor, device, versions."""
    from drillcore.devices import resolve_device

    return {
        "drillcore": metadata.version("drillcore"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": settings.cpu_threads,
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS", ""),
        "device": resolve_device(settings.device).type,
        "packages": {found.metadata["Name"]: found.version for found in metadata.distributions()},
    }


def making(run: Run) -> Json:
    """Return what a rebuild of a run's file needs beside code, data and recipe, and what each stage's result was."""
    backbone, fitted = run.record(BackboneDone), run.record(Fitted)
    return {
        "machine": machine(run.settings),
        "settings": {name: getattr(run.settings, name) for name in ("seed", "max_pixels", "max_side")},
        "threads": {"backbone": backbone.threads, "fit": fitted.threads},
        "trained": backbone.trained,
        "results": {
            "backbone": backbone.weights_sha256,
            "features": fitted.state_sha256,
            "fit": fitted.arrays_sha256,
            "export": run.record(Exported).sha256,
        },
    }


def git_output(root: Path, *arguments: str) -> str | None:
    """Return what git says in a folder; None: it fails there, or is not installed."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return None  # git is not installed
    return done.stdout if done.returncode == 0 else None
