"""The rules all tasks share, and the order in which they are asked.

Models are compared inside one lineage only. The first version of a lineage has nothing to be compared with and must
beat the best answer that looks at no image. Every rule is applied and told, also after one has failed.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from drillcore.evaluation.figures.significance import Comparison
from drillcore.json_types import Json
from drillcore.promotion.candidates import SAMPLE, Contender, GateLimits
from drillcore.promotion.verdict import CHECKED, Rule, Verdict

C = TypeVar("C", bound=Contender)


class Judge(ABC, Generic[C]):
    """What a task adds: its figures and how two of its versions are compared."""

    @abstractmethod
    def figures(self, contender: C) -> Json:
        """Return its figures on the images. Raises InputError: answers that do not fit the images."""

    @abstractmethod
    def majority(self, challenger: C) -> Rule:
        """Ask whether it beats the best answer that looks at no image."""

    @abstractmethod
    def compare(self, challenger: C, champion: C) -> Comparison:
        """Compare the two on the same images by the gate's metric."""

    def class_drop(self, challenger: C, champion: C) -> list[Rule]:
        """Ask whether a class has fallen; nothing where the task has no classes."""
        return []


def decide(limits: GateLimits, judge: Judge[C], challenger: C, champion: C | None) -> Verdict:
    """Apply every rule.

    Args:
        limits: the recipe's gate.
        judge: of the task.
        challenger: the version that asks.
        champion: the version in production; None where there is none.

    Raises:
        InputError: answers that do not fit the images.
        UnknownNameError: no such metric.
    """
    figures = _facts(challenger) | judge.figures(challenger)
    rules = [_weights(challenger), _lineage(challenger, champion)]
    rival = champion if champion is not None and champion.lineage == challenger.lineage else None
    rival_figures = None
    if rival is None:
        rules.append(judge.majority(challenger))
    elif list(rival.images) != list(challenger.images):
        rules.append(_other_images(challenger, rival))
    else:
        rival_figures = _facts(rival) | judge.figures(rival)
        rules.append(_better(limits, judge.compare(challenger, rival), challenger, rival))
        rules += judge.class_drop(challenger, rival)
    rules.append(_limit("latency", challenger.ms, limits.max_ms, "ms for one image", "max_ms"))
    rules.append(_limit("size", challenger.mb, limits.max_mb, "MB", "max_mb"))
    return Verdict(tuple(rules), figures, rival_figures)


def not_checked(limits: GateLimits, challenger: Contender, champion: Contender | None) -> Verdict:
    """Return the verdict on a version of which nothing is known to be true: no comparison, and no promotion by itself.

    The rules that look at no answer are applied; where they hold a person may promote (`Verdict.left_to_a_person`).

    Args:
        limits: the recipe's gate.
        challenger: the version that asks.
        champion: the version in production; None where there is none.
    """
    text = "not checked: no image of the evaluation split has a truth to compare with; only a person promotes"
    rules = (
        _weights(challenger),
        _lineage(challenger, champion),
        Rule(CHECKED, False, text, {"images": len(challenger.images)}),
        _limit("latency", challenger.ms, limits.max_ms, "ms for one image", "max_ms"),
        _limit("size", challenger.mb, limits.max_mb, "MB", "max_mb"),
    )
    return Verdict(rules, _facts(challenger), _facts(champion) if champion else None)


def shown(value: float) -> str:
    """Return a figure for a sentence: four decimals for shares, six digits for what has a unit."""
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.6g}"


def class_drop_rule(
    limits: GateLimits,
    challenger: Mapping[str, float],
    champion: Mapping[str, float],
    images: Mapping[str, int],
    shared: Iterable[str],
    what: str = "recall",
) -> Rule:
    """Ask whether a class has fallen too far.

    Args:
        limits: `max_class_drop`, and `min_class_support`, the images a class needs to be judged.
        challenger: class -> the share of what is its own that is found.
        champion: the same of the champion.
        images: class -> images that have it.
        shared: classes both know.
        what: the share's name.
    """
    known = sorted(shared)
    drops = {
        name: champion[name] - challenger[name] for name in known if images.get(name, 0) >= limits.min_class_support
    }
    # The bound itself is allowed; the last bits of a difference are not its fault.
    fallen = {name: drop for name, drop in drops.items() if drop > limits.max_class_drop + 1e-9}
    figures = {"judged": len(drops), "shared": len(known), "fallen": fallen, "max_class_drop": limits.max_class_drop}
    if fallen:
        worst = sorted(fallen, key=lambda name: -fallen[name])
        listed = ", ".join(f"{name} by {fallen[name]:.3f}" for name in worst[:3])
        more = f" and {len(worst) - 3} more" if len(worst) > 3 else ""
        text = f"{what} falls more than {limits.max_class_drop:g} for {listed}{more}"
        return Rule("class_drop", False, text, figures)
    if not drops:
        text = f"not checked: none of {len(known)} shared classes has {limits.min_class_support} or more images"
        return Rule("class_drop", True, text, figures, checked=False)
    text = (
        f"none of {len(drops)} classes with {limits.min_class_support} or more images falls more than "
        f"{limits.max_class_drop:g} in {what}"
    )
    return Rule("class_drop", True, text, figures)


