"""What every benchmark report says besides its figures: machine, versions, date; written as JSON and Markdown."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from drillcore.environment import processor
from drillcore.files import write_json, write_text

RESULTS = Path(__file__).resolve().parent / "results"
_PACKAGES = (
    "numpy",
    "onnx",
    "onnxruntime-gpu",
    "onnxruntime",
    "pillow",
    "pyarrow",
    "scikit-learn",
    "torch",
    "mlflow",
    "dvc",
)


def facts(seeds: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Return `machine, versions, seeds, date` of a report."""
    return {"machine": _machine(), "versions": _versions(), "seeds": dict(seeds or {}), "date": _now()}


def write_report(
    name: str,
    figures: Mapping[str, Any],
    raw: Mapping[str, Any],
    text: str,
    *,
    seeds: Mapping[str, int] | None = None,
    folder: Path = RESULTS,
) -> dict[str, Any]:
    """Write `<name>.json` and `<name>.md` and return what the JSON holds.

    Args:
        name: of the benchmark.
        figures: the figures by the names of the design.
        raw: timings and counts they were made from, in plain JSON values.
        text: Markdown that stands below the heading: tables and what they say.
        seeds: by name.
        folder: where reports stand.
    """
    value = {**figures, **facts(seeds), "raw": dict(raw)}
    write_json(folder / f"{name}.json", value)
    rows = [(key, _shown(figure)) for key, figure in figures.items()]
    machine = value["machine"]
    about = (
        f"{machine['cores']} cores of {machine['processor']}, {machine['memory_gib']} GiB, {machine['system']}; "
        f"{value['date']}, revision {machine['revision']}. "
        "Raw timings and versions are in the JSON of the same name; load of the machine before the run: "
        f"{machine['load']}."
    )
    write_text(
        folder / f"{name}.md", f"# bench {name}\n\n{about}\n\n{table(('figure', 'value'), rows)}\n\n{text.strip()}\n"
    )
    return value


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *([_shown(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) and abs(value) < 10_000 else str(value)


def _machine() -> dict[str, Any]:
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "gpu": _gpu(),
        "load": round(os.getloadavg()[0], 2),
        "revision": _output("git", "rev-parse", "--short=12", "HEAD") or "unknown",
    }


def _gpu() -> str | None:
    return _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader") or None


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20, cwd=RESULTS.parents[1])
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
