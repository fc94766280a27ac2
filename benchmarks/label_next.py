"""`drillcore bench label-next`: labels asked for by `label-next` beside labels drawn at random, at equal numbers.

A folder of zips (`flowers17.zip`, `scene15.zip`, `plankton_train.zip`) is read by the Python interface; features are
those of a frozen EfficientNet-Lite0, and the head is a linear SVM, as `drillcore new` makes them. A fifth of the images
is kept to judge by; from 2 labels a class on, each of five rounds asks for as many again. Random choice has the same
start and head.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.frozen_features import frozen_features
from benchmarks.report import RESULTS, table, write_report
from drillcore.analysis.labelling.choosing import choose, unsureness
from drillcore.datasets.synthetic import write_sample
from drillcore.errors import InputError
from drillcore.heads.svm.linear_svm import LinearSvmHead
from drillcore.progress import progress

if TYPE_CHECKING:
    from drillcore.settings import Settings

SETS = ("flowers17", "scene15", "plankton_train")
SIDE, START, BUDGETS, MOST_IMAGES, SEEDS = 128, 2, 5, 3000, (0, 1, 2)
Curve = list[float]


def run(settings: Settings, *, quick: bool = False, data: Path | None = None) -> dict[str, Any]:
    """Measure all sets of the folder `data` that are there; without it the drawn plankton of the sample."""
    seeds = SEEDS[:1] if quick else SEEDS
    rows: list[dict[str, Any]] = []
    if data is None:
        settings.state.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=settings.state) as drawn:
            write_sample("plankton", Path(drawn) / "sample")
            rows += _measured(settings, Path(drawn) / "sample", seeds)
    for name in () if data is None else SETS[:1] if quick else SETS:
        if data is not None and (data / f"{name}.zip").is_file():
            rows += _measured(settings, data / f"{name}.zip", seeds)
    if not rows:
        raise InputError(f"none of {', '.join(SETS)} is in {data}")
    gains = [row["asked"][step] - row["random"][step] for row in rows for step in range(1, 1 + BUDGETS)]
    figures = {
        "gain_over_random": round(100 * statistics.mean(gains), 2),
        **{
            f"{name}_gain": round(100 * statistics.mean(_gains([row for row in rows if row["data"] == name])), 2)
            for name in dict.fromkeys(row["data"] for row in rows)
        },
    }
    folder = settings.state / "bench" if quick else RESULTS
    raw = {"rows": rows, "settings": {"side": SIDE, "start": START, "budgets": BUDGETS, "most_images": MOST_IMAGES}}
    return write_report("label-next", figures, raw, _text(rows), seeds={"all": len(seeds)}, folder=folder)


def _gains(rows: list[dict[str, Any]]) -> list[float]:
    return [row["asked"][step] - row["random"][step] for row in rows for step in range(1, 1 + BUDGETS)]


def _measured(settings: Settings, source: Path, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
    features, labels = frozen_features(settings, source, side=SIDE, least=2 * (START + BUDGETS), most=MOST_IMAGES)
    found = []
    with progress(f"label-next on {source.stem}", len(seeds)) as advance:
        for seed in seeds:
            random = np.random.default_rng(seed)
            order = random.permutation(len(labels))
            judged, pool = order[: len(order) // 5], order[len(order) // 5 :]
            start = np.concatenate([pool[labels[pool] == label][:START] for label in np.unique(labels)])
            row: dict[str, Any] = {"data": source.stem, "seed": seed, "images": len(labels), "first": len(start)}
            for way in ("asked", "random"):
                row[way] = _curve(features, labels, start, pool, judged, asked=way == "asked", seed=seed)
            found.append(row)
            advance(1)
    return found


def _curve(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    start: NDArray[np.int64],
    pool: NDArray[np.int64],
    judged: NDArray[np.int64],
    *,
    asked: bool,
    seed: int,
) -> Curve:
    """Return the accuracy at the start and after each budget."""
    random, known, curve = np.random.default_rng(1000 + seed), start, Curve()
    for step in range(1 + BUDGETS):
        head = LinearSvmHead(n_classes=int(labels.max()) + 1, threads=1).fit(features[known], labels[known])
        curve.append(float((head.predict(features[judged]) == labels[judged]).mean()))
        rest = np.setdiff1d(pool, known)
        if step == BUDGETS or not len(rest):
            continue
        if asked:
            unsure = unsureness(head.predict_proba(features[rest]))
            taken, _ = choose(features[rest], unsure, len(start), labelled=features[known])
            known = np.concatenate([known, rest[taken]])
        else:
            known = np.concatenate([known, random.permutation(rest)[: len(start)]])
    return curve + curve[-1:] * (1 + BUDGETS - len(curve))


def _text(rows: list[dict[str, Any]]) -> str:
    lines = [
        (row["data"], row["seed"], way, row["first"], *(f"{value:.3f}" for value in row[way]))
        for row in rows
        for way in ("asked", "random")
    ]
    budgets = [f"{1 + step}x" for step in range(1 + BUDGETS)]
    heads = ("data", "seed", "labels", "first", *budgets)
    return (
        "Accuracy on images kept apart, by how many times the first labels are known: asked for by `label-next`, or "
        f"drawn at random. EfficientNet-Lite0, frozen, at {SIDE} pixels; a linear SVM.\n\n{table(heads, lines)}"
    )
