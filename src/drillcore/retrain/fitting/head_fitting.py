"""Rows into the store, and the head on them: what all representations have in common."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from drillcore.arrays import Array
from drillcore.heads.base import FitRun
from drillcore.heads.catalogue import GRAM, head_row
from drillcore.heads.dual import DualClassifier
from drillcore.heads.row_source import combine, gram
from drillcore.heads.saving import save_head
from drillcore.plugins import attribute
from drillcore.progress import progress
from drillcore.recipes.building import build_head
from drillcore.recipes.parts import NO_HEAD
from drillcore.representations.catalogue import representation_row
from drillcore.retrain.opening import GROWTH_FOLDER, HEAD_FOLDER, STATE_FILE
from drillcore.retrain.records import Filled, Fitted

if TYPE_CHECKING:
    from drillcore.heads.base import Head
    from drillcore.representations.base import Rows
    from drillcore.retrain.run import Run

_THREADS = "threads"  # record of the number fits are made with


def fill_store(run: Run) -> Filled:
    """Bring the rows of images that are learnt from or measured on into the store; what is missing is computed.

    Raises:
        InputError: parameters that do not fit the data, before anything is computed.
    """
    representation = run.representation
    representation.check(run)
    if why := representation.unkept():
        return Filled(rows=0, width=0, passed=0, note=why)
    found = representation.rows(run, representation.kept_rows(run))
    (count, width), passed = found.rows.shape, found.extracted
    text = f"{count:,} x {width:,} {representation.plan.dtype}, {passed:,} {representation.unit} passed the backbone"
    return Filled(rows=count, width=width, passed=passed, note=text, reused=not passed)


def fit_head(run: Run) -> tuple[Fitted, list[str]]:
    """Fit the head as the representation's row of the catalogue says, or on all its rows; goes on after a kill."""
    if run.recipe.head.name == NO_HEAD:
        return Fitted(note="no head: nothing is learnt from labels"), []
    own = representation_row(run.recipe.representation.name).fitting
    if not own:
        return _fit_rows(run)
    made: tuple[Fitted, list[str]] = attribute(own)(run)
    return made


def _fit_rows(run: Run) -> tuple[Fitted, list[str]]:
    found = run.representation.rows(run, run.fit_rows())
    head, growth, name = unfitted(run), run.path / GROWTH_FOLDER, run.recipe.head.name
    with progress(f"fitting {name}", head.work(len(found)), unit="steps") as advance:
        threads = fit_threads(run, head, found.rows.shape[1])
        how = FitRun(checkpoint=growth, advance=advance, threads=threads)
        learn(head, found, takes(run, found), how)
    digest = save_head(run.path / HEAD_FOLDER, head)
    shutil.rmtree(growth, ignore_errors=True)
    made = [f"{HEAD_FOLDER}/{path.name}" for path in sorted((run.path / HEAD_FOLDER).iterdir())]
    state = run.state
    made += [STATE_FILE] if state else []
    record = Fitted(
        arrays_sha256=digest,
        rows=len(found),
        state_sha256=state.sha256 if state else None,
        threads=threads,
        note=f"{name} on {len(found):,} rows",
    )
    return record, made


def takes(run: Run, found: Rows) -> Array:
    """Return what the recipe's head is fitted on: rows [N, D], or their products [N, N]."""
    found_rows: Array = gram(found.rows) if head_row(run.recipe.head.name).accepts == GRAM else np.asarray(found.rows)
    return found_rows


def learn(head: Head, found: Rows, given: Array, how: FitRun) -> None:
    """Fit a head on rows; `given` are what it takes of them."""
    head.fit(given, found.targets, found.weights, run=how)
    if head_row(head.name).accepts == GRAM:
        assert isinstance(head, DualClassifier), f"{head.name} says that it takes a Gram matrix"  # noqa: S101
        head.settle(combine(found.rows, head.dual()))


def fit_threads(run: Run, head: Head, features: int) -> int | None:
    """Return with how many CPU threads the heads of a run are fitted; None: as the recipe says, or it does not matter.

    One is tried against all cores before the first fit, unless settings or recipe state a number. What came out is kept
    in the run's folder, since the last bits depend on it: after a kill, and in every fold, it is the same.
    """
    if "threads" in run.recipe.head.params or head.fastest_threads(features, 1) is None:
        return None
    if not run.settings.measures_threads:
        return run.settings.cpu_threads
    kept = run.folder.read_plain(_THREADS)
    if kept is not None and isinstance(kept.get(_THREADS), int):
        return int(kept[_THREADS])
    found = head.fastest_threads(features, run.settings.cpu_threads)
    run.path.mkdir(parents=True, exist_ok=True)
    run.folder.write_plain(_THREADS, {_THREADS: found})
    return found


def unfitted(run: Run, params: Mapping[str, object] | None = None) -> Head:
    """Return the recipe's head, not fitted; `params` stand in place of its own."""
    more: Any = {"n_jobs": run.settings.cpu_threads, "device": run.settings.device, "params": params}
    return build_head(run.recipe, n_classes=len(run.manifest.classes), **more)
