"""Second stages of the plankton paper's benchmark: forest and SVMs on the activations of a layer, fitted and tested.

A layer's rows come from the feature store as float16. The paper states neither the SVMs' kernel nor C: linear here, on
standardised features, and C is divided by their number (a row of standardised features is as long as that), so that one
C does for layers of 64 and of 41,472 features; it is chosen on the validation images. Labels are those of the highest
decision, one-vs-one by votes as scikit-learn counts them: probabilities, which need the SVMs fitted several times over,
are not asked for.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.plankton_paper.data import FIT, PaperImages, Rows
from drillcore.backbones.base import Backbone, Tap, TappedModule
from drillcore.heads.base import FitRun
from drillcore.heads.catalogue import build_head
from drillcore.json_types import Json

SCHEMES = ("one_vs_rest", "one_vs_one")
SECOND_STAGES = ("forest", *SCHEMES)
RBF = "rbf_one_vs_one"  # libsvm's machine and kernel by default; on one layer, to see what the kernel is worth
_SKLEARN_NODE = 64  # bytes of a node of a scikit-learn tree, besides its value for each class


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """How second stages are fitted.

    Attributes:
        trees: of a forest.
        wide: features above which a forest has `wide_trees`.
        wide_trees: of a forest on a wide layer.
        widest: features above which an SVM is fitted on `widest_rows`, drawn class by class.
        widest_rows: see there; their Gram matrix alone costs the square of their number.
        costs: values of C, before division by the number of features, that are tried.
        seed: of everything random.
    """

    trees: int = 400
    wide: int = 4_000
    wide_trees: int = 100
    widest: int = 10_000
    widest_rows: int = 8_000
    costs: tuple[float, ...] = (1.0, 10.0, 100.0)
    seed: int = 0

    def about(self, stage: str, width: int) -> Json:
        """Return the parameters of a second stage on a layer."""
        if stage == "forest":
            return {"trees": self.wide_trees if width > self.wide else self.trees, "seed": self.seed}
        return {"scheme": stage, "rows": self.widest_rows if width > self.widest else None, "seed": self.seed}


def measure_layer(
    images: PaperImages, backbone: Backbone, tap: str, stage: str, heads: Heads, *, cost: float | None, growth: Path
) -> dict[str, Any]:
    """Fit a second stage on a layer's activations of train + val, and test it.

    Args:
        images: of the benchmark.
        backbone: whose tap it is.
        tap: the layer.
        stage: of `SECOND_STAGES`.
        heads: how.
        cost: C of an SVM, before division by the number of features.
        growth: folder for the forest's trees until it is whole.

    Returns:
        `accuracy`, `width`, `rows`, `fit_seconds`, `test_seconds`; of a forest what `forest_facts` says too.
    """
    fit, test = images.numbers(*FIT), images.numbers("test")
    width = backbone.flat_width([tap])
    if stage != "forest" and width > heads.widest:
        fit = fit[thinned(images.labels[fit], heads.widest_rows, heads.seed)]
    rows, labels = images.rows(backbone, tap, fit), images.labels[fit]
    started = time.perf_counter()
    if stage == "forest":
        head = fit_forest(images, rows, labels, heads, growth)
        seconds = time.perf_counter() - started
        about = forest_facts(head, rows, labels, len(images.classes))
    else:
        assert cost is not None
        head = _svm(images, stage, cost, width, heads.seed).fit(rows, labels)
        seconds = time.perf_counter() - started
        about = {"cost": cost, "machines": machines(labels, stage), "unconverged": head.unconverged_}
    started = time.perf_counter()
    answers = _labels(head, images.rows(backbone, tap, test))
    found = {
        "accuracy": float((answers == images.labels[test]).mean()),
        "test_seconds": time.perf_counter() - started,
    }
    return {**found, "width": width, "rows": len(fit), "fit_seconds": seconds, **about}


def fit_forest(images: PaperImages, rows: Rows, labels: npt.NDArray[np.int64], heads: Heads, growth: Path) -> Any:
    """Return a forest fitted on rows [N, D] of a layer; the same rows give the same forest."""
    trees = heads.about("forest", rows.shape[1])["trees"]
    more: Mapping[str, Any] = {"n_classes": len(images.classes), "seed": heads.seed}
    head = build_head("forest", {"n_estimators": trees}, **more, n_jobs=images.settings.cpu_threads)
    head.fit(rows, labels, run=FitRun(checkpoint=growth))
    return head


def choose_cost(images: PaperImages, backbone: Backbone, tap: str, scheme: str, heads: Heads) -> dict[str, Any]:
    """Choose C by the validation images, the SVM fitted on train alone; of equals the smaller.

    Returns:
        `cost`, and the accuracy of each as `tried`.
    """
    train, val = images.numbers("train"), images.numbers("val")
    rows, labels = images.rows(backbone, tap, train), images.labels[train]
    judged = images.rows(backbone, tap, val)
    tried = {}
    for cost in heads.costs:
        head = _svm(images, scheme, cost, rows.shape[1], heads.seed).fit(rows, labels)
        tried[str(cost)] = float((_labels(head, judged) == images.labels[val]).mean())
    best = max(heads.costs, key=lambda cost: (tried[str(cost)], -cost))
    return {"cost": best, "tried": tried}


def forest_facts(head: Any, rows: Rows, labels: npt.NDArray[np.int64], classes: int) -> dict[str, Any]:
    """Return what figures 4 and the text say of a forest.

    Returns:
        `significant`: share of the features whose importance is above 1/100 of 1/n; `top_features`: the 16 most
        important ones; `nodes`, `trees`; `bytes`: of its arrays as drillcore keeps them; `sklearn_bytes`: what
        scikit-learn keeps, 8 bytes for every class at every node.
    """
    importances = head.feature_importances_
    nodes = len(head.trees_.feature)
    return {
        "significant": significant_share(importances),
        "top_features": [int(number) for number in np.argsort(-importances, kind="stable")[:16]],
        "trees": head.trees_.count,
        "nodes": nodes,
        "bytes": int(sum(array.nbytes for array in head.trees_.arrays().values())),
        "sklearn_bytes": nodes * (8 * classes + _SKLEARN_NODE),
    }


def significant_share(importances: npt.ArrayLike) -> float:
    """Return the share of n features whose importance is above 1/100 of 1/n (section II.B.2).

    >>> significant_share([0.5, 0.4998, 0.0002, 0.0])
    0.5
    """
    values = np.asarray(importances, np.float64)
    return float((values > 0.01 / len(values)).mean())


def machines(labels: npt.NDArray[np.int64], scheme: str) -> int:
    """Return the two-class SVMs of a scheme: n, or n (n - 1) / 2; 7,260 for 121 classes."""
    present = len(np.unique(labels))
    return present if scheme == "one_vs_rest" else present * (present - 1) // 2


def thinned(labels: npt.NDArray[np.int64], count: int, seed: int) -> npt.NDArray[np.intp]:
    """Return the numbers of about `count` rows, ascending: of each class the same share, at least two (or all)."""
    if count >= len(labels):
        return np.arange(len(labels))
    rng, chosen = np.random.default_rng(seed), []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        most = max(2, round(len(own) * count / len(labels)))
        chosen.append(rng.permutation(own)[:most])
    return np.sort(np.concatenate(chosen))


class MeanTaps(TappedModule):
    """A network whose maps are averaged over their cells: one number for each channel, for maps too large to keep."""

    def __init__(self, module: TappedModule) -> None:
        super().__init__()
        self.module = module

    def forward_taps(self, x: Any, names: Sequence[str]) -> dict[str, Any]:
        """Return the means float32 [N, C] of "<tap> mean"."""
        found = self.module.forward_taps(x, [name.removesuffix(" mean") for name in names])
        return {f"{name} mean": value.mean((2, 3)) for name, value in found.items()}


def with_mean_taps(backbone: Backbone) -> Backbone:
    """Return a backbone with the means of its maps as taps."""
    taps = {f"{name} mean": Tap(width=tap.width, stride=0, flat=tap.width) for name, tap in backbone.taps.items()}
    module = MeanTaps(backbone.module)
    return Backbone(backbone.name, module, taps, backbone.preprocessing, backbone.weights_sha256)


def _labels(head: Any, rows: Rows) -> npt.NDArray[np.int64]:
    """Return a second stage's labels, an SVM's by its decisions as scikit-learn's."""
    if hasattr(head, "decision_function"):
        return np.asarray(head.decision_function(rows).argmax(axis=1), np.int64)
    return np.asarray(head.predict(rows), np.int64)


def _svm(images: PaperImages, scheme: str, cost: float, width: int, seed: int) -> Any:
    threads = images.settings.cpu_threads
    more: Mapping[str, Any] = {"n_classes": len(images.classes), "seed": seed, "threads": threads}
    if scheme == RBF:  # its rows are as long whatever the width is: gamma is divided by it
        return build_head("kernel_svm", {"scheme": "one_vs_one", "c": cost, "calibration_folds": 0}, **more)
    return build_head("linear_svm", {"scheme": scheme, "c": cost / width, "calibration_folds": 0}, **more)
