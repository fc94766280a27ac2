"""`drillcore bench workers`: features from two Dask workers against one, each with a core of its own.

Driver and scheduler run beside the workers on the same cores, as they must on one machine: what they take is measured
too. A run begins with an empty store and ends with a full one; connecting to the workers, sending them the network and
opening it there are part of it.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.pinned import pinned_clusters
from benchmarks.report import facts, table, write_report
from benchmarks.store import SEED, draw_images
from drillcore.backbones.catalogue import build_backbone
from drillcore.cluster.address import Cluster
from drillcore.datasets.decoded_images import DecodedImages
from drillcore.digests import sha256_file
from drillcore.export.onnx_network import quickened
from drillcore.representations.activations.extraction import extract
from drillcore.settings import Settings

_BATCHES = 64  # images of a run that warms up
_NETWORK, _TAP, _SIDE = "timm:tf_efficientnet_lite0", "pooled", 224  # what models/plankton-lite.yaml reads


def run(settings: Settings, *, quick: bool = False) -> dict[str, Any]:
    """Measure, write the report (not when quick) and return it."""
    count, rounds = (64, 1) if quick else (4096, 3)
    settings.state.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-workers-", dir=settings.state) as name:
        raw = _measured(dataclasses.replace(settings, device="cpu", threads=1), Path(name), count, rounds)
    figures = {name: raw[name] for name in ("two_workers_speedup", "two_workers_cpu_speedup", "driver_ms_per_image")}
    if quick:
        return {**figures, **facts({"images": SEED}), "raw": raw}
    return write_report("workers", figures, raw, _text(raw), seeds={"images": SEED})


def _measured(settings: Settings, folder: Path, count: int, rounds: int) -> dict[str, Any]:
    paths = draw_images(folder / "images", count)
    digests = [sha256_file(path) for path in paths]
    backbone = quickened(build_backbone(_NETWORK, "seed:0", settings, resize=(_SIDE, _SIDE)))
    load = DecodedImages(settings, paths, backbone.channels, None, digests=digests)

    def filled(name: str, cluster: Cluster | None, images: int = count) -> tuple[float, float]:
        """Return seconds and CPU seconds of this process, in which driver and scheduler are."""
        shutil.rmtree(folder / name, ignore_errors=True)
        cpu, began = time.process_time(), time.perf_counter()
        found = extract(backbone, [_TAP], digests[:images], load, settings, root=folder / name, cluster=cluster)
        assert found.extracted == images
        return time.perf_counter() - began, time.process_time() - cpu

    seconds: dict[str, list[float]] = {"1": [], "2": []}
    busy: dict[str, list[float]] = {"1": [], "2": []}
    drivers = []
    with pinned_clusters((1, 2)) as clusters:
        for cluster in clusters.values():
            filled("warm", cluster, _BATCHES)  # a worker's first run imports all that it needs
        for _ in range(rounds):
            for workers, cluster in clusters.items():
                before = _cpu_seconds(cluster)
                wall, cpu = filled(str(workers), cluster)
                seconds[str(workers)].append(wall)
                busy[str(workers)].append(max(after - before[name] for name, after in _cpu_seconds(cluster).items()))
            drivers.append(cpu)  # of the last: with two workers
    seconds["here"] = [filled("here", None)[0]]
    trees = [_files(folder / name) for name in seconds]
    assert trees[0] == trees[1] == trees[2], "the bytes of the store depend on who computed them"
    ratios = {
        name: statistics.median(one / two for one, two in zip(taken["1"], taken["2"], strict=True))
        for name, taken in (("two_workers_speedup", seconds), ("two_workers_cpu_speedup", busy))
    }
    return {
        "images": count,
        "network": f"{_NETWORK}, {_TAP}, {_SIDE} x {_SIDE}",
        "cores": len(os.sched_getaffinity(0)),
        # Round by round: what else the machine does changes from one round to the next.
        **ratios,
        "driver_ms_per_image": 1000 * statistics.median(drivers) / count,
        "load_after": round(os.getloadavg()[0], 2),
        "seconds": seconds,
        "cpu_seconds_of_the_busiest": busy,
    }


def _cpu_seconds(cluster: Cluster) -> dict[str, float]:
    """Return what each worker has computed so far."""
    from distributed import Client

    with Client(cluster.address, set_as_default=False) as client:
        found: dict[str, float] = client.run(time.process_time)
    return found


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _text(raw: dict[str, Any]) -> str:
    names = {"1": "one Dask worker", "2": "two Dask workers", "here": "one thread of this process"}
    rows = [
        (names[workers], statistics.median(taken), raw["images"] / statistics.median(taken))
        for workers, taken in raw["seconds"].items()
    ]
    return f"""{table(("who computes", "seconds, median", "images/s"), rows)}

{raw["images"]:,} JPEG files through {raw["network"]}, into an empty store, {len(raw["seconds"]["1"])} rounds in turn on
{raw["cores"]} cores; each worker has one of them, driver and scheduler run beside. The speedup is the median over the
rounds; `cpu` is the same of the processor seconds of the worker that had most to do, which other work on the machine
changes little. The three stores are equal to the byte. Load of the machine afterwards: {raw["load_after"]}.
"""
