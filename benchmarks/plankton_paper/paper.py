"""`drillcore bench plankton-paper`: every experiment of "CNN features with random forests and SVMs", beside theirs.

Its pieces (`paper_pieces`) are made in order, the cheapest and most telling first; each leaves a record, so that a run
that was killed goes on, and the report holds what is there. On one core of a server the whole takes about three
hours; what keeps it there: float16 rows from the feature store, 100 trees in place of 400 on layers of more than 4,000
features, 8,000 rows for the SVMs on CNN2's first layer, ten of the 63 epochs of figure 5.

    python -m benchmarks.plankton_paper.paper --data plankton_train.zip --only networks,sweep
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.pieces import begin
from benchmarks.plankton_paper.data import open_images
from benchmarks.plankton_paper.experiments import GROUPS, PRETRAINED_WEIGHTS, Experiments
from benchmarks.plankton_paper.found import NAME
from benchmarks.plankton_paper.scale import QUICK, WHOLE, shortened
from benchmarks.plankton_paper.write_up import write_paper_report
from drillcore.errors import InputError
from drillcore.settings import Settings

REAL = Path("shared/data/plankton_train.zip")  # beside the checkout


def run(
    settings: Settings,
    *,
    quick: bool = False,
    data: Path | None = None,
    only: Sequence[str] | None = None,
    epochs: int | None = None,
) -> dict[str, Any]:
    """Make the pieces that are not there yet, write the report of all that is, and log it.

    Args:
        settings: where state and MLflow are.
        quick: everything on the bundled sample, small; its report goes to the state folder.
        data: zip or folder in the competition's layout; None: `../shared/data/plankton_train.zip`.
        only: groups of `GROUPS`, with what they need; () makes nothing and writes the report again; None: all.
        epochs: of every training at most.

    Returns:
        what the JSON report holds.

    Raises:
        UnknownNameError: a group there is not.
        InputError: no data.
    """
    folder = begin(settings, NAME, GROUPS, only, quick=quick)
    source = None if quick else data or settings.root.parent / REAL
    if source is not None and not source.exists():
        raise InputError(f"no images at {source}; give the competition's zip or folder as --data")
    own = replace(settings, state=folder / "state") if quick else settings
    scale = shortened(QUICK if quick else WHOLE, epochs)
    images = open_images(own, folder, source)
    experiments = Experiments(images, scale, folder, "seed:0" if quick else PRETRAINED_WEIGHTS)
    experiments.records.run(only)
    return write_paper_report(experiments, settings, quick=quick)


def main(arguments: Sequence[str] | None = None, load: Callable[[], Settings] = Settings.load) -> None:
    """Run from a shell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="all of it on the bundled sample, small")
    parser.add_argument("--data", type=Path, help="the competition's zip or folder")
    parser.add_argument("--only", help=f"groups, with what they need: {','.join(GROUPS)}; 'report' for none")
    parser.add_argument("--epochs", type=int, help="of every training at most")
    given = parser.parse_args(arguments)
    only = None if given.only is None else [] if given.only == "report" else given.only.split(",")
    run(load(), quick=given.quick, data=given.data, only=only, epochs=given.epochs)


if __name__ == "__main__":
    main()
