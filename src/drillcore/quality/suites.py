"""The expectations as a table: frame, column, which of Great Expectations' expectations, and in which words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from drillcore.json_types import Json
from drillcore.quality.frames import Facts
from drillcore.quality.thresholds import Limits
from drillcore.runtime.images.value_range import FEW_LEVELS

REQUIRED = ("path", "sha256", "bytes", "width", "height", "channels", "mode", "dtype", "split")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """One expectation before Great Expectations sees it.

    Attributes:
        frame: "images", "classes" or "set".
        kind: the class in `great_expectations.expectations`.
        column: what it is about.
        words: what a person reads.
        critical: whether the data set is refused where it fails.
        options: the expectation's own arguments.
    """

    frame: str
    kind: str
    column: str
    words: str
    critical: bool = True
    options: Json = field(default_factory=dict)


def expectations(facts: Facts, limits: Limits, quarantine_limit: float) -> list[Expected]:
    """Return what is expected of a data set."""
    parts: list[Callable[[], list[Expected]]] = [
        lambda: _of_images(facts, limits),
        lambda: _of_splits(limits),
        lambda: _of_labels(facts, limits),
        lambda: _of_the_set(facts, limits, quarantine_limit),
    ]
    return [expected for part in parts for expected in part()]


def _between(
    frame: str, column: str, words: str, low: float | None, high: float | None, critical: bool = True
) -> Expected:
    options = {"min_value": low, "max_value": high}
    return Expected(
        frame=frame,
        kind="ExpectColumnValuesToBeBetween",
        column=column,
        words=words,
        critical=critical,
        options=options,
    )


def _in_set(column: str, words: str, values: tuple[str, ...]) -> Expected:
    return Expected(
        frame="images",
        kind="ExpectColumnValuesToBeInSet",
        column=column,
        words=words,
        options={"value_set": list(values)},
    )


def _of_images(facts: Facts, limits: Limits) -> list[Expected]:
    there = Expected(
        frame="images",
        kind="ExpectTableColumnsToMatchSet",
        column="",
        words="required columns",
        options={"column_set": list(REQUIRED), "exact_match": False},
    )
    return [
        there,
        Expected(frame="images", kind="ExpectColumnValuesToBeUnique", column="path", words="every path stands once"),
        _in_set("mode", "allowed mode", limits.modes),
        _in_set("dtype", "allowed sample type", limits.dtypes),
        _between("images", "shorter_side", f"at least {limits.sides[0]} pixels a side", limits.sides[0], None),
        _between("images", "longer_side", f"at most {limits.sides[1]:,} pixels a side", None, limits.sides[1]),
        _between("images", "bytes", "no empty file", 1, None),
    ]


def _of_splits(limits: Limits) -> list[Expected]:
    found = [
        _in_set("split", "known split", ("train", "val", "test", "none")),
        _between("images", "splits_of_image", "no image in two splits", None, 1),
        *(_between("set", name, f"{name} has images", 1, None) for name in limits.splits),
    ]
    if limits.near_duplicates:
        words = f"near duplicates across splits at most {limits.near_duplicate_share:.0%}"
        found.append(_between("set", "near_duplicate_share", words, None, limits.near_duplicate_share))
        found.append(
            Expected(
                frame="images",
                kind="ExpectColumnValuesToBeInSet",
                column="near_split",
                words="no near duplicate in another split",
                critical=False,
                options={"value_set": [""]},
            )
        )
    return found


def _of_labels(facts: Facts, limits: Limits) -> list[Expected]:
    if facts.task in ("dense", "segments"):
        words = "every class has pixels in the training masks"
        return [_between("classes", "train", words, 1, None)] if facts.painted else []
    has_label = Expected(
        frame="images", kind="ExpectColumnValuesToNotBeNull", column="label", words="every image has a label"
    )
    several = facts.task == "multilabel"  # an image may have none
    found = [
        *([] if several else [has_label]),
        _between("classes", "train", "every class has training images", 1, None),
        _between(
            "classes", "images", f"at least {limits.min_per_class} images a class", limits.min_per_class, None, False
        ),
    ]
    if facts.classes and not several:
        found.insert(1, _in_set("label", "known label", tuple(facts.classes)))
    return found


def _of_the_set(facts: Facts, limits: Limits, quarantine_limit: float) -> list[Expected]:
    # One odd file alone refuses no data set, however small that is.
    alone = 1 / max(len(facts.table) + len(facts.quarantine), 1) if quarantine_limit else 0.0
    found = [
        _between(
            "set", "set_aside_share", f"set aside at most {quarantine_limit:.1%}", None, max(quarantine_limit, alone)
        ),
        _between("set", "constant_images", "no constant image", None, 0, False),
        _between("set", "classes", f"at least {limits.min_classes} classes", limits.min_classes, None),
    ]
    words = f"most images use {FEW_LEVELS} grey levels or more; a recipe's dataset.params.value_range states a range"
    found.append(_between("set", "few_level_share", words, None, 0.5, False))
    found.append(
        Expected(
            frame="set",
            kind="ExpectColumnValuesToBeInSet",
            column="looks_like",
            words="values are what they are read as; a recipe's dataset.params.value_range states others",
            critical=False,
            options={"value_set": [""]},
        )
    )
    if facts.previous is not None and facts.task not in ("dense", "segments"):
        words = f"class shares moved at most {limits.share_change:.2f} since the last version"
        found.append(_between("set", "share_change", words, None, limits.share_change, not facts.accept_change))
        found.append(
            Expected(
                frame="classes",
                kind="ExpectColumnValuesToBeInSet",
                column="known",
                words="no new class since the last version",
                critical=False,
                options={"value_set": ["yes"]},
            )
        )
    return found
