"""`drillcore bench few`: how far a few labelled images a class go, by what `drillcore new` makes and by others.

All ways learn from the same features, those of the frozen network that `new` takes at the size it takes: its head, the
forest of paper 004 (400 trees), and a linear probe as people make it with scikit-learn (standardised features,
logistic regression of C 1). A fifth of each class is kept to judge by; labelled images are drawn from the others, with
several seeds. Nothing is tuned.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.frozen_features import Features, frozen_features
from benchmarks.report import RESULTS, table, write_report
from drillcore.datasets.synthetic import write_sample
from drillcore.errors import InputError
from drillcore.heads.catalogue import build_head
from drillcore.heads.forest.forest import ForestHead
from drillcore.progress import progress
from drillcore.recipes.own_images import frozen_head
from drillcore.tasks import CLASSIFICATION

if TYPE_CHECKING:
    from drillcore.settings import Settings

SIDE, EACH, TREES = 224, 150, 400
SETS = {"flowers17": 0, "scene15": 0, "plankton_train": 20}  # classes taken: the largest; 0: all
SIZES, SEEDS = (5, 10, 20, 50), (0, 1, 2, 3, 4)
WAYS: dict[str, Callable[[int, int], Any]] = {
    "new": lambda classes, seed: build_head(frozen_head(CLASSIFICATION), n_classes=classes, seed=seed),
    "linear_svm": lambda classes, seed: build_head("linear_svm", n_classes=classes, seed=seed, threads=1),
    "forest": lambda classes, seed: ForestHead(n_estimators=TREES, n_classes=classes, seed=seed),
    "probe": lambda classes, seed: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
}


def run(settings: Settings, *, quick: bool = False, data: Path | None = None) -> dict[str, Any]:
    """Measure all sets of the folder `data` that are there; without it the drawn plankton of the sample.

    Raises:
        InputError: none is there.
    """
    seeds, rows = SEEDS[:1] if quick else SEEDS, list[dict[str, Any]]()
    if data is None:
        settings.state.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=settings.state) as drawn:
            write_sample("plankton", Path(drawn) / "sample")
            rows += _measured(settings, Path(drawn) / "sample", 0, seeds)
    for name, classes in {} if data is None else SETS.items():
        if (data / f"{name}.zip").is_file():
            rows += _measured(settings, data / f"{name}.zip", classes, seeds)
    if not rows:
        raise InputError(f"none of {', '.join(SETS)} is in {data}")
    lines = [_summed(rows, name, size) for name in dict.fromkeys(row["data"] for row in rows) for size in SIZES]
    figures = {
        "accuracy_minus_probe_least": round(100 * min(line["new"] - line["probe"] for line in lines), 2),
        "accuracy_minus_probe": round(100 * statistics.mean(line["new"] - line["probe"] for line in lines), 2),
        "accuracy_minus_forest": round(100 * statistics.mean(line["new"] - line["forest"] for line in lines), 2),
    }
    raw = {"rows": rows, "settings": {"side": SIDE, "each": EACH, "trees": TREES, "sizes": SIZES}}
    folder = settings.state / "bench" if quick else RESULTS
    return write_report("few", figures, raw, _text(lines), seeds={"all": len(seeds)}, folder=folder)


def _measured(settings: Settings, source: Path, classes: int, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
    found = frozen_features(settings, source, side=SIDE, least=10, most=10_000, classes=classes, each=EACH)
    rows = []
    with progress(f"few labels of {source.stem}", len(seeds) * len(SIZES)) as advance:
        for seed in seeds:
            for size in SIZES:
                rows.append({"data": source.stem, "seed": seed, "size": size, **_answered(found, size, seed)})
                advance(1)
    return rows


def _answered(found: Features, size: int, seed: int) -> dict[str, Any]:
    """Return accuracy and seconds of the processor by way, with how many images were learnt from and judged by."""
    features, labels = found
    learnt, judged = _split(labels, size, seed)
    row: dict[str, Any] = {"learnt": len(learnt), "judged": len(judged)}
    for name, made in WAYS.items():
        head, started = made(int(labels.max()) + 1, seed), time.process_time()
        head.fit(features[learnt], labels[learnt])
        row[f"{name}_seconds"] = time.process_time() - started
        row[name] = float((head.predict(features[judged]) == labels[judged]).mean())
    return row


def _split(labels: NDArray[np.int64], size: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of `size` images a class, of all where there are fewer, and of the fifth that is judged by."""
    order = np.random.default_rng(seed).permutation(len(labels))
    classes = [order[labels[order] == label] for label in np.unique(labels)]
    judged = [own[: max(1, len(own) // 5)] for own in classes]
    learnt = [own[len(kept) : len(kept) + size] for own, kept in zip(classes, judged, strict=True)]
    return np.sort(np.concatenate(learnt)), np.sort(np.concatenate(judged))


def _summed(rows: list[dict[str, Any]], name: str, size: int) -> dict[str, Any]:
    own = [row for row in rows if row["data"] == name and row["size"] == size]
    columns = ["learnt", "judged", *WAYS, *(f"{way}_seconds" for way in WAYS)]
    spread = [100 * (row["new"] - row["probe"]) for row in own]
    means = {column: statistics.mean(row[column] for row in own) for column in columns}
    return {"data": name, "size": size, "spread": statistics.pstdev(spread), **means}


def _text(lines: list[dict[str, Any]]) -> str:
    heads = ("data", "a class", "learnt", "judged", *WAYS, "new - probe", *(f"{way}, s" for way in WAYS))
    shown = [
        (
            line["data"],
            line["size"],
            round(line["learnt"]),
            round(line["judged"]),
            *(f"{100 * line[way]:.1f}" for way in WAYS),
            f"{100 * (line['new'] - line['probe']):+.1f} ({line['spread']:.1f})",
            *(f"{line[f'{way}_seconds']:.2f}" for way in WAYS),
        )
        for line in lines
    ]
    return (
        f"Accuracy in percent, mean over the seeds, with the deviation of the difference. Features of a frozen "
        f"EfficientNet-Lite0 at {SIDE} pixels, the same for all: `new` is the head that `drillcore new` writes, "
        f"`forest` has {TREES} trees, `probe` is scikit-learn's logistic regression on standardised features. Seconds "
        f"are those of the processor for one fit. At most {EACH} images of a class are taken; of plankton the 20 "
        "largest classes. Where a class has fewer images than asked for, all that are not judged by are learnt from."
        "\n\n"
        f"{table(heads, shown)}\n\nNot here: fine-tuning the whole network, and masks."
    )
