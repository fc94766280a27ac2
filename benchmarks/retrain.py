"""A whole retrain, stage by stage: cold, unchanged, +1 % and +10 % images; and how long each command takes to start.

On the sample, and on the real plankton data where it stands beside the checkout (`../shared/data/plankton_train.zip`).
Each case runs in a checkout of its own that is removed afterwards. Run `drillcore bench retrain`, or this file.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.report import facts, table, write_report
from drillcore.datasets.archives import extract_zip
from drillcore.datasets.landing import import_dataset
from drillcore.datasets.synthetic import write_sample
from drillcore.retrain.records import Filled
from drillcore.retrain.retraining import Retrain
from drillcore.settings import Settings

MODEL = "plankton-forest"
SEED = 5
REAL = Path("shared/data/plankton_train.zip")  # beside the checkout
STEPS = ((0.01, "+1 %"), (0.10, "+10 %"))


def run(settings: Settings, quick: bool = False) -> dict[str, Any]:
    """Measure and write the report.

    Args:
        settings: of the checkout whose recipe and machine limits are used.
        quick: only the sample; no report is written.

    Returns:
        `unchanged_seconds`, `plus_one_percent_extraction_share` (of the sample; of the real data where it is there),
        facts and raw timings.
    """
    sources = {"sample": lambda folder: write_sample("plankton", folder)}
    real = settings.root.parent / REAL
    if real.is_file() and not quick:
        sources["plankton"] = lambda folder: extract_zip(real, folder)
    cases = {name: _case(settings, write) for name, write in sources.items()}
    starts = {} if quick else _starts(settings)
    main = cases.get("plankton", cases["sample"])
    figures = {
        "unchanged_seconds": main["unchanged"]["process_seconds"],
        "plus_one_percent_extraction_share": main["+1 %"]["extraction_share"],
    }
    raw = {"cases": cases, "start_seconds": starts}
    if quick:
        return {**figures, **facts({"split": SEED}), "raw": raw}
    return write_report("retrain", figures, raw, _text(cases, starts), seeds={"choice": SEED})


def _case(settings: Settings, write: Any) -> dict[str, Any]:
    """Retrain a data set cold, unchanged, and after it grew by 1 and by 10 percent."""
    with tempfile.TemporaryDirectory(prefix="drillcore-bench-") as temporary:
        root = Path(temporary) / "checkout"
        shutil.copytree(settings.models, root / "models")
        inner = Settings.load(root, env={key: value for key, value in os.environ.items() if "ROOT" not in key})
        everything = Path(temporary) / "all"
        everything.mkdir()
        write(everything)
        parts = _parts(everything, Path(temporary))
        import_dataset(inner, "plankton", parts["base"])
        found = {"cold": _retrain(inner), "unchanged": _retrain(inner)}
        found["unchanged"]["process_seconds"] = _process(inner, "retrain", MODEL, "--promote")
        for _, name in STEPS:
            import_dataset(inner, "plankton", parts[name], append=True)
            found[name] = _retrain(inner)
    return found


def _parts(source: Path, target: Path) -> dict[str, Path]:
    """Deal the images of a class-folder tree into base, +1 % and +10 %; each part a tree of its own."""
    images = sorted(path for path in source.rglob("*") if path.is_file())
    random.Random(SEED).shuffle(images)
    base = round(len(images) / (1 + sum(share for share, _ in STEPS)))
    counts = {"base": base, **{name: max(1, round(share * base)) for share, name in STEPS}}
    parts, start = {}, 0
    for name, count in counts.items():
        folder = target / f"part-{len(parts)}" / "train"
        for path in images[start : start + count]:
            place = folder / path.parent.name / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            path.rename(place)
        parts[name], start = folder.parent, start + count
    return parts


def _retrain(settings: Settings) -> dict[str, Any]:
    started = time.perf_counter()
    with Retrain(settings, MODEL, promote=True) as work:
        summary = work.run_all().to_dict()
        features = work.made.record(Filled)
        passed, rows = features.passed, features.rows
    seconds = time.perf_counter() - started
    stages = {row["stage"]: _spent(row) for row in summary["stages"]}
    return {
        "seconds": seconds,
        "stages": stages,
        "images": rows,
        "passed": passed,
        "extraction_share": passed / rows,
        "accuracy": summary["figures"]["accuracy"],
        "status": summary["status"],
    }


def _spent(row: dict[str, Any]) -> float:
    """Seconds of a stage in this run; a record that was kept tells those of the run that made it."""
    return 0.0 if row["reused"] and row["stage"] != "features" else float(row["seconds"])


def _share(seconds: float, total: float) -> str:
    return f"{seconds:.1f} ({seconds / max(total, 1e-9):.0%})"


def _process(settings: Settings, *arguments: str) -> float:
    started = time.perf_counter()
    command = [sys.executable, "-m", "drillcore", *arguments]
    subprocess.run(command, env={**os.environ, "DRILLCORE_ROOT": str(settings.root)}, check=True, capture_output=True)
    return time.perf_counter() - started


def _starts(settings: Settings) -> dict[str, float]:
    """Return the median seconds of `--help` of every command, over five processes each."""
    from drillcore.cli.root import COMMANDS

    return {
        name: statistics.median(_process(settings, name, "--help") for _ in range(5))
        for name in ("", *COMMANDS)
        if name
    }


def _text(cases: dict[str, Any], starts: dict[str, float]) -> str:
    parts = []
    for name, case in cases.items():
        stages = list(case["cold"]["stages"])
        head = (name, "images", "total, s", *stages, "passed the backbone", "accuracy", "ended")
        rows = [
            (
                step,
                f"{found['images']:,}",
                round(found["seconds"], 1),
                *(_share(found["stages"][stage], found["seconds"]) for stage in stages),
                f"{found['passed']:,} ({found['extraction_share']:.1%})",
                found["accuracy"],
                found["status"],
            )
            for step, found in case.items()
        ]
        parts += [f"## {name}", table(head, rows)]
        unchanged = case["unchanged"]["process_seconds"]
        parts.append(f"`drillcore retrain {MODEL} --promote` as a process, nothing new: {unchanged:.1f} s.")
    slowest = max(starts, key=lambda command: starts[command])
    parts += [
        "## Start-up",
        table(("command", "--help, s"), [(name, round(seconds, 3)) for name, seconds in starts.items()]),
        f"The slowest is `{slowest}`.",
        "Seconds in a stage's column are those of this run; a stage whose record was kept took none. The head is "
        "fitted anew on every change, and the backbone is kept (`refresh: never`).",
    ]
    return "\n\n".join(parts)


if __name__ == "__main__":
    run(Settings.load())
