"""`drillcore bench import`: a folder of many small images through `data import` and `data check`, then 1 % more.

The images are drawn here from a seed, each unlike any other, so that the benchmark needs no data set. A hundredth, a
tenth and all of them are imported, each into a project of its own, so that it can be seen whether an image costs the
same in a large data set as in a small one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from benchmarks.report import facts, table, write_report
from drillcore.settings import Settings

SEED = 0
IMAGES = 100_000
CLASSES = 20
_LEAST = 400  # images, so that every class is in every split
NAME = "many"
_SIDES = (16, 28)  # pixels, the smallest and the largest
_DETAIL = 6  # a picture is drawn in so many random levels a side, and enlarged
_POLL_SECONDS = 0.1
_CPU = "cpu_seconds"
_STEPS = {"import": ("data", "import", "--layout", "classes", NAME), "check": ("data", "check", NAME)}


def run(settings: Settings, *, quick: bool = False, images: int | None = None) -> dict[str, Any]:
    """Measure and write the report (not when quick).

    Args:
        settings: in whose state folder the images and projects lie meanwhile.
        quick: a few hundred images; no report is written.
        images: how many; 1,000,000 take 20 GB of disk and 5,000,000 of its inodes.

    Returns:
        `images_per_second` (and per processor second) of the first import with its check and version;
        `peak_memory_bytes` of the process tree and `memory_bytes_per_image`, what an image more takes; `append_share`,
        the time for 1 % more as a share of the first (`append_growth_share`: without what does not depend on the number
        of images); `versions_share` and `dvc_share`, what is done in DVC's place and by DVC itself, of the first
        import's time; `time_growth`, an image more at the end against one at the beginning; facts and raw timings.
    """
    count = images or (2 * _LEAST if quick else IMAGES)
    settings.state.mkdir(parents=True, exist_ok=True)
    cases = {}
    for size in sorted({max(count // 100, _LEAST), max(count // 10, _LEAST), count}):
        with tempfile.TemporaryDirectory(prefix="bench-import-", dir=settings.state) as folder:
            cases[size] = measure(Path(folder), size)
    figures = _figures(cases)
    raw = {"cases": {str(size): case for size, case in cases.items()}}
    if quick:
        return {**figures, **facts({"images": SEED}), "raw": raw}
    return write_report("import", figures, raw, _text(cases), seeds={"images": SEED})


def measure(folder: Path, count: int) -> dict[str, Any]:
    """Import `count` images and check them, then 1 % more, in a project below `folder`; return what it took."""
    started = time.perf_counter()
    draw_images(folder / "first", 0, count)
    drawing = time.perf_counter() - started
    more = max(count // 100, 1)
    draw_images(folder / "more", count, more)
    root = folder / "project"
    root.mkdir()
    first = {name: _command(root, *words, *_source(name, folder / "first")) for name, words in _STEPS.items()}
    disk = {name: _disk(place) for name, place in _places(root).items()}
    added = {
        name: _command(root, *words, *_source(name, folder / "more", "--append")) for name, words in _STEPS.items()
    }
    return {"images": count, "more": more, "drawing_seconds": drawing, "first": first, "append": added, "disk": disk}


def draw_images(folder: Path, start: int, count: int) -> None:
    """Write `count` small grey PNG and JPEG files in class folders, each drawn from its number."""
    for label in range(CLASSES):
        (folder / f"class-{label:02d}").mkdir(parents=True)
    for number in range(start, start + count):
        rng = np.random.default_rng((SEED, number))
        width, height = (int(side) for side in rng.integers(_SIDES[0], _SIDES[1] + 1, 2))
        levels = Image.fromarray(rng.integers(0, 256, (_DETAIL, _DETAIL), dtype=np.uint8))
        picture = levels.resize((width, height), Image.Resampling.BILINEAR)
        kind = "png" if number % 2 else "jpg"
        picture.save(folder / f"class-{number % CLASSES:02d}" / f"{number:07d}.{kind}")


def _source(step: str, source: Path, *options: str) -> tuple[str, ...]:
    return (str(source), *options) if step == "import" else ()


def _command(root: Path, *command: str) -> dict[str, Any]:
    """Run a command in a process of its own; return its seconds, by part too, and the peak memory of its tree."""
    report = root.parent / "step.json"
    program = [sys.executable, "-m", "benchmarks.importing.step", str(report), *command]
    environment = {**os.environ, "DRILLCORE_ROOT": str(root)}
    checkout = Path(__file__).resolve().parents[2]
    peak = 0
    with (root.parent / "step.log").open("w+") as log:
        process = subprocess.Popen(program, cwd=checkout, env=environment, stdout=log, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = max(peak, _tree_bytes(process.pid))
            time.sleep(_POLL_SECONDS)
        if process.returncode:
            log.seek(0)
            raise RuntimeError(f"{' '.join(command[:2])} failed: {log.read()[-2000:]}")
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return {**found, "peak_bytes": max(peak, found["peak_bytes"])}


def _tree_bytes(pid: int) -> int:
    total = 0
    try:
        tree = psutil.Process(pid)
        for process in (tree, *tree.children(recursive=True)):
            total += int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        pass
    return total


def _places(root: Path) -> dict[str, Path]:
    state = root / ".drillcore"
    versions = {"DVC's cache": state / "dvc" / "cache", "DVC's remote": state / "dvc" / "remote"}
    return {"landing zone": state / "landing", "data": root / "data", **versions, "all": root}


def _disk(folder: Path) -> int:
    """Return the bytes a folder takes on the disk, blocks counted whole."""
    total, waiting = 0, [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


def _figures(cases: dict[int, dict[str, Any]]) -> dict[str, float]:
    sizes = sorted(cases)
    last, before = cases[sizes[-1]], cases[sizes[-2]]
    # Commands take seconds to start: what counts is what an image more takes, at the end and at the beginning.
    early = _more(cases[sizes[0]], before) if len(sizes) > 2 else _seconds(before["first"], _CPU) / before["images"]
    more = last["images"] - before["images"]
    return {
        "images": last["images"],
        "images_per_second": last["images"] / _seconds(last["first"]),
        "images_per_processor_second": last["images"] / _seconds(last["first"], _CPU),
        "peak_memory_bytes": _peak(last),
        "memory_bytes_per_image": max(_peak(last) - _peak(before), 0) / more,
        "append_share": _seconds(last["append"]) / _seconds(last["first"]),
        "append_processor_share": _seconds(last["append"], _CPU) / _seconds(last["first"], _CPU),
        "append_growth_share": max(_more(before, last, "append"), 0) / _more(before, last),
        "versions_share": _spent(last["first"], "versions: ") / _seconds(last["first"]),
        "dvc_share": _spent(last["first"], "DVC: ") / _seconds(last["first"]),
        "time_growth": max(_more(before, last), 0) / early,
    }


def _more(small: dict[str, Any], large: dict[str, Any], step: str = "first") -> float:
    """Return the processor seconds that an image more takes, between two sizes."""
    return (_seconds(large[step], _CPU) - _seconds(small[step], _CPU)) / (large["images"] - small["images"])


def _seconds(steps: dict[str, Any], kind: str = "seconds") -> float:
    return sum(float(step[kind]) for step in steps.values())


def _spent(steps: dict[str, Any], *begins: str) -> float:
    """Return the seconds of parts by how their names begin."""
    parts = [(part, spent) for step in steps.values() for part, spent in step["parts"].items()]
    return sum(float(spent["seconds"]) for part, spent in parts if part.startswith(begins))


def _peak(case: dict[str, Any]) -> int:
    return max(int(step["peak_bytes"]) for name in ("first", "append") for step in case[name].values())


def _text(cases: dict[int, dict[str, Any]]) -> str:
    sizes = sorted(cases)
    named = [f"{'first' if step == 'first' else '+1 %'}, {name}" for step, name in _RUNS]
    memory = [
        (f"{size:,}", *(round(cases[size][step][name]["peak_bytes"] / 1e6) for step, name in _RUNS)) for size in sizes
    ]
    largest = cases[sizes[-1]]
    disk = [(place, f"{size / 1e6:,.0f}", round(size / sizes[-1])) for place, size in largest["disk"].items()]
    return "\n\n".join(
        (
            "Grey pictures of 16 to 28 pixels a side in 20 class folders, PNG and JPEG; `data import`, then "
            "`data check`, which makes a version and pushes it to a remote that is a folder. Then 1 % more with "
            "`--append`. Seconds are those of a clock, where other programs run beside it too; processor seconds are "
            "those of all threads of the command.",
            table(_HEAD, [_case_row(cases[size]) for size in sizes]),
            "Peak memory of the process tree, MB:",
            table(("images", *named), memory),
            f"Processor seconds by part, {sizes[-1]:,} images:",
            table(("part", *named), _part_rows(largest)),
            "Bytes on the disk after the first import, without the source:",
            table(("place", "MB", "bytes an image"), disk),
        )
    )


_HEAD = (
    "images",
    "drawn, s",
    "import, s",
    "check and version, s",
    "µs an image",
    "processor, µs an image",
    "versions, µs an image",
    "+1 %, s",
    "+1 %, processor",
)


def _case_row(case: dict[str, Any]) -> tuple[str, ...]:
    size, first, added = case["images"], case["first"], case["append"]
    spent = {kind: (_seconds(first, kind), _seconds(added, kind)) for kind in ("seconds", _CPU)}
    return (
        f"{size:,}",
        f"{case['drawing_seconds']:.1f}",
        f"{first['import']['seconds']:.1f}",
        f"{first['check']['seconds']:.1f}",
        *(f"{spent[kind][0] / size * 1e6:,.0f}" for kind in spent),
        f"{_spent(first, 'DVC: ', 'versions: ') / size * 1e6:,.0f}",
        *(f"{more:.1f} ({more / once:.1%})" for once, more in spent.values()),
    )


def _part_rows(case: dict[str, Any]) -> list[tuple[str, ...]]:
    runs = [case[step][name] for step, name in _RUNS]
    parts = sorted({part for run in runs for part in run["parts"]})
    nothing = {"cpu_seconds": 0.0}
    rows = [(part, *(f"{run['parts'].get(part, nothing)['cpu_seconds']:.1f}" for run in runs)) for part in parts]
    rest = [run["cpu_seconds"] - sum(part["cpu_seconds"] for part in run["parts"].values()) for run in runs]
    return [*rows, ("the rest", *(f"{seconds:.1f}" for seconds in rest))]


_RUNS = [(step, name) for step in ("first", "append") for name in _STEPS]


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else None
    print(json.dumps(run(Settings.load(), images=wanted), indent=2))
