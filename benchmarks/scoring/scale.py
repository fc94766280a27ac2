"""The part of `bench score` about scale: two Dask workers against one, 100,000 images in one run, 100 million on paper.

A worker gets one core of its own and one thread for the network; decoding shares that core. Driver and scheduler run
beside the workers on the same cores, as they must on one machine: what they take is measured too.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pinned import pinned_clusters
from benchmarks.report import table
from drillcore.cluster.address import Cluster
from drillcore.runtime.model.served import ServedModel
from drillcore.runtime.model.session import open_model
from drillcore.settings import Settings
from drillcore_serving.batch.score_batch import score

_SHARD_ROWS = 50  # many shards, so that the last ones do not leave a worker idle for long
_IDLE_SECONDS = 2.0
_LONG = 100_000_000
_MACHINES = (1, 10, 100, 1000)
# Sampled: ru_maxrss of a child counts what its parent held before the child's program began.
_LONG_PROGRAM = """
import contextlib, json, sys, threading, time
from pathlib import Path
import psutil
from drillcore.runtime.batch.receipt import verify
from drillcore.runtime.model.served import resolve
from drillcore.settings import Settings
from drillcore_serving.batch.score_batch import score
settings, peaks, done = Settings.load(Path(sys.argv[1])), {}, False
output, parts = Path(sys.argv[3]), int(sys.argv[4])
def watch():
    peak = 0
    while not done:
        with contextlib.suppress(psutil.NoSuchProcess):
            own = psutil.Process()
            peak = max(peak, sum(each.memory_info().rss for each in (own, *own.children())))
        ready = sum(1 for _ in output.glob("part-*.parquet"))
        for percent in (10, 50):
            if ready * 100 >= parts * percent:
                peaks.setdefault(percent, peak / 2**20)
        time.sleep(0.02)
    peaks[100] = peak / 2**20
thread = threading.Thread(target=watch)
thread.start()
began = time.perf_counter()
result = score(settings, resolve(settings, sys.argv[5]), Path(sys.argv[2]), output, device="cpu")
seconds = time.perf_counter() - began
done = True
thread.join()
verify(output)
print(json.dumps({"seconds": seconds, "scored": result.scored, "set_aside": result.set_aside, "parts": result.parts,
                  "peak_mib": peaks}))
