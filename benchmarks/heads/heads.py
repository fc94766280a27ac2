"""`drillcore bench heads`: time and accuracy of every head beside plain scikit-learn, on one table, in one run.

Forests grow in turn with scikit-learn's, both with the same threads, seed and rows: ours whole before, between and
after the parts of theirs, so that what else the machine does falls on both. Where scikit-learn-intelex is installed its
forest stands beside. SVMs are measured by `heads_svm`.
"""

from __future__ import annotations

import importlib
import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.heads.pooled_table import PooledTable, pooled_table
from benchmarks.heads.svm import measure, smallest_speedup
from benchmarks.report import facts, table, write_report
from drillcore.heads.forest.extra_trees import ExtraTreesHead
from drillcore.heads.forest.forest import ForestHead
from drillcore.settings import Settings

TREES = 400  # paper 004, section II.C
PARTS = 2  # of scikit-learn's forest
SEED = 0
_LEAST = 1e-7  # of a probability, in the log loss
_COLUMNS = (
    "head",
    "rows",
    "training, s",
    "of the processor, s",
    "prediction of the test rows, s",
    "accuracy",
    "log loss",
)
_REFERENCES = {"forest": "RandomForestClassifier", "extra_trees": "ExtraTreesClassifier"}


def run(settings: Settings, *, quick: bool = False, trees: int | None = None) -> dict[str, Any]:
    """Measure, write the report (not when quick) and return it.

    Args:
        settings: threads, and the state folder where the table is kept.
        quick: the bundled sample and few trees; no report.
        trees: of each forest; None: 400, or 16 when quick.
    """
    count = trees or (16 if quick else TREES)
    data = pooled_table(settings, quick=quick)
    forests = [_forest(kind, data, count, settings.cpu_threads) for kind in (ForestHead, ExtraTreesHead)]
    options = {"seed": SEED, "threads": settings.cpu_threads, "quick": quick}
    svms = measure(data.rows, data.labels, data.test_rows, data.test_labels, options)
    figures = {
        "forest_training_speedup": forests[0]["speedup"],
        "svm_training_speedup": smallest_speedup(svms),
        "extra_trees_training_speedup": forests[1]["speedup"],
        "forest_accuracy_difference": forests[0]["accuracy_difference"],
        "forest_prediction_speedup": forests[0]["prediction_speedup"],
    }
    about = {"name": data.name, "rows": len(data.rows), "test_rows": len(data.test_rows), "width": data.rows.shape[1]}
    raw = {
        "table": {**about, "classes": data.classes, "threads": settings.cpu_threads},
        "forests": forests,
        "intelex": _intelex(data, count, settings.cpu_threads),
        "svms": svms,
    }
    seeds = {"forests": SEED, "svms": SEED}
    if quick:
        return {**figures, **facts(seeds), "raw": raw}
    return write_report("heads", figures, raw, _text(raw), seeds=seeds)


def _forest(kind: type[ForestHead], data: PooledTable, count: int, threads: int) -> dict[str, Any]:
    """Fit ours and scikit-learn's in turn; seconds, accuracy, log loss and how far the probabilities differ."""
    from sklearn import ensemble

    start = time.perf_counter()
    few = data.rows[:200, :8]
    kind(1).fit(few, np.arange(200) % 2).predict_proba(few)  # compiled once, for every table
    compiled = time.perf_counter() - start
    rows, test = data.rows.astype(np.float32), data.test_rows.astype(np.float32)
    theirs = getattr(ensemble, _REFERENCES[kind.name])(0, random_state=SEED, n_jobs=threads, warm_start=True)
    head = kind(count, n_classes=data.classes, seed=SEED, n_jobs=threads)
    ours_times, their_times = [_timed(lambda: head.fit(rows, data.labels))], []
    for part in range(PARTS):
        theirs.n_estimators = count * (part + 1) // PARTS
        their_times.append(_timed(lambda: theirs.fit(rows, data.labels)))
        ours_times.append(_timed(lambda: head.fit(rows, data.labels)))
    seconds, busy = (
        {
            "ours": statistics.median(taken[kind] for taken in ours_times),
            "theirs": sum(taken[kind] for taken in their_times),
        }
        for kind in (0, 1)
    )
    ours_said, ours_seconds = _answers(head, test)
    theirs_said, theirs_seconds = _answers(theirs, test)
    theirs_said = _all_classes(theirs_said, theirs.classes_, data.classes)
    ours, other = _quality(ours_said, data.test_labels), _quality(theirs_said, data.test_labels)
    return {
        "name": kind.name,
        "trees": count,
        "seconds": seconds,
        "cpu_seconds": busy,
        "raw_seconds": {"ours": ours_times, "theirs": their_times},
        "compile_seconds": compiled,
        "speedup": seconds["theirs"] / seconds["ours"],
        "cpu_speedup": busy["theirs"] / busy["ours"],
        "prediction_seconds": {"ours": ours_seconds, "theirs": theirs_seconds},
        "prediction_speedup": theirs_seconds / ours_seconds,
        "ours": ours,
        "theirs": other,
        "accuracy_difference": abs(ours["accuracy"] - other["accuracy"]),
        "largest_probability_difference": float(np.abs(ours_said - theirs_said).max()),
        "nodes": len(head.trees_.feature),
        "bytes": sum(array.nbytes for array in head.trees_.arrays().values()),
    }


