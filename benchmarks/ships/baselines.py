"""Ships by cross-validation over scenes: all sea, one threshold, a CFAR detector, a small SegNet, core samples.

On the 28 images of `../shared/data/sar_ships.zip` where it stands beside the checkout, else on the synthetic sample. A
detector sees the scenes of the other folds only; figures are of all images together, each answered once. `DETECTORS` is
the table of what competes: a model that is to be judged beside them is one more line. Run this file, or `run`.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.report import facts, table, write_report
from benchmarks.ships.core_detector import MODEL, CoreSampleDetector
from benchmarks.ships.segnet import Plan, train_segnet
from drillcore.datasets.archives import extract_zip
from drillcore.datasets.layouts.baeri import BaeriLayout
from drillcore.datasets.synthetic import write_sample
from drillcore.datasets.targets import read_labels
from drillcore.evaluation.figures.precision_recall import ProbabilityHistogram, best_threshold
from drillcore.evaluation.figures.ship_baselines import choose_cfar, choose_threshold, count_contrasts, count_levels
from drillcore.evaluation.figures.ships import ShipScores
from drillcore.evaluation.figures.suspicion import grouped_folds
from drillcore.files import read_object, write_json
from drillcore.recipes import load_recipe
from drillcore.runtime.images.decode import decode_file, probe_file
from drillcore.settings import Settings

REAL = Path("shared/data/sar_ships.zip")  # beside the checkout
FOLDS, SEED = 4, 0
SEGNET = Plan(steps=600, batch=4, seed=SEED)
_SHOWN = ("ship_iou", "ship_f1", "average_precision", "accuracy", "mean_squared_error")
_COUNTED = ("ships_missed", "small_ships_missed", "false_blobs", "false_pixels", "halo_pixels", "halo_share")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One labelled image: grey levels and labels, uint8 [H,W]; images of one group show the same sea."""

    name: str
    group: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    decibels: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a detector says of an image.

    Attributes:
        score: rises with the probability of ship, from 0 to 1, float [H,W].
        label: 1 = ship, uint8 [H,W].
        learned: what the detector learned, for the report.
    """

    score: NDArray[np.floating[Any]]
    label: NDArray[np.uint8]
    learned: dict[str, Any]


Detector = Callable[[Sequence[Scene], Sequence[Scene], bool], list[Answer]]  # train, test, quick


def answer_all_sea(train: Sequence[Scene], test: Sequence[Scene], quick: bool) -> list[Answer]:
    """Answer "no ship" everywhere."""
    return [
        Answer(score=np.zeros(scene.image.shape), label=np.zeros(scene.image.shape, np.uint8), learned={})
        for scene in test
    ]


def answer_threshold(train: Sequence[Scene], test: Sequence[Scene], quick: bool) -> list[Answer]:
    """Answer by one grey level."""
    found = choose_threshold([count_levels(scene.image, scene.mask) for scene in train])
    learned = {"level": found.level}
    return [Answer(score=found.score(one.image), label=found.predict(one.image), learned=learned) for one in test]


class CfarAnswers:
    """Answers by cell averaging; each image is counted once for all folds."""

    def __init__(self) -> None:
        self._tables: dict[str, NDArray[np.int64]] = {}

    def __call__(self, train: Sequence[Scene], test: Sequence[Scene], quick: bool) -> list[Answer]:
        """Fit and answer."""
        decibels = train[0].decibels
        for scene in train:
            if scene.name not in self._tables:
                self._tables[scene.name] = count_contrasts(scene.image, scene.mask, decibels=decibels)
        found = choose_cfar([self._tables[scene.name] for scene in train], decibels=decibels)
        learned = {name: getattr(found, name) for name in found.__slots__}
        return [Answer(score=found.score(one.image), label=found.predict(one.image), learned=learned) for one in test]


def answer_segnet(train: Sequence[Scene], test: Sequence[Scene], quick: bool) -> list[Answer]:
    """Answer by a small SegNet trained on the other scenes; its threshold is the best on them."""
    plan = Plan(steps=3, batch=2, crop=64, seed=SEED) if quick else SEGNET
    found = train_segnet([scene.image for scene in train], [scene.mask for scene in train], plan)
    histogram = ProbabilityHistogram()
    for scene in train:
        histogram.add((scene.mask == 1).ravel(), found.probability(scene.image).ravel())
    threshold, overlap = best_threshold(histogram)
    tail = max(1, plan.steps // 10)
    learned = {
        "first_loss": float(np.mean(found.losses[:tail])),
        "last_loss": float(np.mean(found.losses[-tail:])),
        "threshold": threshold,
        "training_overlap": overlap,
    }
    scores = [found.probability(scene.image) for scene in test]
    return [Answer(score=score, label=(score >= threshold).astype(np.uint8), learned=learned) for score in scores]


class CoreAnswers:
    """Answers by the recipe of `baeri`, learned from the other scenes; ship where its probability is above one half."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __call__(self, train: Sequence[Scene], test: Sequence[Scene], quick: bool) -> list[Answer]:
        """Fit and answer."""
        found = CoreSampleDetector(self.settings, quick)
        learned = found.fit(train)
        scores = [found.probability(scene.image) for scene in test]
        return [Answer(score=score, label=(score > 0.5).astype(np.uint8), learned=learned) for score in scores]