"""


def two_workers(
    settings: Settings, model: ServedModel, small: ServedModel, paths: Sequence[Path], count: int, rounds: int
) -> dict[str, Any]:
    """Measure images a second of one Dask worker and of two, each on a core of its own, in interleaved rounds.

    Args:
        settings: where it goes.
        model: scores the first `count` of `paths`.
        small: a model of small cost, under which the driver's shows; scores all of them.
        paths: the images.
        count: of them.
        rounds: after one that warms up.

    Returns:
        `one`, `two`: images a second; `speedup`: median over the rounds; `cores` that were there;
        `driver_s_per_image`: CPU seconds of driver and scheduler together, without what they take when idle;
        `driver_idle_share` of a core; `seconds` as measured.
    """
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with pinned_clusters(list(seconds)) as clusters:
        rows = _SHARD_ROWS if count > 8 * _SHARD_ROWS else 4
        for number in range(rounds + 1):  # the first round warms up: each worker opens the model
            for workers, cluster in clusters.items():
                taken, _ = _scored(settings, model, paths[:count], f"{workers}-{number}", rows, cluster)
                if number:
                    seconds[workers].append(taken)
        idle = time.process_time()
        time.sleep(_IDLE_SECONDS)
        share = (time.process_time() - idle) / _IDLE_SECONDS
        for number in range(2):
            rows = -(-len(paths) // 4)
            taken, cpu = _scored(settings, small, paths, f"small-{number}", rows, clusters[2])
    one, two = (count / statistics.median(seconds[workers]) for workers in (1, 2))
    return {
        "one": one,
        "two": two,
        # Round by round: what else the machine does changes from one round to the next.
        "speedup": statistics.median(first / second for first, second in zip(seconds[1], seconds[2], strict=True)),
        "images": count,
        "cores": len(os.sched_getaffinity(0)),
        "driver_s_per_image": max(cpu - share * taken, 0.05 * cpu) / len(paths),
        "driver_shard_rows": rows,
        "driver_idle_share": share,
        "seconds": {str(workers): values for workers, values in seconds.items()},
    }


def _scored(
    settings: Settings, model: ServedModel, paths: Sequence[Path], name: str, rows: int, cluster: Cluster
) -> tuple[float, float]:
    """Return seconds and CPU seconds of this process, without opening the model, which the driver does to know it."""
    listing = settings.root / f"scale-{name}.txt"
    listing.write_text("\n".join(map(str, paths)))
    output = settings.root / f"scale-{name}"
    cpu, began = time.process_time(), time.perf_counter()
    open_model(model.path, sha256=model.sha256, threads=1)
    opened_cpu, opened = time.process_time(), time.perf_counter()
    score(settings, model, listing, output, device="cpu", shard_rows=rows, engine="dask", cluster=cluster)
    ended_cpu, ended = time.process_time(), time.perf_counter()
    return ended - opened - (opened - began), ended_cpu - opened_cpu - (opened_cpu - cpu)


def long_run(settings: Settings, model: ServedModel, count: int) -> dict[str, Any]:
    """Score so many different small JPEGs in one process' run, its decoders counted in, and verify the receipt.

    Returns:
        `images`, `images_per_second`, `peak_mib` by the percentage of parts that were done, `growth`: peak of the
        whole run over the peak until its first tenth was done.
    """
    began = time.perf_counter()
    draw_crops(settings.root / "long", count)
    drawn = time.perf_counter() - began
    output = settings.root / "long-out"
    arguments = (settings.root, settings.root / "long", output, -(-count // 4096), model.model)
    done = subprocess.run(
        [sys.executable, "-c", _LONG_PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    found: dict[str, Any] = json.loads(done.stdout)
    peak = found["peak_mib"]
    return {
        **found,
        "images": count,
        "images_per_second": count / found["seconds"],
        "growth": peak["100"] / peak["10"],
        "drawing_s": drawn,
    }


def draw_crops(folder: Path, count: int) -> None:
    """Write `count` different grey JPEGs of 24 to 96 pixels a side: crops of one large drawn sheet of ellipses."""
    from PIL import Image, ImageDraw

    rng = np.random.default_rng(1)
    side = 4096
    sheet = Image.fromarray(rng.integers(235, 256, (side, side), np.uint8))
    draw = ImageDraw.Draw(sheet)
    for x, y, size, level in zip(
        *rng.uniform(0, side, (2, 12_000)), rng.uniform(3, 25, 12_000), rng.integers(0, 200, 12_000), strict=True
    ):
        draw.ellipse((x - size, y - size / 2, x + size, y + size / 2), fill=int(level))
    heights, widths = rng.integers(24, 97, (2, count))
    tops, lefts = rng.integers(0, side - 96, (2, count))
    for number, (top, left, height, width) in enumerate(zip(tops, lefts, heights, widths, strict=True)):
        target = folder / f"{number // 1000:04d}" / f"{number:06d}.jpg"
        if number % 1000 == 0:
            target.parent.mkdir(parents=True)
        sheet.crop((int(left), int(top), int(left + width), int(top + height))).save(target, quality=85)


def scale_text(workers: dict[str, Any], long: dict[str, Any], rates: dict[str, Any]) -> str:
    """Return the Markdown about scale."""
    peak = long["peak_mib"]
    bound = 1 / workers["driver_s_per_image"]
    local = rates["squeezenet"]
    measured = [
        ("squeezenet, Dask, 1 worker", workers["images"], 1, round(workers["one"])),
        ("squeezenet, Dask, 2 workers", workers["images"], 2, round(workers["two"])),
        (
            "squeezenet, local engine",
            local["images"],
            workers["cores"],
            round(local["score"]),
        ),
        ("plankton, local engine", long["images"], workers["cores"], round(long["images_per_second"])),
    ]
    rows = []
    for name, rate in (("squeezenet", workers["two"]), ("plankton", long["images_per_second"])):
        hours = [f"{_LONG / min(rate * machines, bound) / 3600:,.1f}" for machines in _MACHINES]
        rows.append((name, round(rate), *hours))
    return "\n\n".join(
        [
            "## Two workers against one",
            f"One thread and one core each. Driver and scheduler, on the same cores, took "
            f"{1e6 * workers['driver_s_per_image']:,.0f} microseconds of a core per image in shards of "
            f"{workers['driver_shard_rows']:,} (and {100 * workers['driver_idle_share']:.0f} % of a core idle, two "
            f"clusters together): one driver keeps up with {bound:,.0f} images a second.",
            f"## {long['images']:,} images in one run",
            f"Small JPEGs, all different: {long['scored']:,} scored, {long['set_aside']:,} set aside, "
            f"{long['parts']} parts, receipt verified.",
            table(
                ("parts done", "peak of all processes until then, MiB"),
                [(f"{percent} %", round(peak[str(percent)])) for percent in (10, 50, 100)],
            ),
            "## What was measured, and what it gives for 100 million images",
            table(("case", "images", "cores", "images a second"), measured),
            "Hours on N machines like this one, if a machine more gives what the first one gave, and no more than one "
            "driver keeps up with. The first column of figures is measured, the others are computed from it. Reading "
            "from a store that all machines share is not in it.",
            table(("model", "images a second, 1 machine", *(f"N = {n:,}, hours" for n in _MACHINES)), rows),
        ]
    )
