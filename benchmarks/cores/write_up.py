"""The report of the ablations: a table for each factor, the mean over the seeds and how far they lie apart."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.cores.on_streets import GRID
from benchmarks.cores.variations import BASE, Variation
from benchmarks.heads.dbn import ablation_table
from benchmarks.report import facts, table, write_report

if TYPE_CHECKING:
    from benchmarks.cores.ablations import Ablations

_SHOWN = {
    "streets": ("class_average", "global_average", "mean_iou"),
    "ships": ("ship_iou", "ship_iou_chosen", "precision", "recall"),
}
_LEADING = {"streets": "mean_iou", "ships": "ship_iou"}  # whose spread is shown
_TITLES = {
    "weights": "Weights of the backbone",
    "taps": "Planes of a core",
    "pixels": "Pixels of each image, epochs as they are",
    "steps": "Pixels of each image, as many steps as the base",
    "hidden": "Hidden layers",
    "images": "Images of the learnt sequences",
}


def write_ablations(ablations: Ablations, done: Mapping[str, Any], *, quick: bool) -> dict[str, Any]:
    """Write the report, unless quick, and return what its JSON holds.

    Args:
        ablations: with variations and records.
        done: by name the records that are there.
        quick: no report is written.
    """
    figures: dict[str, Any] = {}
    for group, variations in ablations.variations.items():
        for variation in variations:
            runs = _runs(done, group, variation)
            if runs:
                figure = _LEADING[group]
                figures[f"{group}_{variation.name}_{figure}"] = statistics.mean(run[figure] for run in runs)
        pair = [figures.get(f"{group}_{name}_{_LEADING[group]}") for name in (BASE, "random")]
        if pair[0] is not None and pair[1] is not None:
            figures[f"{group}_imagenet_gain"] = pair[0] - pair[1]
    missing = {
        name: ablations.records.passed_over.get(name, "not run")
        for name in ablations.records.pieces
        if name not in done
    }
    raw = {"records": dict(done), "not_run": missing, "seconds": _seconds(ablations, done)}
    seeds = {f"run {seed}": seed for seed in ablations.scale.base_seeds}
    seeds |= {f"pixels of {group}": recipe.seeds.train for group, recipe in ablations.recipes.items()}
    if quick:
        return {**figures, **facts(seeds), "raw": raw}
    return write_report("cores", figures, raw, _text(ablations, done, missing), seeds=seeds)


def _runs(done: Mapping[str, Any], group: str, variation: Variation) -> list[dict[str, Any]]:
    names = [f"{group}/{variation.name}/{seed}" for seed in variation.seeds]
    return [done[name] for name in names if name in done]


def _seconds(ablations: Ablations, done: Mapping[str, Any]) -> dict[str, float]:
    return {name: ablations.records.seconds(name) for name in done}


def _text(ablations: Ablations, done: Mapping[str, Any], missing: Mapping[str, str]) -> str:
    parts = [
        _about(ablations, done),
        "## Street scenes",
        _street_protocol(ablations),
        *_tables(ablations, done, "streets"),
    ]
    parts += [
        _pretraining(done),
        "## Ships in radar images",
        _ship_protocol(ablations),
        *_tables(ablations, done, "ships"),
    ]
    parts += [_whole(ablations, done)]
    if missing:
        parts.append("## Not run\n\n" + "\n".join(f"- {name}: {why}" for name, why in missing.items()))
    return "\n\n".join(part.strip() for part in parts if part)


def _about(ablations: Ablations, done: Mapping[str, Any]) -> str:
    minutes = sum(_seconds(ablations, done).values()) / 60
    return f"""One factor varied at a time, all else as the base: five SqueezeNet taps at the image's own size and the
image, no views, the head of the recipe as it stands. Means over the seeds; spread is the highest minus the lowest of
the mean IoU, or of the ship IoU. A seed decides the head's start, its order of rows and its dropout, and on streets
which pixels are drawn; it says nothing of other images, and with two or three seeds a difference below two spreads is
none. {len(done)} of {len(ablations.records.pieces)} pieces are done, in {minutes:.0f} minutes of wall time. Bring it up
to date by `drillcore bench cores`; what is there is not computed again."""


def _street_protocol(ablations: Ablations) -> str:
    head, scale = ablations.recipes["streets"].head.params, ablations.scale
    return f"""CamVid's train images only: learnt from sequence 0016E5 and the first 60 % of 0001TP, every second image
(121); judged on every second image of 0006R0 and of the rest of 0001TP (64), on a grid of {GRID} pixels, void left out.
Base: {3 * scale.street_unit} pixels of each image, hidden {_widths(head["hidden"])}, {head["epochs"]} epochs,
ImageNet's weights. Head: {_params(head)}."""


