"""The report of `bench patches` in words and tables: of the pieces that are there, beside the paper's figures."""

from __future__ import annotations

from typing import Any

from benchmarks.patches.experiments import LAYERS, SETS, SHAPES, Experiments
from benchmarks.patches.judging import better_by, by_company, by_size, overfitting, precision_of
from benchmarks.patches.sets import EVERY, NETWORKS
from benchmarks.report import table

TITLES = {"voc": "Pascal VOC 2012, five animals", "objects": f"CamVid-objects, one frame of {EVERY}"}
ROWS = {"whole": "whole image, linear SVM", "patches": "patches", "one": "patches", "several": "patches"}
PAPER = (
    ("1", "VOC 2007, PRE-1000C", 77.7),
    ("2", "VOC 2012, no pretraining", 70.9),
    ("2", "VOC 2012, PRE-1000R", 76.3),
    ("2", "VOC 2012, PRE-1000C", 78.7),
    ("2", "VOC 2012, PRE-1512", 82.8),
    ("3", "actions, no pretraining", 49.7),
    ("3", "actions, PRE-1512", 68.4),
    ("3", "actions, PRE-1512U", 70.2),
)


def written(work: Experiments) -> str:
    """Return the report's text."""
    parts = [_speed(work), _exact(work), *(_set(work, name) for name in SETS), _layers(work), _source(work)]
    parts.append(_learning(work))
    parts += [_curves(work), _paper()]
    missing = [name for name in work.records.pieces if work.records.value(name) is None]
    if missing:
        reasons = sorted({work.records.passed_over.get(name, "not run yet") for name in missing})
        parts.append(f"## Not there\n\n{', '.join(missing)}: {'; '.join(reasons)}.")
    return "\n\n".join(part for part in parts if part)


def _points(value: float) -> str:
    return f"{100 * value:.1f}"


def _gap(found: Any) -> str:
    return f"{100 * found.difference:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def _speed(work: Experiments) -> str | None:
    rows = []
    for shape, sides in SHAPES.items():
        found = work.records.value(f"speed/{shape}")
        if found:
            ratio = found["crops_seconds"] / found["pyramid_seconds"]
            rows.append(
                (
                    f"{shape}, {sides[1]} x {sides[0]}",
                    found["patches"],
                    found["pyramid_seconds"],
                    found["crops_seconds"],
                    ratio,
                    found["pixel_ratio"],
                    ratio / found["pixel_ratio"],
                )
            )
    if not rows:
        return None
    head = ("picture", "patches", "pyramid, s", "crops, s", "speedup", "ratio of pixels", "share of the ratio")
    return (
        "## Time of a picture\n\n"
        f"All patches of {work.scale.timed} pixels, {NETWORKS[work.scale.main].title}, one thread, seconds of the "
        f"processor, the best of {work.scale.repeats}. Wanted: a speedup of 5 at 4:3, and 0.85 of the ratio of pixels. "
        "500 crops would be 6.04 (4:3) and 8.06 times (square) the pyramid's pixels; whole cells make other numbers of "
        f"patches here.\n\n{table(head, rows)}"
    )


def _exact(work: Experiments) -> str | None:
    pyramid, crops = (work.records.value(f"exact/{way}") for way in ("pyramid", "crops"))
    if not pyramid or not crops:
        return None
    images = work.photographs("voc", work.scale.exact)
    rows = [
        (way, _points(found["mean_average_precision"]), found["power"])
        for way, found in (("pyramid", pyramid), ("crops", crops))
    ]
    counts = " / ".join(str(len(part)) for part in images.parts)
    return (
        "## What convolution loses\n\n"
        f"Near a patch's border a cell sees the image around it in the pyramid, and zeros in a crop. On {counts} "
        f"images (train / val / test, drawn with the seed) of {TITLES['voc']}, each learnt and judged its own way; "
        f"wanted: 0.5 points at most.\n\n{table(('patches by', 'mean AP', 'k'), rows)}\n\n"
        f"Pyramid minus crops: {_gap(better_by(images, pyramid, crops))} points (95 %)."
    )