def _intelex(data: PooledTable, count: int, threads: int) -> dict[str, Any] | None:
    """Fit scikit-learn-intelex's forest once; None where it is not installed."""
    if importlib.util.find_spec("sklearnex") is None:
        return None
    ensemble = importlib.import_module("sklearnex.ensemble")
    forest = ensemble.RandomForestClassifier(count, random_state=SEED, n_jobs=threads)
    rows = data.rows.astype(np.float32)
    seconds, busy = _timed(lambda: forest.fit(rows, data.labels))
    said = _all_classes(forest.predict_proba(data.test_rows.astype(np.float32)), forest.classes_, data.classes)
    return {"seconds": seconds, "cpu_seconds": busy, **_quality(said, data.test_labels)}


def _answers(head: Any, rows: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float64], float]:
    start = time.perf_counter()
    found = head.predict_proba(rows)
    return found, time.perf_counter() - start


def _all_classes(
    probabilities: npt.NDArray[np.float64], present: npt.NDArray[np.int64], classes: int
) -> npt.NDArray[np.float64]:
    full = np.zeros((len(probabilities), classes))
    full[:, present] = probabilities
    return full


def _quality(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> dict[str, float]:
    clipped = np.maximum(probabilities, _LEAST)
    own = clipped[np.arange(len(labels)), labels] / clipped.sum(axis=1)
    accuracy = (probabilities.argmax(axis=1) == labels).mean()
    return {"accuracy": float(accuracy), "log_loss": float(-np.log(own).mean())}


def _text(raw: dict[str, Any]) -> str:
    about, rows = raw["table"], []
    for found in raw["forests"]:
        for side, title in (("ours", found["name"]), ("theirs", f"scikit-learn's {_REFERENCES[found['name']]}")):
            times = found["seconds"][side], found["cpu_seconds"][side], found["prediction_seconds"][side]
            rows.append([title, about["rows"], *times, *found[side].values()])
    if raw["intelex"]:
        rows.append(_row("scikit-learn-intelex's forest", {**raw["intelex"], "rows": about["rows"]}))
    for record in raw["svms"]:
        share = record.get("share", 1.0)
        part = "" if share == 1.0 else f", {share:.0%} of the problems fitted, the time multiplied"
        named = f"{record['head']} {record['scheme']}"
        rows.append(_row(named if record["library"] == "drillcore" else f"{record['library']}{part}", record))
    forest = raw["forests"][0]
    size = f"{about['rows']:,} rows to learn from, {about['test_rows']:,} to test on, {about['width']:,} numbers each"
    return f"""Table: {about["name"]}; {size}, {about["classes"]} classes.
{about["threads"]} threads, {forest["trees"]} trees.

{table(_COLUMNS, rows)}

The forests are scikit-learn's, node by node: with one seed the largest difference of a probability of a test row is
{forest["largest_probability_difference"]:.2g}. Compiling took {forest["compile_seconds"]:.1f} s, once in a process, and
is not part of the times; bringing the table into ranks is. A forest takes {forest["bytes"] / 2**20:,.0f} MiB.
"""


def _row(title: str, found: dict[str, Any]) -> list[Any]:
    accuracy, loss = found.get("accuracy"), found.get("log_loss")
    known = ["" if figure is None else figure for figure in (accuracy, loss)]
    return [title, found["rows"], found["seconds"], found["cpu_seconds"], "", *known]


def _timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Return seconds, and seconds of the processor."""
    start, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - busy
