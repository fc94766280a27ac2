"""The gate: may this challenger become champion? A pure function of answers on the same frozen images and of limits.

Models are compared inside one lineage only. The first version of a lineage has nothing to be compared with and must
beat the answer "always the most common class". Every rule is applied and told, also after one has failed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from drillcore.errors import InputError
from drillcore.evaluation.metrics import (
    Floats,
    Ints,
    align_columns,
    class_scores,
    classification_metrics,
    confusion_matrix,
    predictions,
)
from drillcore.evaluation.significance import Comparison, compare_classifiers
from drillcore.promotion.verdict import Rule, Verdict

SAMPLE = "sample"  # the lineage of the bundled synthetic data


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLimits:
    """A recipe's `gate`: what is compared and what is allowed; None where there is no limit."""

    metric: str = "macro_f1"
    confidence: float = 0.95
    margin: float = 0.0
    max_class_drop: float = 0.1
    min_class_support: int = 20
    max_ms: float | None = None
    max_mb: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A version and its answers on the frozen evaluation images.

    Attributes:
        version: registered version; None before it has one.
        lineage: `sample` or `import-<n>`.
        classes: names of the columns.
        probabilities: float [N,K], in the order of the images.
        images: digests of the images, in that order.
        sha256: of its ONNX file.
        weights: the recipe's `backbone.weights`; `seed:N` may be promoted in the sample lineage only.
        ms: milliseconds for one image; None when not measured.
        mb: size of the ONNX file in units of 1,000,000 bytes; None when not measured.
    """

    version: int | None
    lineage: str
    classes: Sequence[str]
    probabilities: ArrayLike
    images: Sequence[str]
    sha256: str = ""
    weights: str = ""
    ms: float | None = None
    mb: float | None = None


def gate(
    limits: GateLimits, truth: Sequence[str], challenger: Candidate, champion: Candidate | None, *, seed: int = 0
) -> Verdict:
    """Judge a challenger.

    Args:
        limits: the recipe's gate.
        truth: true class name of every image, in the order of `challenger.images`.
        challenger: the version that asks.
        champion: the version in production, its answers on all of the same images (it may know fewer classes); None
            where there is none.
        seed: of the bootstrap.

    Raises:
        InputError: answers that do not fit the images.
        UnknownNameError: no such metric.
    """
    wanted = sorted({*truth, *challenger.classes, *(champion.classes if champion else ())})
    position = {name: index for index, name in enumerate(wanted)}
    labels = np.array([position[name] for name in truth], dtype=np.int64)
    rows = _rows(challenger, wanted, len(truth))
    figures = _figures(challenger, classification_metrics(labels, rows, wanted))
    rules = [_weights(challenger)]
    rival = champion if champion is not None and champion.lineage == challenger.lineage else None
    rules.append(_lineage(challenger, champion))
    rival_figures = None
    if rival is None:
        rules.append(_majority(labels, rows, wanted))
    elif list(rival.images) != list(challenger.images):
        rules.append(_other_images(challenger, rival))
    else:
        rival_rows = _rows(rival, wanted, len(truth))
        rival_figures = _figures(rival, classification_metrics(labels, rival_rows, wanted))
        rules.append(_better(limits, labels, rows, rival_rows, challenger, rival, seed))
        shared = sorted(set(rival.classes) & set(challenger.classes))
        rules.append(_class_drop(limits, labels, rows, rival_rows, wanted, shared))
    rules.append(_limit("latency", challenger.ms, limits.max_ms, "ms for one image", "max_ms"))
    rules.append(_limit("size", challenger.mb, limits.max_mb, "MB", "max_mb"))
    return Verdict(tuple(rules), figures, rival_figures)


def _rows(candidate: Candidate, wanted: Sequence[str], images: int) -> Floats:
    rows = align_columns(candidate.probabilities, candidate.classes, wanted)
    if len(rows) != images or len(candidate.images) != images:
        raise InputError(
            f"{_name(candidate)} has {len(rows)} answers for {len(candidate.images)} images; {images} true labels came"
        )
    return rows


def _figures(candidate: Candidate, metrics: Mapping[str, Any]) -> dict[str, Any]:
    named = {"version": candidate.version, "lineage": candidate.lineage, "sha256": candidate.sha256}
    return {
        **named,
        "ms": _finite(candidate.ms),
        "mb": _finite(candidate.mb),
        "images": len(candidate.images),
        **metrics,
    }


def _finite(value: float | None) -> float | None:
    """Return a measured value, None for NaN and infinity: JSON has neither."""
    return value if value is not None and math.isfinite(value) else None


def _name(candidate: Candidate) -> str:
    return f"version {candidate.version}" if candidate.version is not None else "the new version"


def _weights(challenger: Candidate) -> Rule:
    random = challenger.weights.startswith("seed:")
    passed = not random or challenger.lineage == SAMPLE
    text = "random backbone weights are for the sample lineage" if random else "backbone weights are allowed"
    if not passed:
        text = f"random backbone weights ({challenger.weights}) are allowed on sample data only; give trained weights"
    return Rule("weights", passed, text, {"weights": challenger.weights})


def _lineage(challenger: Candidate, champion: Candidate | None) -> Rule:
    figures = {"challenger": challenger.lineage, "champion": champion.lineage if champion else None}
    if champion is None:
        return Rule("lineage", True, f"first version in production, lineage {challenger.lineage}", figures)
    if champion.lineage == challenger.lineage:
        return Rule("lineage", True, f"both learned from lineage {challenger.lineage}", figures)
    words = f"champion {_name(champion)} learned from {champion.lineage}, the challenger from {challenger.lineage}"
    if challenger.lineage == SAMPLE:
        return Rule(
            "lineage",
            False,
            f"{words}: a model of the synthetic sample takes no place of one of real data by itself; "
            "to want it all the same, promote the version by hand",
            figures,
        )
    return Rule("lineage", True, f"{words}: not compared, the first of its lineage", figures)


def _majority(labels: Ints, rows: Floats, wanted: Sequence[str]) -> Rule:
    counts = np.bincount(labels, minlength=len(wanted))
    common = int(np.argmax(counts))
    share, accuracy = float(counts[common] / len(labels)), float(np.mean(predictions(rows) == labels))
    passed = accuracy > share
    text = (
        f"accuracy {accuracy:.4f} {'beats' if passed else 'does not beat'} {share:.4f} of always answering "
        f"{wanted[common]!r} (first version of its lineage)"
    )
    return Rule("majority", passed, text, {"accuracy": accuracy, "majority": share, "majority_class": wanted[common]})


def _other_images(challenger: Candidate, rival: Candidate) -> Rule:
    text = f"{_name(challenger)} and {_name(rival)} were not asked about the same images; evaluate both on the same"
    common = len(set(challenger.images) & set(rival.images))
    return Rule("images", False, text, {"common": common, "challenger": len(challenger.images)})


def _better(
    limits: GateLimits,
    labels: Ints,
    rows: Floats,
    rival_rows: Floats,
    challenger: Candidate,
    rival: Candidate,
    seed: int,
) -> Rule:
    found = compare_classifiers(
        labels,
        rows,
        rival_rows,
        metric=limits.metric,
        confidence=limits.confidence,
        margin=limits.margin,
        seed=seed,
    )
    figures = found.as_dict() | {"champion_version": rival.version}
    if challenger.sha256 and challenger.sha256 == rival.sha256:
        return Rule("better", False, f"it is the same file as champion {_name(rival)}: nothing to promote", figures)
    if found.identical:
        same = f"answers all {found.images} images as champion {_name(rival)} does: equal is not better"
        return Rule("better", False, same, figures)
    return Rule("better", found.better, _better_text(limits, found, rival), figures)


def _better_text(limits: GateLimits, found: Comparison, rival: Candidate) -> str:
    needed = f"{limits.confidence:.0%} needed" + (f", by more than {limits.margin:g}" if limits.margin else "")
    return (
        f"{limits.metric} {found.challenger:.4f} against {found.champion:.4f} of champion {_name(rival)}: better by "
        f"{found.difference:+.4f} ({limits.confidence:.0%} interval {found.low:+.4f} to {found.high:+.4f}), in "
        f"{found.share_better:.1%} of {found.resamples:,} resamples of {found.images:,} images ({needed})"
    )


def _class_drop(
    limits: GateLimits,
    labels: Ints,
    rows: Floats,
    rival_rows: Floats,
    wanted: Sequence[str],
    shared: Sequence[str],
) -> Rule:
    """Recall per class: the share of a class's own images that are still found."""
    scores = [class_scores(confusion_matrix(labels, predictions(one), len(wanted))) for one in (rows, rival_rows)]
    drops = {}
    for index, name in enumerate(wanted):
        if name in set(shared) and scores[0]["support"][index] >= limits.min_class_support:
            drops[name] = float(scores[1]["recall"][index] - scores[0]["recall"][index])
    # The bound itself is allowed; the last bits of a difference are not its fault.
    fallen = {name: drop for name, drop in drops.items() if drop > limits.max_class_drop + 1e-9}
    figures = {"judged": len(drops), "shared": len(shared), "fallen": fallen, "max_class_drop": limits.max_class_drop}
    if fallen:
        worst = sorted(fallen, key=lambda name: -fallen[name])
        listed = ", ".join(f"{name} by {fallen[name]:.3f}" for name in worst[:3])
        more = f" and {len(worst) - 3} more" if len(worst) > 3 else ""
        return Rule(
            "class_drop", False, f"recall falls more than {limits.max_class_drop:g} for {listed}{more}", figures
        )
    text = (
        f"none of {len(drops)} classes with {limits.min_class_support} or more images falls more than "
        f"{limits.max_class_drop:g} in recall"
    )
    return Rule("class_drop", True, text, figures)


def _limit(name: str, measured: float | None, limit: float | None, unit: str, field: str) -> Rule:
    value = _finite(measured)
    figures = {"value": value, "limit": limit}
    shown = f"{value:.2f} {unit}" if value is not None else "not measured"
    if limit is None:
        return Rule(name, True, f"{name} has no limit ({shown})", figures)
    if value is None:
        return Rule(name, False, f"{name} was not measured, and {field} asks for at most {limit:g} {unit}", figures)
    passed = value <= limit
    words = "within" if passed else "above"
    return Rule(name, passed, f"{name} {shown}, {words} the limit of {limit:g}", figures)