def _facts(contender: Contender) -> dict[str, object]:
    return {
        "version": contender.version,
        "lineage": contender.lineage,
        "sha256": contender.sha256,
        "ms": _finite(contender.ms),
        "mb": _finite(contender.mb),
        "images": len(contender.images),
    }


def _finite(value: float | None) -> float | None:
    """Return a measured value, None for NaN and infinity: JSON has neither."""
    return value if value is not None and math.isfinite(value) else None


def _weights(challenger: Contender) -> Rule:
    random = challenger.weights.startswith("seed:")
    passed = not random or challenger.lineage == SAMPLE
    text = "random backbone weights are for the sample lineage" if random else "backbone weights are allowed"
    if not passed:
        text = f"random backbone weights ({challenger.weights}) are allowed on sample data only; give trained weights"
    return Rule("weights", passed, text, {"weights": challenger.weights})


def _lineage(challenger: Contender, champion: Contender | None) -> Rule:
    figures = {"challenger": challenger.lineage, "champion": champion.lineage if champion else None}
    if champion is None:
        return Rule("lineage", True, f"first version in production, lineage {challenger.lineage}", figures)
    if champion.lineage == challenger.lineage:
        return Rule("lineage", True, f"both learned from lineage {challenger.lineage}", figures)
    words = f"champion {champion.called} learned from {champion.lineage}, the challenger from {challenger.lineage}"
    if challenger.lineage == SAMPLE:
        return Rule(
            "lineage",
            False,
            f"{words}: a model of the synthetic sample takes no place of one of real data by itself; "
            "to want it all the same, promote the version by hand",
            figures,
        )
    return Rule("lineage", True, f"{words}: not compared, the first of its lineage", figures)


def _other_images(challenger: Contender, rival: Contender) -> Rule:
    text = f"{challenger.called} and {rival.called} were not asked about the same images; evaluate both on the same"
    common = len(set(challenger.images) & set(rival.images))
    return Rule("images", False, text, {"common": common, "challenger": len(challenger.images)})


def _better(limits: GateLimits, found: Comparison, challenger: Contender, rival: Contender) -> Rule:
    figures = found.as_dict() | {"champion_version": rival.version}
    if challenger.sha256 and challenger.sha256 == rival.sha256:
        return Rule("better", False, f"it is the same file as champion {rival.called}: nothing to promote", figures)
    if found.identical:
        words, passed = f"answers all {found.images} images as champion {rival.called} does: equal is not better", False
    else:
        words, passed = _better_text(limits, found, rival), found.better
    if passed or limits.speedup is None:
        return Rule("better", passed, words, figures)
    quicker, why = _quicker(limits.speedup, limits.loss, found, challenger, rival)
    times = {"ms": _finite(challenger.ms), "champion_ms": _finite(rival.ms)}
    return Rule(
        "better", quicker, f"{words}; {why}", figures | times | {"speedup": limits.speedup, "loss": limits.loss}
    )


def _quicker(
    speedup: float, loss: float, found: Comparison, challenger: Contender, rival: Contender
) -> tuple[bool, str]:
    """Ask whether a version that is not better is fast enough, and no worse than it may be; return that and why."""
    own, other = _finite(challenger.ms), _finite(rival.ms)
    if own is None or other is None:
        return False, f"speedup {speedup:g} is asked for, and the time of one image was not measured"
    ratio, worst = other / max(own, 1e-9), max(0.0, -found.low)
    times = f"{ratio:.2f} times as fast ({own:.2f} against {other:.2f} ms, {speedup:g} needed)"
    bound = f"at most {shown(worst)} worse ({found.confidence:.0%} interval, {loss:g} allowed)"
    # The bound itself is allowed; the last bits of a difference are not its fault.
    passed = ratio >= speedup and worst <= loss + 1e-9
    return passed, f"{times} and {bound}: {'' if passed else 'not '}enough to take its place"


def _better_text(limits: GateLimits, found: Comparison, rival: Contender) -> str:
    needed = f"{limits.confidence:.0%} needed" + (f", by more than {limits.margin:g}" if limits.margin else "")
    drawn = f"{found.images:,} images" + (f" in {found.groups:,} groups" if found.groups else "")
    low, high, gap = (("+" if value >= 0 else "") + shown(value) for value in (found.low, found.high, found.difference))
    return (
        f"{limits.metric} {shown(found.challenger)} against {shown(found.champion)} of champion {rival.called}: better "
        f"by {gap} ({limits.confidence:.0%} interval {low} to {high}), in "
        f"{found.share_better:.1%} of {found.resamples:,} resamples of {drawn} ({needed})"
    )


def _limit(name: str, measured: float | None, limit: float | None, unit: str, field: str) -> Rule:
    value = _finite(measured)
    figures = {"value": value, "limit": limit}
    words = f"{value:.2f} {unit}" if value is not None else "not measured"
    if limit is None:
        return Rule(name, True, f"not checked: {name} has no limit ({words})", figures, checked=False)
    if value is None:
        return Rule(name, False, f"{name} was not measured, and {field} asks for at most {limit:g} {unit}", figures)
    passed = value <= limit
    side = "within" if passed else "above"
    return Rule(name, passed, f"{name} {words}, {side} the limit of {limit:g}", figures)
