"""SVM heads beside plain scikit-learn, the part of `bench heads` about them: same rows, same C, same kernel.

Both learn from standardised rows, scikit-learn's given ready. Ours is timed without the calibration of probabilities,
which scikit-learn's SVMs do not have either, and with it. Before and after scikit-learn's turn ours runs once, so that
what else the machine does falls on both; processor seconds stand beside. A reference that would take hours is fitted
for some classes and its time multiplied; its accuracy is not known then.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from drillcore.heads.catalogue import build_head

ROWS, QUICK_ROWS = 6000, 600  # that both learn from: LinearSVC learns from 6,000 for 20 minutes of a core
SAMPLED = 10  # classes of a reference that is too slow
_LEAST = 1e-7  # of a probability, in the log loss
Table = tuple[npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[Any], npt.NDArray[np.int64]]


@dataclass(frozen=True)
class Contest:
    """One head and what it is set beside.

    Attributes:
        head: its name.
        params: its parameters.
        library: what the reference is.
        fit: from rows float64 [N, D] and labels to the fitted estimator, None where only a share of the problems was
            fitted, and that share.
        costly: ours is not fitted to the whole table, only to the rows of the contest.
    """

    head: str
    params: dict[str, Any]
    library: str
    fit: Callable[[npt.NDArray[np.float64], npt.NDArray[np.int64]], tuple[Any, float]]
    costly: bool = False


def measure(
    rows: npt.NDArray[Any],
    labels: npt.NDArray[np.int64],
    test_rows: npt.NDArray[Any],
    test_labels: npt.NDArray[np.int64],
    options: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Return one record for each head and library.

    Args:
        rows: float16 or float32 [N, D].
        labels: class indices [N].
        test_rows: [M, D].
        test_labels: [M].
        options: `threads`, `seed`, `quick`; `svm_rows`: rows of the contest; `whole`: whether ours learns from the
            whole table too, but for what is costly (not when quick); `svms`: names "head/scheme" to keep, all where
            absent.

    Returns:
        records with `head, scheme, library, rows, seconds, cpu_seconds, accuracy`; ours also with `log_loss,
        calibrated_seconds, calibrated_cpu_seconds, votes_accuracy, compile_seconds, megabytes`; a reference with
        `speedup, calibrated_speedup, cpu_speedup, accuracy_difference` and `share`, of its problems that were fitted.
    """
    quick, seed, threads = bool(options.get("quick")), int(options.get("seed", 0)), int(options.get("threads", 1))
    count = min(int(options.get("svm_rows") or (QUICK_ROWS if quick else ROWS)), len(rows))
    chosen = np.sort(np.random.default_rng(seed).permutation(len(rows))[:count])
    small = rows[chosen], labels[chosen], test_rows, test_labels
    kept = options.get("svms")
    records = []
    for contest in contests(seed):
        if kept and f"{contest.head}/{contest.params['scheme']}" not in kept:
            continue
        compiled = _timed(lambda contest=contest: _head(contest, threads, 0).fit(rows[:60, :8], np.arange(60) % 3))[0]
        records += _race(contest, small, threads, compiled)
        if options.get("whole", not quick) and count < len(rows) and not contest.costly:
            records.append(_ours(contest, (rows, labels, test_rows, test_labels), threads, compiled))
    return records


def smallest_speedup(records: list[dict[str, Any]], name: str = "speedup") -> float:
    """Return the smallest speedup of all heads, by one of the names a reference's record has."""
    return min(record[name] for record in records if name in record)


def contests(seed: int) -> list[Contest]:
    """Return what is compared, with the heads' own C."""
    from sklearn.multiclass import OneVsOneClassifier
    from sklearn.svm import SVC, LinearSVC

    linear = LinearSVC(C=0.01, random_state=seed)
    kernel = SVC(C=1.0, kernel="rbf", gamma="scale")
    return [
        Contest("linear_svm", {"scheme": "one_vs_rest", "c": 0.01}, "LinearSVC", _all_of(linear)),
        Contest(
            "linear_svm",
            {"scheme": "one_vs_one", "c": 0.01},
            "OneVsOneClassifier(LinearSVC)",
            _all_of(OneVsOneClassifier(linear)),
        ),
        Contest("kernel_svm", {"scheme": "one_vs_one", "c": 1.0}, "SVC(rbf)", _all_of(kernel)),
        Contest(
            "kernel_svm",
            {"scheme": "one_vs_rest", "c": 1.0},
            "OneVsRestClassifier(SVC(rbf))",
            _some_of(kernel),
            costly=True,  # each of its problems has all rows
        ),
    ]