def _ship_protocol(ablations: Ablations) -> str:
    recipe, scale = ablations.recipes["ships"], ablations.scale
    head = recipe.head.params
    return f"""The 28 images of the stand-in for BAERI in {scale.folds} folds of whole scenes, as in `bench ships`; each
is answered by heads that have seen no image of its scene. Judged on {10 * scale.ship_unit:,} pixels of each image,
drawn as the recipe draws them: all of its ships, and a part of ring, bright and other background, each weighted by the
pixels it stands for. `ship_iou` answers ship above a probability of one half, `ship_iou_chosen` from each fold's
threshold of the best overlap on the other folds. Learnt pixels are the lowest ranks of one draw, so that seeds are of
the head alone (and of random weights); rows are those of all folds together. Base: {3 * scale.ship_unit:,} pixels,
hidden {_widths(head["hidden"])}, {head["epochs"]} epochs, ImageNet's weights. Head: {_params(head)}."""


def _params(head: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in head.items() if name not in ("hidden", "epochs"))


def _widths(hidden: Sequence[int]) -> str:
    return "-".join(map(str, hidden)) or "none"


def _tables(ablations: Ablations, done: Mapping[str, Any], group: str) -> list[str]:
    variations = ablations.variations[group]
    base = next(one for one in variations if one.factor == BASE)
    parts = []
    for factor, title in _TITLES.items():
        own = [one for one in variations if one.factor == factor and _runs(done, group, one)]
        if not own or not _runs(done, group, base):
            continue
        shown = _base_shown(ablations, group, factor)
        rows = [_row(done, group, base, f"**{shown}** (base)"), *(_row(done, group, one, one.shown) for one in own)]
        if factor in ("pixels", "steps"):
            rows = sorted(rows, key=lambda row: row[1])
        head = (factor, "features x rows", *_SHOWN[group], "spread", "seeds", "fit, s")
        parts.append(f"### {title}\n\n{table(head, [[row[0], *row[2:]] for row in rows])}")
    return parts


def _base_shown(ablations: Ablations, group: str, factor: str) -> str:
    scale, head = ablations.scale, ablations.recipes[group].head.params
    pixels = 3 * (scale.street_unit if group == "streets" else scale.ship_unit)
    return {
        "weights": "ImageNet",
        "taps": "all five, image",
        "pixels": f"{pixels:,}",
        "steps": f"{pixels:,}, {head['epochs']} epochs",
        "hidden": _widths(head["hidden"]),
        "images": "every second",
    }[factor]


def _row(done: Mapping[str, Any], group: str, variation: Variation, shown: str) -> list[Any]:
    """Return name, pixels (to sort by), and the cells of a table."""
    runs = _runs(done, group, variation)
    leading = [run[_LEADING[group]] for run in runs]
    size = f"{runs[0]['features']:,} x {runs[0]['rows']:,}"
    means = [f"{statistics.mean(run[name] for run in runs):.3f}" for name in _SHOWN[group]]
    spread = f"{max(leading) - min(leading):.3f}" if len(leading) > 1 else "-"
    seconds = f"{statistics.mean(run['seconds'] for run in runs):.0f}"
    return [shown, variation.pixels, size, *means, spread, len(runs), seconds]


def _pretraining(done: Mapping[str, Any]) -> str:
    found = [value for name, value in done.items() if name.startswith("pretraining/")]
    if not found:
        return ""
    records = [record for value in found for record in value["records"]]
    epochs = ", ".join(f"{value['epochs']} at {value['records'][0]['share']:.0%}" for value in found)
    return f"""### Pretraining by RBMs

{ablation_table(records)}

The base's rows; standardisation and RBMs see all {found[0]["rows"]:,} without their labels, fine-tuning the share
(batches of 32; epochs: {epochs}). Judged on {found[0]["judged_pixels"]:,} pixels of the grid. Last loss and epochs to
the loss as in `bench dbn`: until the judged pixels' loss is within 5 % of the lowest that the same network reaches
without pretraining."""


def _whole(ablations: Ablations, done: Mapping[str, Any]) -> str:
    rows = []
    for variation in ablations.variations["ships"]:
        run = done.get(f"ships/{variation.name}/0")
        if run is not None and "whole_images" in run:
            rows.append((variation.name, run["ship_iou"], *run["whole_images"].values()))
            names = list(run["whole_images"])
    if not rows:
        return ""
    return f"""### Whole images beside sampled pixels, seed 0

{table(("variation", "ship_iou, sampled", *names), rows)}

Every pixel of the 28 images, answered as the exported file does (exact). The first figure is the estimate that the
tables above are made of."""