# name -> what answers, and whether its score is a probability: else its squared error is that of its labels.
DETECTORS: Mapping[str, tuple[Callable[[Settings], Detector], bool]] = {
    "all_sea": (lambda settings: answer_all_sea, True),
    "threshold": (lambda settings: answer_threshold, False),
    "cfar": (lambda settings: CfarAnswers(), False),
    "core_samples": (CoreAnswers, True),
    "segnet": (lambda settings: answer_segnet, True),
}


def run(settings: Settings, quick: bool = False) -> dict[str, Any]:
    """Measure and write the report.

    Args:
        settings: beside whose checkout the real data is looked for.
        quick: the sample, two folds, a SegNet of three steps; no report is written.

    Returns:
        `<detector>_ship_iou` and the other figures of each, facts, and everything counted.
    """
    torch.set_num_threads(settings.threads or 1)
    with tempfile.TemporaryDirectory(prefix="drillcore-ships-") as folder:
        scenes = load_scenes(settings, Path(folder), real=not quick)
    folds = fold_of(scenes, 2 if quick else FOLDS)
    kept = Kept(settings, scenes, quick)
    found = {
        name: kept.once(name, lambda make=make, sure=sure: _measure(scenes, folds, make(settings), sure, quick))
        for name, (make, sure) in DETECTORS.items()
    }
    figures = {f"{name}_{figure}": row["figures"][figure] for name, row in found.items() for figure in _SHOWN}
    raw = {
        "detectors": found,
        "folds": {
            str(fold): [scenes[index].name for index in np.flatnonzero(folds == fold)] for fold in set(folds.tolist())
        },
        "segnet": {name: getattr(SEGNET, name) for name in SEGNET.__slots__},
    }
    if quick:
        return {**figures, **facts({"folds": SEED}), "raw": raw}
    return write_report("ships", figures, raw, _text(found, scenes), seeds={"folds": SEED, "segnet": SEGNET.seed})