def _all_of(estimator: Any) -> Callable[..., tuple[Any, float]]:
    def fit(rows: Any, labels: Any) -> tuple[Any, float]:
        return estimator.fit(rows, labels), 1.0

    return fit


def _some_of(estimator: Any) -> Callable[..., tuple[Any, float]]:
    """Return what fits some classes against the rest, those of every rank in the order of their sizes."""
    from sklearn.base import clone

    def fit(rows: Any, labels: Any) -> tuple[Any, float]:
        present, counts = np.unique(labels, return_counts=True)
        ranked = present[np.argsort(counts, kind="stable")]
        some = ranked[np.unique(np.linspace(0, len(ranked) - 1, min(SAMPLED, len(ranked))).round().astype(int))]
        for number in some:
            clone(estimator).fit(rows, labels == number)
        return None, len(some) / len(present)

    return fit


def _race(contest: Contest, data: Table, threads: int, compiled: float) -> list[dict[str, Any]]:
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    rows, labels, test_rows, test_labels = data
    scaler = StandardScaler().fit(rows.astype(np.float64))
    ready, tests = (scaler.transform(part.astype(np.float64)) for part in (rows, test_rows))
    first = _ours(contest, data, threads, compiled)
    with threadpool_limits(threads, user_api="blas"):
        seconds, cpu, (fitted, share) = _timed(lambda: contest.fit(ready, labels))
    second = _ours(contest, data, threads, compiled)
    own = {**first, "raw_seconds": [record["seconds"] for record in (first, second)]}
    for name in ("seconds", "cpu_seconds", "calibrated_seconds", "calibrated_cpu_seconds"):
        own[name] = statistics.mean(record[name] for record in (first, second))
    theirs = {
        "head": contest.head,
        "scheme": contest.params["scheme"],
        "library": contest.library,
        "rows": len(rows),
        "share": share,
        "seconds": seconds / share,
        "cpu_seconds": cpu / share,
        "accuracy": None if fitted is None else float((fitted.predict(tests) == test_labels).mean()),
        "speedup": seconds / share / own["seconds"],
        "calibrated_speedup": seconds / share / own["calibrated_seconds"],
        "cpu_speedup": cpu / share / own["cpu_seconds"],
    }
    theirs["accuracy_difference"] = None if fitted is None else own["accuracy"] - theirs["accuracy"]
    return [own, theirs]


def _ours(contest: Contest, data: Table, threads: int, compiled: float) -> dict[str, Any]:
    rows, labels, test_rows, test_labels = data
    bare, calibrated = _head(contest, threads, 0), _head(contest, threads, 4)
    seconds, cpu, _ = _timed(lambda: bare.fit(rows, labels))
    calibrated_seconds, calibrated_cpu, _ = _timed(lambda: calibrated.fit(rows, labels))
    said = calibrated.predict_proba(test_rows)
    counted = calibrated.decision_function(test_rows).argmax(axis=1)
    known = np.maximum(np.pad(said, ((0, 0), (0, max(0, int(test_labels.max()) + 1 - said.shape[1])))), _LEAST)
    own = known[np.arange(len(test_labels)), test_labels] / known.sum(axis=1)
    return {
        "head": contest.head,
        "scheme": contest.params["scheme"],
        "library": "drillcore",
        "rows": len(rows),
        "seconds": seconds,
        "cpu_seconds": cpu,
        "calibrated_seconds": calibrated_seconds,
        "calibrated_cpu_seconds": calibrated_cpu,
        "accuracy": float((said.argmax(axis=1) == test_labels).mean()),
        "votes_accuracy": float((counted == test_labels).mean()),
        "log_loss": float(-np.log(own).mean()),
        "compile_seconds": compiled,
        "megabytes": sum(array.nbytes for array in calibrated.state()[0].values()) / 1e6,
    }


def _head(contest: Contest, threads: int, folds: int) -> Any:
    return build_head(contest.head, {**contest.params, "calibration_folds": folds}, threads=threads)


def _timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return seconds, seconds of the processor, and what came."""
    start, busy = time.perf_counter(), time.process_time()
    found = work()
    return time.perf_counter() - start, time.process_time() - busy, found
