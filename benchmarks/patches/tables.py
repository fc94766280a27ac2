"""`drillcore bench patches`: paper 001's tables on what is here, and patches by convolution beside a crop of each.

Speed: the same patches of a picture both ways, on one thread, against the ratio of their pixels, which no way could
beat but by what it shares. Quality: adaptation layers on patches, learnt on train, power and calibration on val, test
looked at once; beside a linear SVM on features of whole images. Sets: Pascal VOC's animals, and CamVid-objects
(`benchmarks.camvid_objects`). Patches of 96 pixels, or the crops would take hours. Pieces are kept, and rows in the
feature store: a run that was killed goes on.

    python -m benchmarks.patches.tables --data FOLDER --only speed,sets
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.patches.experiments import GROUPS, QUICK, WHOLE, Experiments
from benchmarks.patches.judging import better_by
from benchmarks.patches.sets import SEED
from benchmarks.patches.text import written
from benchmarks.pieces import begin
from benchmarks.report import facts, write_report
from drillcore.errors import InputError
from drillcore.settings import Settings

NAME = "patches"


def run(
    settings: Settings, *, quick: bool = False, data: Path | None = None, only: Sequence[str] | None = None
) -> dict[str, Any]:
    """Make the pieces that are not there yet, and write the report of all that is, unless it is a quick look.

    Args:
        settings: where weights, the store and the pieces are.
        quick: the bundled sample, random weights, small patches.
        data: folder of voc2012_animals.zip and camvid_train_val.zip; None: `../shared/data`.
        only: groups of `GROUPS`; () makes nothing and writes the report again; None: all.

    Raises:
        UnknownNameError: a group there is not.
        InputError: no data.
    """
    folder = begin(settings, NAME, GROUPS, only, quick=quick)
    source = None if quick else data or settings.root.parent / "shared" / "data"
    if source is not None and not (source / "voc2012_animals.zip").is_file():
        raise InputError(f"no voc2012_animals.zip in {source}; give the folder of the data sets as --data")
    own = replace(settings, state=folder / "state") if quick else settings
    work = Experiments(own, QUICK if quick else WHOLE, folder, source)
    work.records.run(only)
    figures, raw = _figures(work), _raw(work)
    seeds = {"train": SEED}
    if quick:
        return {**figures, **facts(seeds), "raw": raw}
    return write_report(NAME, figures, raw, written(work), seeds=seeds)


def _figures(work: Experiments) -> dict[str, Any]:
    """Return the figures whose pieces are there."""
    value, found = work.records.value, {}
    if speed := value("speed/4:3"):
        found["pyramid_speedup"] = speed["crops_seconds"] / speed["pyramid_seconds"]
        found["pyramid_vs_pixel_ratio"] = found["pyramid_speedup"] / speed["pixel_ratio"]
    pyramid, crops = value("exact/pyramid"), value("exact/crops")
    if pyramid and crops:
        images = work.photographs("voc", work.scale.exact)
        found["pyramid_map_loss"] = 100 * better_by(images, crops, pyramid).difference
    for name, key in (("objects", "patches_minus_whole_image"), ("voc", "voc_patches_minus_whole_image")):
        ours, theirs = value(f"sets/{name}/patches"), value(f"sets/{name}/whole")
        if ours and theirs:
            found[key] = 100 * better_by(work.photographs(name), ours, theirs).difference
    return found


def _raw(work: Experiments) -> dict[str, Any]:
    """Return the records without the answers to each image."""
    names = work.records.pieces
    known = {name: value for name in names if (value := work.records.value(name)) is not None}
    return {
        name: {key: one for key, one in value.items() if key != "probabilities"}
        | {"seconds": round(work.records.seconds(name), 1)}
        for name, value in known.items()
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", help=f"groups: {','.join(GROUPS)}; 'report' for none")
    given = parser.parse_args()
    chosen = None if given.only is None else [] if given.only == "report" else given.only.split(",")
    print(run(Settings.load(), quick=given.quick, data=given.data, only=chosen))