class Kept:
    """What each detector has scored, so that a run that was stopped goes on with the next one.

    Args:
        settings: whose state folder it is kept in.
        scenes: that are answered.
        quick: nothing is kept of a quick run.
    """

    def __init__(self, settings: Settings, scenes: Sequence[Scene], quick: bool) -> None:
        state = hashlib.sha256(load_recipe(settings, MODEL).sha256.encode())
        for scene in scenes:
            state.update(scene.image.tobytes() + scene.mask.tobytes())
        self.path = None if quick else settings.state / "benchmarks" / f"ships-{state.hexdigest()[:16]}.json"

    def once(self, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what is kept of a detector, or measure and keep it."""
        held: dict[str, Any] = read_object(self.path) if self.path is not None and self.path.is_file() else {}
        if name not in held:
            held[name] = measure()
            if self.path is not None:
                write_json(self.path, held)
        found: dict[str, Any] = held[name]
        return found


def load_scenes(settings: Settings, folder: Path, *, real: bool) -> list[Scene]:
    """Return the images of the real set where it is there, else of the sample.

    Args:
        settings: beside whose checkout the real data is looked for.
        folder: an empty one, for the files.
        real: whether to look for the real data.
    """
    source = settings.root.parent / REAL
    if real and source.is_file():
        extract_zip(source, folder)
    else:
        write_sample("baeri", folder)
    layout = BaeriLayout()
    return [
        Scene(
            name=item.path,
            group=item.group or item.path,
            image=decode_file(item.source, 1, max_pixels=settings.max_pixels)[:, :, 0],
            mask=read_labels(layout, item.target, settings),
            decibels=probe_file(item.source, max_pixels=settings.max_pixels).dtype == "float32",
        )
        for item in layout.items(folder)
        if item.target is not None
    ]


def fold_of(scenes: Sequence[Scene], folds: int) -> NDArray[np.int64]:
    """Return the fold of each image, int64 [N]; images of one scene are in one fold."""
    found, _ = grouped_folds([scene.group for scene in scenes], np.zeros(len(scenes), int), folds=folds, seed=SEED)
    return found


def _measure(
    scenes: Sequence[Scene],
    folds: NDArray[np.int64],
    detector: Detector,
    is_probability: bool,
    quick: bool,
) -> dict[str, Any]:
    scores = ShipScores()
    learned, seconds = [], []
    for fold in sorted(set(folds.tolist())):
        train = [scene for scene, other in zip(scenes, folds, strict=True) if other != fold]
        test = [scene for scene, other in zip(scenes, folds, strict=True) if other == fold]
        started = time.perf_counter()
        answers = detector(train, test, quick)
        seconds.append(time.perf_counter() - started)
        learned.append(answers[0].learned)
        for scene, answer in zip(test, answers, strict=True):
            scores.add(scene.mask, answer.score, answer.label)
    figures = scores.figures()
    if not is_probability:
        figures["mean_squared_error"] = 1 - figures["accuracy"]
    return {"figures": figures, "learned": learned, "seconds": seconds}


def _text(found: Mapping[str, Any], scenes: Sequence[Scene]) -> str:
    rows = [(name, *(row["figures"][figure] for figure in _SHOWN), sum(row["seconds"])) for name, row in found.items()]
    counts = [(name, *(row["figures"][figure] for figure in _COUNTED)) for name, row in found.items()]
    first = next(iter(found.values()))["figures"]
    weights = found["core_samples"]["learned"][0]["weights"]
    groups = len({scene.group for scene in scenes})
    return f"""
{len(scenes)} images of {groups} scenes, {FOLDS} folds of whole scenes; every image is answered by a detector that has
seen no image of its scene. {first["ships"]} ships, {first["small_ships"]} of them small (at most
{first["small_ship_pixels"]} pixels). Where a score is no probability (threshold, cfar) the squared error is that of the
labels. The threshold is one grey level for all images; cfar is cell averaging with windows and factor of the best
overlap on the other folds; segnet is trained from nothing and
answers from the probability of the best overlap on the other folds. core_samples is the recipe models/baeri.yaml as it
stands, with backbone weights {weights}, answered by its exported ONNX file.

{table(("detector", *_SHOWN, "seconds"), rows)}

What figure 5 of the paper shows, counted: ships and small ships without any answered pixel, answered objects without a
true pixel, and false pixels within {first["halo_width"]} pixels of a true ship.

{table(("detector", *_COUNTED), counts)}
"""


if __name__ == "__main__":
    run(Settings.load())
