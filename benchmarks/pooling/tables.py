"""`drillcore bench cross-pooling`: paper 003's tables on what is here, its claims, and what pooling and kernels cost.

Maps are extracted once and kept (`features`), kernels and answers too (`kernels`): a run that was killed goes on, and
the report is written of the pieces that are whole. C is chosen on rows held out of train, as the recipe's head does;
test is looked at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.pooling.answers import MEASURED, Answers, answers, paired
from benchmarks.pooling.claims import CLAIMS, claimed
from benchmarks.pooling.exported import file_times
from benchmarks.pooling.features import NETWORKS, Maps
from benchmarks.pooling.fisher import fisher_methods
from benchmarks.pooling.kernels import SEED, methods
from benchmarks.pooling.overlays import sparsity, write_overlays
from benchmarks.pooling.pictures import SETS, Pictures, drawn
from benchmarks.pooling.speed import kernel_times, times
from benchmarks.pooling.text import written
from benchmarks.report import RESULTS, facts, write_report
from drillcore.errors import InputError
from drillcore.files import read_object

if TYPE_CHECKING:
    from drillcore.settings import Settings

TARGET_SETS = ("flowers17", "scene15")  # the paper's gain is asked for on their mean
QUICK = ("CNN-Global", "CL-45", "CL-45F", "CL-45C")
Found = dict[str, dict[str, dict[str, Answers]]]  # by network, data set and method


def run(
    settings: Settings, *, quick: bool = False, data: Path | None = None, only: Sequence[str] | None = None
) -> dict[str, Any]:
    """Measure, write the report of all that has been measured (not when quick) and return it.

    Args:
        settings: where maps, kernels and answers are kept.
        quick: drawn pictures through a small network of random weights; no report.
        data: a folder with flowers17.zip, scene15.zip, voc2012_animals.zip and plankton_train.zip.
        only: networks (lite0, squeezenet) and data sets; with "jitter" ten crops too; None: all but jitter; none
            named: the report alone.

    Raises:
        InputError: no data.
    """
    pieces = _pieces(settings, data, quick)
    wanted = set(NETWORKS) | set(SETS) if only is None else {*only}
    for maps in pieces:
        if quick or (maps.key in wanted and (maps.pictures.name in wanted or not wanted & set(SETS))):
            maps.extract(jitter=False)
            if "jitter" in wanted:
                maps.extract(jitter=True)
            for name, kernel_of in _methods(maps).items():
                if not quick or name in QUICK:
                    answers(maps, name, kernel_of)
    found: Found = {}
    for maps in pieces:
        if all(maps.answered(name) for name in QUICK):
            whole = {name: kernel_of for name, kernel_of in _methods(maps).items() if maps.answered(name)}
            found.setdefault(maps.key, {})[maps.pictures.name] = {
                name: answers(maps, name, kernel_of) for name, kernel_of in whole.items()
            }
    if not found:
        raise InputError("nothing has been measured yet; leave out --only, or name networks and data sets")
    return _reported(settings, pieces, found, quick=quick)


def _reported(settings: Settings, pieces: Sequence[Maps], found: Found, *, quick: bool) -> dict[str, Any]:
    measured = [maps for maps in pieces if maps.pictures.name in found.get(maps.key, {})]
    earlier = {} if quick else _earlier()
    here = {**_told(measured, found), **_timed(settings, pieces, known="seconds" in earlier, quick=quick)}
    if "seconds" in here:
        here["measured"]["times"] = facts()
    raw = merged(earlier, here)
    lowest = min(raw["gains"].values())
    taken, filed, products = raw["seconds"], raw["file_seconds"], raw["kernel_seconds"]
    figures = {
        "pooling_vs_backbone": taken["pooling"] / taken["backbone"],
        "file_pooling_vs_backbone": filed["pooling"] / filed["backbone"],
        "gram_vs_matmul": products["matmul"] / products["gram"],
        "cl45c_minus_global": lowest[0],
        "cl45c_minus_global_low": lowest[1],
    }
    if quick:
        return {**figures, **facts({"folds": SEED}), "raw": raw}
    raw["pictures"] = sorted({*raw.get("pictures", []), *write_overlays(measured, RESULTS / "cross-pooling")})
    return write_report("cross-pooling", figures, raw, written(raw), seeds={"folds": SEED, "bootstrap": SEED})


def _told(measured: Sequence[Maps], found: Found) -> dict[str, Any]:
    """Return what the pieces measured here say: figures, not times."""
    gains = {}
    for key, sets in found.items():
        judged = [sets[name] for name in TARGET_SETS if name in sets]
        if len(judged) == len(TARGET_SETS) or key == "quick":
            judged = list(sets.values()) if key == "quick" else judged
            gains[key] = paired([one["CL-45C"] for one in judged], [one["CNN-Global"] for one in judged])
    return {
        "accuracy": {
            key: {name: {method: [one.score, one.c] for method, one in rows.items()} for name, rows in sets.items()}
            for key, sets in found.items()
        },
        "finer": {piece(maps): _finer(found[maps.key][maps.pictures.name]) for maps in measured},
        "claims": claimed(found),
        "gains": gains,
        "sparsity": {piece(maps): sparsity(maps) for maps in measured},
        "counts": {maps.pictures.name: _counts(maps.pictures) for maps in measured},
        "measured": {piece(maps): read_object(maps.folder / "answers" / MEASURED) for maps in measured},
    }


def _timed(settings: Settings, pieces: Sequence[Maps], *, known: bool, quick: bool) -> dict[str, Any]:
    """Return times: of files always, of the rest where maps of full size are kept here or none are known."""
    whole = [maps for maps in pieces if "global" in maps]
    full = [maps for maps in whole if maps.pictures.name in TARGET_SETS]
    timed = full if full or known else whole
    key, side, components = ("quick", 32, 20) if quick else ("lite0", 224, 500)
    here: dict[str, Any] = {"file_seconds": file_times(settings, key, side, components)}
    if timed:
        here |= {"seconds": times(settings, timed[0]), "kernel_seconds": kernel_times(timed[0])}
    return here


def _earlier() -> dict[str, Any]:
    """Return what the report that stands holds; nothing where there is none."""
    try:
        return dict(read_object(RESULTS / "cross-pooling.json")["raw"])
    except FileNotFoundError:
        return {}


def _finer(rows: dict[str, Answers]) -> bool:
    """Whether blocks are the better single resolution, by the loss on rows held out of train."""
    return rows["CL-45F"].loss < rows["CL-45"].loss


def piece(maps: Maps) -> str:
    """Return a piece's name in the report."""
    return f"{maps.pictures.name}, {maps.key}"


