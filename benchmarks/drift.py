"""`drillcore bench drift`: which shifts `drift` notices, at how many answers, and how often it cries wolf.

A light model (EfficientNet-Lite0, frozen, at 96 pixels; a linear SVM) learns from up to 40 images of each class of
plankton but five. Other images, drawn as they occur, are answered once as they are and once for each shift of the
pixels; every trial then draws a reference and a sample of now anew, never the same image in both. The answers are kept
in the state folder: the same model and images are not asked again.
"""

from __future__ import annotations

import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

import drillcore
from benchmarks.report import RESULTS, table, write_report
from drillcore.analysis.shifts.drift import LEVEL, LIMIT, compare
from drillcore.datasets.synthetic import write_sample
from drillcore.digests import sha256_file, sha256_json
from drillcore.errors import InputError
from drillcore.progress import progress
from drillcore.runtime.batch.planning import pad_batch
from drillcore.runtime.batch.sketch import Sketch, sketch_of
from drillcore.runtime.images.decode import decode_bytes
from drillcore.runtime.model.session import Model, open_model
from drillcore_serving.online.sketching import KeptAnswers

if TYPE_CHECKING:
    from drillcore.settings import Settings

SIDE, LEARNT, NEW_CLASSES, LEAST_NEW = 96, 40, 5, 100
POOL, SHIFTED, REFERENCE, SIZES = 6_000, 1_500, 1_000, (100, 300, 1_000)
TRIALS, CLEAN_TRIALS, SEED, BATCH = 20, 100, 0, 32
Pixels = NDArray[np.uint8]
Answers = NDArray[np.float32]


def _contrast(image: Pixels, factor: float) -> Pixels:
    mean = image.mean(dtype=np.float64)
    return np.clip(np.rint((image - mean) * factor + mean), 0, 255).astype(np.uint8)


def _blur(image: Pixels, sigma: float) -> Pixels:
    return np.asarray(gaussian_filter(image, (sigma, sigma, 0)), np.uint8)


def _gain(image: Pixels, factor: float) -> Pixels:
    return np.clip(np.rint(image * factor), 0, 255).astype(np.uint8)


# name: what it does to an image uint8 [H, W, C], its severities, and how they are told.
PIXEL_SHIFTS: dict[str, tuple[Callable[[Pixels, float], Pixels], tuple[float, ...], str]] = {
    "contrast": (_contrast, (0.8, 0.6, 0.4), "times {}"),
    "blur": (_blur, (0.5, 1.0, 2.0), "sigma {} pixels"),
    "sensor gain": (_gain, (0.9, 0.75, 0.6), "times {}"),
}
NEW_SHARES, MISSING = (0.05, 0.1, 0.2), (1, 3, 6)


def run(settings: Settings, *, quick: bool = False, data: Path | None = None) -> dict[str, Any]:
    """Measure on the competition's zip `data`; without it on the drawn plankton of the sample."""
    home = settings.state / "benchmarks" / ("drift-quick" if quick else "drift")
    home.mkdir(parents=True, exist_ok=True)
    source = _source(home, data)
    home /= _digest(source)
    home.mkdir(exist_ok=True)
    images = _Images(source, quick)
    onnx = _model(settings, home, images)
    model = open_model(onnx, device="cpu", threads=1)
    asked = _Asked(model, home / f"answers-{sha256_file(onnx)[:12]}", images)
    trials = _Trials(model, asked, images, 2 if quick else TRIALS, 2 if quick else CLEAN_TRIALS)
    rows, alarms = trials.shifts(), trials.clean()
    cost = _cost(model, images)
    largest = [row for row in rows if row["answers"] == max(SIZES)]
    false = sum(row["alarms"] for row in alarms) / sum(row["trials"] for row in alarms)
    figures = {
        "detection_rate": round(float(np.mean([row["detected"] for row in largest])), 3),
        "false_alarm_rate": round(false, 4),
        "scoring_cost_share": round(cost["sketch_microseconds"] / cost["scoring_microseconds"], 5),
    }
    raw = {"shifts": rows, "clean": alarms, "cost": cost, "level": LEVEL, "limit": LIMIT}
    folder = settings.state / "bench" if quick else RESULTS
    return write_report("drift", figures, raw, _text(rows, alarms, cost, images), seeds={"all": SEED}, folder=folder)


