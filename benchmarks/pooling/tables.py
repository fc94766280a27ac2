"""`drillcore bench cross-pooling`: paper 003's tables on what is here, its claims, and what pooling and kernels cost.

Maps are extracted once and kept (`features`), kernels too (`kernels`): a run that was killed goes on. C
is chosen on rows held out of train and val, as the recipe's head does; test is looked at once.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.pooling.features import NETWORKS, Maps, Pictures, build, class_folders, drawn_pictures
from benchmarks.pooling.kernels import SEED, Answers, Pooling, answers, fitted, methods, paired, rows_of
from benchmarks.pooling.text import written
from benchmarks.report import facts, write_report
from drillcore.errors import InputError
from drillcore.heads.row_source import gram
from drillcore.representations.cross_pooling.pooling import guides, local_features, normalised, pooled

if TYPE_CHECKING:
    from drillcore.settings import Settings

# Pictures of each class from train and test, the first by name; None: all.
SETS: dict[str, tuple[int, int] | None] = {"flowers17": None, "scene15": (40, 30)}
TIMES = 7
Found = dict[str, dict[str, dict[str, Answers]]]  # by network, data set and method


def run(
    settings: Settings, *, quick: bool = False, data: Path | None = None, only: Sequence[str] | None = None
) -> dict[str, Any]:
    """Measure, write the report (not when quick) and return it.

    Args:
        settings: where maps and kernels are kept.
        quick: drawn pictures through a small network of random weights; no report.
        data: a folder with flowers17.zip and scene15.zip.
        only: networks (lite0, squeezenet), or "jitter" for ten crops too; None: networks whose maps are kept, or lite0.

    Raises:
        InputError: no data.
    """
    keys = ["quick"] if quick else [key for key in only or () if key in NETWORKS] or _kept(settings)
    found: Found = {}
    maps: dict[tuple[str, str], Maps] = {}
    for key in keys:
        for pictures in _sets(settings, data, quick):
            kept = maps[key, pictures.name] = Maps(settings, pictures, key)
            kept.extract(jitter=False)
            if only and "jitter" in only:
                kept.extract(jitter=True)
            made = methods(kept)
            chosen = ("CNN-Global", "CL-45", "CL-45F", "CL-45C") if quick else tuple(made)
            found.setdefault(key, {})[pictures.name] = {
                name: answers(made[name](), pictures.labels, pictures.splits) for name in chosen
            }
    gains = {
        key: paired(
            [rows["CL-45C"].right for rows in sets.values()], [rows["CNN-Global"].right for rows in sets.values()]
        )
        for key, sets in found.items()
    }
    lowest = min(gains.values())
    first = next(iter(maps.values()))
    pooling, products = pooling_times(settings, first), kernel_times(first)
    figures = {
        "pooling_vs_backbone": pooling["pooling"] / pooling["backbone"],
        "gram_vs_matmul": products["matmul"] / products["gram"],
        "cl45c_minus_global": lowest[0],
        "cl45c_minus_global_low": lowest[1],
    }
    raw = {
        "accuracy": {
            key: {name: {method: [one.score, one.c] for method, one in rows.items()} for name, rows in sets.items()}
            for key, sets in found.items()
        },
        "gains": gains,
        "pooling_seconds": pooling,
        "kernel_seconds": products,
    }
    if quick:
        return {**figures, **facts({"folds": SEED}), "raw": raw}
    text = written(found, gains, pooling, products, {name: _counts(maps[keys[0], name].pictures) for name in SETS})
    return write_report("cross-pooling", figures, raw, text, seeds={"folds": SEED, "bootstrap": SEED})


def _sets(settings: Settings, data: Path | None, quick: bool) -> list[Pictures]:
    if quick:
        return [drawn_pictures(settings)]
    if data is None:
        raise InputError("the data sets are given as --data FOLDER, with flowers17.zip and scene15.zip in it")
    return [class_folders(settings, data / f"{name}.zip", most=most) for name, most in SETS.items()]


def _kept(settings: Settings) -> list[str]:
    folder = settings.state / "bench" / "cross-pooling" / "maps"
    return [
        key for key in NETWORKS if all((folder / f"{name}-{key}" / "global.done.json").exists() for name in SETS)
    ] or ["lite0"]


def _counts(pictures: Pictures) -> dict[str, int]:
    return {name: int((pictures.splits == name).sum()) for name in ("train", "val", "test")}


def pooling_times(settings: Settings, maps: Maps) -> dict[str, float]:
    """Return seconds of one picture on one thread: the backbone's forward pass, and pooling with normalisation."""
    import torch
    from threadpoolctl import threadpool_limits

    network = NETWORKS[maps.key]
    backbone = build(settings, maps.key)
    x = torch.zeros(1, 3, network.side, network.side)
    ours = Pooling()
    pca = fitted(maps, ours)
    local, guide = (np.asarray(maps[name][:1, 0], np.float32) for name in (ours.local, ours.guide))

    def pool() -> Any:
        features, weights = local_features(local, ours.subarray), guides(guide, ours.subarray)
        return normalised(pooled(features, weights, pca).reshape(1, -1), "power", unit_length=True)

    torch.set_num_threads(1)
    with threadpool_limits(1, "blas"):
        return _in_turn({"backbone": lambda: backbone.forward_taps(x, network.pair45), "pooling": pool})


def kernel_times(maps: Maps) -> dict[str, float]:
    """Return seconds of the kernel of CL-45 rows kept as float16, and of the bare product of the same in float32.

    The kernel's are those of all pairs; it computes half of them, since the other half is the same.
    """
    from threadpoolctl import threadpool_limits

    rows = rows_of(maps, Pooling())
    whole = rows.astype(np.float32)
    with threadpool_limits(1, "blas"):
        return _in_turn({"matmul": lambda: whole @ whole.T, "gram": lambda: gram(rows)}, times=3)


def _in_turn(works: dict[str, Callable[[], Any]], times: int = TIMES) -> dict[str, float]:
    """Return the median seconds of the processor, each taken in turn so that what else runs falls on all."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(times):
        for name, work in works.items():
            start = time.process_time()
            work()
            taken[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in taken.items()}