def _set(work: Experiments, name: str) -> str | None:
    labels = SETS[name][1]
    other = "several" if labels == "one" else "one"
    words = {"one": "one label a patch", "several": "several labels a patch"}
    titles = {"whole": ROWS["whole"], "patches": f"patches, {words[labels]}", other: f"patches, {words[other]}"}
    found = {key: value for key in titles if (value := work.records.value(f"sets/{name}/{key}"))}
    if "whole" not in found:
        return None
    images = work.photographs(name)
    rows = []
    for key, value in found.items():
        gap = "-" if key == "whole" else _gap(better_by(images, value, found["whole"]))
        each = [_points(one) for one in value["per_class"].values()]
        means = [_points(value[one]) for one in ("mean_average_precision", "mean_average_precision_11")]
        rows.append((titles[key], *means, gap, value.get("power", "-"), value.get("rows", "-"), *each))
    head = ("features", "mean AP", "11 points", "minus whole image (95 %)", "k", "patches learnt", *images.classes)
    counts = " / ".join(str(len(part)) for part in images.parts)
    text = [
        f"## {TITLES[name]}",
        f"{counts} images (train / val / test), {NETWORKS[work.scale.main].title}, patches of {work.scale.side} px.",
        table(head, rows),
    ]
    for title, kinds in (("largest object of the image", by_size(images)), ("labels of the image", by_company(images))):
        lines = []
        for kind, kept in kinds.items():
            told = [precision_of(images, value, kept) for value in found.values()]
            count = told[0][1]
            if count:
                lines.append((kind, count, *("-" if one[0] is None else _points(one[0]) for one in told)))
        if lines:
            text.append(table((title, "positives", *(titles[key] for key in found)), lines))
    text.append(
        "Average precision of some positives, the others of the class counting neither way: compare along a row. "
        "Shares are of the image's area; classes with fewer than 5 positives are left out."
    )
    return "\n\n".join(text)


def _layers(work: Experiments) -> str | None:
    rows = []
    two = work.records.value("sets/voc/patches")
    named = [("1: FCb", work.records.value("layers/layers1")), ("2: FCa, FCb", two)]
    named.append((f"3: {', '.join(map(str, LAYERS['layers3']))}, FCb", work.records.value("layers/layers3")))
    for title, found in named:
        if found:
            rows.append(
                (title, _points(found["mean_average_precision"]), found["power"], round(found["training_seconds"]))
            )
    if len(rows) < 2:
        return None
    return (
        f"## Number of adaptation layers\n\n{TITLES['voc']}; in the paper one and three cost about 1 point each.\n\n"
        f"{table(('layers', 'mean AP', 'k', 'training, s'), rows)}"
    )


def _source(work: Experiments) -> str | None:
    rows = []
    for key in work.scale.networks:
        whole, patches = (work.records.value(f"source/{key}/{one}") for one in ("whole", "patches"))
        if whole or patches:
            told = ["-" if one is None else _points(one["mean_average_precision"]) for one in (whole, patches)]
            rows.append((NETWORKS[key].title, TOP1.get(key, "-"), *told))
    if len(rows) < 2:
        return None
    images = work.photographs("voc", work.scale.source)
    counts = " / ".join(str(len(part)) for part in images.parts)
    return (
        f"## Strength of the source\n\n{counts} images of {TITLES['voc']}; in the place of the paper's 1000R, 1000C "
        "and 1512 stand networks that know ImageNet less or better. SqueezeNet loses its borders, so it looks at "
        f"crops.\n\n{table(('network', 'ImageNet top-1, %', 'whole image', 'patches'), rows)}"
    )


def _learning(work: Experiments) -> str | None:
    names = {"frozen, adaptation layers alone": "sets/voc/patches", "last block unfrozen": "unfrozen/patches"}
    names["no pretraining"] = "scratch/patches"
    found = {title: value for title, name in names.items() if (value := work.records.value(name))}
    if len(found) < 2:
        return None
    images = work.photographs("voc")
    frozen = found.get("frozen, adaptation layers alone")
    rows = [
        (
            title,
            _points(value["mean_average_precision"]),
            "-" if frozen is None or value is frozen else _gap(better_by(images, value, frozen)),
            value["rows"],
            round(value["training_seconds"]),
        )
        for title, value in found.items()
    ]
    return (
        f"## What pretraining is worth\n\n{TITLES['voc']}, {NETWORKS[work.scale.main].title}, patches of "
        f"{work.scale.side} px, all learnt from the same patches. Unfrozen: last block and convolution learn with FCa "
        "and FCb, as FC6 does in the paper's PRE-1512U, normalisations fixed. No pretraining: the same network from "
        "random weights, as many epochs as an hour and a half allows; its patches are crops, in training and in "
        "answering.\n\n"
        + table(("network", "mean AP", "minus frozen (95 %)", "patches learnt", "processor time, s"), rows)
    )


TOP1 = {"squeezenet": "57.5", "lite0": "75.1", "lite2": "77.6"}


def _curves(work: Experiments) -> str | None:
    rows = []
    for name in work.records.pieces:
        found = work.records.value(name)
        if found and "curve" in found:
            told = overfitting(found["curve"])
            rows.append(
                (name, len(found["curve"]), *(f"{told[key]:.3f}" for key in ("train_last", "first", "least", "last")))
            )
    if not rows:
        return None
    head = ("training", "epochs", "training patches at last", "validation: first", "least", "last")
    return (
        "## Overfitting\n\nCross-entropy of patches; the paper observed no overfitting on the validation set.\n\n"
        f"{table(head, rows)}"
    )


def _paper() -> str:
    rows = [(number, about, f"{mean:.1f}") for number, about, mean in PAPER]
    return f"## The paper's own\n\n{table(('table', 'data and source', 'mean AP'), rows)}"