def _source(home: Path, data: Path | None) -> Path:
    if data is not None:
        if not data.is_file():
            raise InputError(f"{data}: the competition's zip of labelled plankton is expected")
        return data
    sample = home / "sample"
    if not sample.is_dir():
        write_sample("plankton", sample)
    return sample


def _digest(source: Path) -> str:
    """Return what the images' model and answers are kept under: those of other images are not taken for them."""
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    return sha256_json([sha256_file(path) for path in files])[:12]


class _Images:
    """Files by class, and which of them are learnt from, belong to the pool, or are of a class that is new."""

    def __init__(self, source: Path, quick: bool) -> None:
        self._zip = zipfile.ZipFile(source) if source.is_file() else None
        self._folder = source
        listed = self._zip.namelist() if self._zip else [str(path) for path in source.rglob("*")]
        names = sorted(name for name in listed if name.lower().endswith((".jpg", ".png")))
        by_class: dict[str, list[str]] = {}
        for name in names:
            by_class.setdefault(PurePosixPath(name).parent.name, []).append(name)
        random = np.random.default_rng(SEED)
        large = [name for name, files in by_class.items() if len(files) >= LEAST_NEW] or sorted(by_class)
        count = min(NEW_CLASSES, len(by_class) // 3)
        self.new_classes = sorted(large[place] for place in random.permutation(len(large))[:count])
        learnt = 8 if quick else LEARNT
        self.learnt: dict[str, list[str]] = {}
        pool, new = list[tuple[str, str]](), list[str]()
        for label, files in sorted(by_class.items()):
            order = [files[place] for place in random.permutation(len(files))]
            if label in self.new_classes:
                new += order
            else:
                taken = min(learnt, max(5, len(order) // 2))
                self.learnt[label] = order[:taken]
                pool += [(label, name) for name in order[taken:]]
        chosen = random.permutation(len(pool))[: 200 if quick else POOL]
        self.pool = [pool[place][1] for place in chosen]
        self.labels = np.array([pool[place][0] for place in chosen])
        self.new = [new[place] for place in random.permutation(len(new))[: 60 if quick else SHIFTED]]
        self.shifted = min(SHIFTED, len(self.pool) // 4)

    def read(self, name: str) -> bytes:
        """Return the bytes of a file."""
        return self._zip.read(name) if self._zip else Path(name).read_bytes()


def _model(settings: Settings, home: Path, images: _Images) -> Path:
    target = home / "model.onnx"
    if not target.is_file():
        folder = home / "learnt"
        shutil.rmtree(folder, ignore_errors=True)
        for label, names in images.learnt.items():
            (folder / label).mkdir(parents=True)
            for name in names:
                (folder / label / PurePosixPath(name).name).write_bytes(images.read(name))
        trained = drillcore.train(drillcore.load_folder(folder, settings=settings), image_size=SIDE)
        trained.export(target)
    return target


class _Asked:
    """Answers of the model to all images, as they are and shifted; kept in a folder."""

    def __init__(self, model: Model, folder: Path, images: _Images) -> None:
        self.model, self.folder, self.images = model, folder, images
        folder.mkdir(exist_ok=True)

    def answers(self, kind: str, names: list[str], shift: Callable[[Pixels], Pixels] = lambda image: image) -> Answers:
        """Return probabilities float32 [N, K] of images after a shift."""
        kept = self.folder / f"{kind}.npy"
        if kept.is_file() and len(found := np.load(kept, allow_pickle=False)) == len(names):
            return np.asarray(found, np.float32)
        channels, parts = self.model.metadata.channels, list[Answers]()
        with progress(f"answers, {kind}", len(names)) as advance:
            for start in range(0, len(names), BATCH):
                files = names[start : start + BATCH]
                decoded = [
                    decode_bytes(self.images.read(file), channels, name=file, max_pixels=10**8) for file in files
                ]
                canvas, sizes = pad_batch([shift(image) for image in decoded])
                parts.append(self.model.run(canvas, sizes, ("probabilities",))["probabilities"])
                advance(len(files))
        found = np.concatenate(parts)
        np.save(kept, found, allow_pickle=False)
        return found


class _Trials:
    def __init__(self, model: Model, asked: _Asked, images: _Images, trials: int, clean: int) -> None:
        self.classes, self.images, self.asked = list(model.metadata.classes), images, asked
        self.trials, self.clean_trials = trials, clean
        self.pool = asked.answers("clean", images.pool)
        self.reference = min(REFERENCE, len(images.pool) // 2)
        self.sizes = [min(size, images.shifted) for size in SIZES]

    def clean(self) -> list[dict[str, Any]]:
        """Return how often images drawn as the reference's were raise an alarm, by number of answers."""
        rows = []
        with progress("without a shift", len(SIZES) * self.clean_trials) as advance:
            for label, size in zip(SIZES, self.sizes, strict=True):
                alarms = dict.fromkeys(("any", "classes", "confidence", "answers"), 0)
                for trial in range(self.clean_trials):
                    order = np.random.default_rng([1, size, trial]).permutation(len(self.pool))
                    first, second = order[: self.reference], order[self.reference :][:size]
                    self._count(self._compared(self.pool[first], self.pool[second]), alarms)
                    advance(1)
                rows.append({"answers": label, "trials": self.clean_trials, "alarms": alarms["any"], "by": alarms})
        return rows

    def shifts(self) -> list[dict[str, Any]]:
        """Return how often each shift is noticed."""
        rows, images = list[dict[str, Any]](), self.images
        half = images.pool[: images.shifted]
        rest = np.arange(images.shifted, len(images.pool))
        for name, (shift, severities, told) in PIXEL_SHIFTS.items():
            for severity in severities:
                kind = f"{name}-{severity}".replace(" ", "-")
                after = self.asked.answers(kind, half, lambda image, s=severity, f=shift: f(image, s))  # type: ignore[misc]
                rows += self._rows(
                    name, told.format(severity), rest, lambda random, size, a=after: _drawn(random, a, size)
                )  # type: ignore[misc]
        new, base = self.asked.answers("new", images.new), self.pool[: images.shifted]
        for share in NEW_SHARES:

            def mixed(random: np.random.Generator, size: int, share: float = share) -> Answers:
                strange = max(1, round(share * size))
                return np.concatenate([_drawn(random, new, strange), _drawn(random, base, size - strange)])

            rows += self._rows("new classes", f"{share:.0%} of the images", rest, mixed)
        names, counts = np.unique(images.labels, return_counts=True)
        common = names[np.argsort(-counts, kind="stable")]
        for count in MISSING:
            gone = np.isin(images.labels[: images.shifted], common[:count])
            share = float(np.isin(images.labels, common[:count]).mean())
            told = f"the {count} most common, {share:.0%} of the images"
            rows += self._rows(
                "missing classes",
                told,
                rest,
                lambda random, size, left=base[~gone]: _drawn(random, left, size),  # type: ignore[misc]
            )
        return rows

    def _rows(
        self, name: str, severity: str, rest: NDArray[np.int64], draw: Callable[[np.random.Generator, int], Answers]
    ) -> list[dict[str, Any]]:
        rows = []
        for label, size in zip(SIZES, self.sizes, strict=True):
            alarms = dict.fromkeys(("any", "classes", "confidence", "answers"), 0)
            for trial in range(self.trials):
                random = np.random.default_rng([2, size, trial])
                before = self.pool[random.permutation(rest)[: self.reference]]
                self._count(self._compared(before, draw(random, size)), alarms)
            by = {test: count / self.trials for test, count in alarms.items()}
            rows.append({"shift": name, "severity": severity, "answers": label, "detected": by.pop("any"), "by": by})
        return rows

    def _compared(self, before: Answers, after: Answers) -> dict[str, bool]:
        return {test.name: test.alarm for test in compare(self._sketch(before), self._sketch(after))}

    def _sketch(self, answers: Answers) -> Sketch:
        digests = (f"{number:016x}" for number in range(len(answers)))
        return sketch_of("0" * 64, self.classes, "classification", answers, digests)

    @staticmethod
    def _count(found: dict[str, bool], alarms: dict[str, int]) -> None:
        for name, alarm in found.items():
            alarms[name] += alarm
        alarms["any"] += any(found.values())


def _drawn(random: np.random.Generator, answers: Answers, size: int) -> Answers:
    found: Answers = answers[random.permutation(len(answers))[:size]]
    return found


def _cost(model: Model, images: _Images, rounds: int = 1_000) -> dict[str, float]:
    """Return what an image costs a server in microseconds of one core: decoding and the model, and its sketch."""
    data = [images.read(name) for name in images.pool[:rounds]]
    kept = KeptAnswers(Path(), "0" * 64, model.metadata.classes, model.metadata.task)
    scoring = sketching = 0.0
    for number, one in enumerate([data[0], *data]):  # the first warms up
        started = time.process_time()
        image = decode_bytes(one, model.metadata.channels, name="", max_pixels=10**8)
        canvas, sizes = pad_batch([image])
        answer = model.run(canvas, sizes, ("label", "probabilities"))
        between = time.process_time()
        kept.add([image], [{name: array[0] for name, array in answer.items()}])
        if number:
            scoring, sketching = scoring + between - started, sketching + time.process_time() - between
    return {
        "scoring_microseconds": round(1e6 * scoring / len(data), 2),
        "sketch_microseconds": round(1e6 * sketching / len(data), 2),
    }


def _text(rows: list[dict[str, Any]], alarms: list[dict[str, Any]], cost: dict[str, float], images: _Images) -> str:
    told: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        told.setdefault((row["shift"], row["severity"]), []).append(row)
    lines = [
        (*key, *(f"{row['detected']:.0%}" for row in group), *(f"{value:.0%}" for value in group[-1]["by"].values()))
        for key, group in told.items()
    ]
    sizes = [f"{size:,} answers" for size in SIZES]
    tests = [f"{name}, {max(SIZES):,}" for name in ("classes", "confidence", "answers")]
    clean = [
        (
            f"{row['answers']:,}",
            row["trials"],
            row["alarms"],
            *(row["by"][name] for name in ("classes", "confidence", "answers")),
        )
        for row in alarms
    ]
    return f"""Share of {TRIALS} trials in which a shift raised an alarm, at a level of {LEVEL:.0%} and \
{REFERENCE:,} answers in the reference; the last three columns: each test alone, at the most answers. \
EfficientNet-Lite0 at {SIDE} pixels and a linear SVM, learnt from up to {LEARNT} images of each of \
{len(images.learnt)} classes; new are {", ".join(images.new_classes)}.

{table(("shift", "how much", *sizes, *tests), lines)}

## Without a shift

Alarms over images drawn as the reference's were; {LEVEL:.0%} at most are expected.

{table(("answers", "trials", "alarms", "classes", "confidence", "answers' own"), clean)}

## What it costs

A server's sketch takes {cost["sketch_microseconds"]:.0f} microseconds an image, beside \
{cost["scoring_microseconds"]:,.0f} for decoding and this model, one image at a time on one core. \
Scoring a batch costs nothing more: its parts hold the answers.
"""