def merged(earlier: dict[str, Any], here: dict[str, Any]) -> dict[str, Any]:
    """Return what a report says that keeps the pieces measured elsewhere: those measured here take their own place.

    A claim's row of earlier stays as long as one of its data sets has not been measured here.
    """
    raw = {**earlier, **here}
    for name in ("finer", "gains", "sparsity", "counts", "measured"):
        raw[name] = {**earlier.get(name, {}), **here[name]}
    keys = {**earlier.get("accuracy", {}), **here["accuracy"]}
    raw["accuracy"] = {
        key: {**earlier.get("accuracy", {}).get(key, {}), **here["accuracy"].get(key, {})} for key in keys
    }
    known = {(one["claim"], one["network"], name) for one in here["claims"] for name in one["by"]}
    kept = [
        one
        for one in earlier.get("claims", [])
        if any((one["claim"], one["network"], name) not in known for name in one["by"])
    ]
    order = [claim for claim, *_ in CLAIMS]
    raw["claims"] = sorted([*kept, *here["claims"]], key=lambda one: (order.index(one["claim"]), one["network"]))
    return raw


def _pieces(settings: Settings, data: Path | None, quick: bool) -> list[Maps]:
    if quick:
        return [Maps(settings, drawn(settings), "quick")]
    if data is None:
        raise InputError("the data sets are given as --data FOLDER of zips: flowers17, scene15, voc2012_animals, ...")
    sets = [read(settings, data) for read in SETS.values()]
    return [Maps(settings, pictures, key) for key in NETWORKS if key != "quick" for pictures in sets]


def _methods(maps: Maps) -> dict[str, Any]:
    return {**methods(maps), **fisher_methods(maps)} if "global" in maps else {}


def _counts(pictures: Pictures) -> dict[str, int]:
    return {name: int((pictures.splits == name).sum()) for name in ("train", "test")}
