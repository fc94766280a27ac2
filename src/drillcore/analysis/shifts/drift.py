"""Whether what a version answers now is of another distribution than what it answered to its evaluation images.

Three tests, each at a third of the level (Bonferroni): the shares of the classes and the top probability by their
population stability index, the answers themselves by the maximum mean discrepancy. All are permutation tests over a
uniform sample of at most 2,000 distinct images on each side, so the chance of an alarm over images that are drawn, each
by itself, as the reference's were is at most the level. An image that came again and again is one; near copies (frames
of one film) are not noticed as such, and raise more false alarms. An index is an alarm only from a limit on: of many
images any change of a share is significant.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from drillcore import tracking
from drillcore.analysis.reporting import find_version
from drillcore.analysis.shifts.answers_since import Since, answers_since
from drillcore.analysis.shifts.drift_kept import drift_file
from drillcore.analysis.trained_parts import recipe_of
from drillcore.arrays import Doubles
from drillcore.datasets.manifest import read_manifest
from drillcore.errors import InputError, TooFewAnswersError
from drillcore.evaluation.figures.shift import ROUNDS, TestResult, discrepancy_test, stability_terms, stability_test
from drillcore.files import write_bytes, write_json
from drillcore.json_types import Json
from drillcore.registry import ModelVersion
from drillcore.retrain.evaluating import evidence_of
from drillcore.retrain.opening import open_for_batches, version_file
from drillcore.retrain.reference_answers import REFERENCE
from drillcore.retrain.run import Run
from drillcore.runtime.batch.sketch import SKETCHED, Sketch, read_sketch, sketch_of
from drillcore.settings import Settings

LEVEL = 0.01  # chance of a false alarm, over all tests
_TESTS = 3
LEAST_LEVEL = _TESTS / (ROUNDS + 1)  # below it no p is small enough for an alarm
LIMIT = 0.1  # of a stability index, from which a change is called moderate; major from 0.25
DAYS = 7
LEAST = 20  # images on each side: of fewer nothing is said
CLASSES, CONFIDENCE, ANSWERS = "classes", "confidence", "answers"


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftTest:
    """One test.

    Attributes:
        name: of what is compared: classes, confidence or answers.
        statistic: population stability index, or maximum mean discrepancy (squared).
        value: of the statistic.
        p: how often it would be as great by chance.
        limit: of the statistic, below which it is no alarm.
        alarm: it is past both limits.
    """

    name: str
    statistic: str
    value: float
    p: float
    limit: float
    alarm: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassShift:
    """How much more or less often a class is answered: shares from 0 to 1, and its term of the stability index."""

    name: str
    reference: float
    now: float
    term: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drift:
    """What was found.

    Attributes:
        version: that was asked about.
        reference: its answers to the images it was evaluated on.
        since: its answers since.
        level: chance of a false alarm.
        tests: classes, confidence, answers.
        classes: those whose shares have changed, most first.
    """

    version: ModelVersion
    reference: Sketch
    since: Since
    level: float
    tests: tuple[DriftTest, ...]
    classes: tuple[ClassShift, ...]

    @property
    def drifted(self) -> bool:
        """Whether any test is an alarm."""
        return any(test.alarm for test in self.tests)

    @property
    def said(self) -> str:
        """What was found, in one line."""
        alarms = [test.name for test in self.tests if test.alarm]
        now, then = len(self.since.sketch.digests), len(self.reference.digests)
        of = f"answers to {now:,} images beside those to {then:,} of the evaluation"
        return f"drift of {', '.join(alarms)}: {of}" if alarms else f"no drift: {of}"

    def to_dict(self) -> Json:
        """Return plain values for JSON."""
        return {
            "model": self.version.model,
            "version": self.version.version,
            "model_sha256": self.version.sha256,
            "drifted": self.drifted,
            "reason": self.said,
            "level": self.level,
            "reference": self.reference.rows,
            "answers": self.since.sketch.rows,
            "compared": {"reference": len(self.reference.digests), "now": len(self.since.sketch.digests)},
            "set_aside": self.since.set_aside,
            "outputs": self.since.outputs,
            "served": self.since.served,
            "other_outputs": self.since.other,
            "tests": [dataclasses.asdict(test) for test in self.tests],
            "classes": [dataclasses.asdict(one) for one in self.classes],
        }


def find_drift(
    settings: Settings,
    reference: str,
    scored: Sequence[Path] = (),
    *,
    days: int = DAYS,
    level: float = LEVEL,
    limit: float = LIMIT,
) -> Drift:
    """Compare what MODEL[@ALIAS|@VERSION] answers with its reference.

    Args:
        settings: where things are.
        reference: of the model; without alias or version the champion, or the newest where none is.
        scored: outputs of `score`, or folders of them; (): what was scored and served here within `days`.
        days: see there.
        level: chance of a false alarm, over all tests, from `LEAST_LEVEL` to below 1.
        limit: of the two stability indices.

    Raises:
        UnknownNameError, RegistryError: no such version, or its run is gone.
        InputError: a level out of its range, or a task whose answers are not compared.
        TooFewAnswersError: to fewer than `LEAST` images on either side.
        ReceiptError, DataError: an output or a sketch is damaged.
    """
    if not LEAST_LEVEL <= level < 1:
        raise InputError(
            f"level {level:g}: from {LEAST_LEVEL:g} to below 1 is expected; of {ROUNDS} permutations each of {_TESTS} "
            "tests can never give an alarm at a smaller one"
        )
    version = find_version(settings, reference)
    task = str(version.metadata["task"])
    if task not in SKETCHED:
        raise InputError(
            f"{version.model} has the task {task}; drift compares answers for whole images ({', '.join(SKETCHED)}): "
            "of pixels neither the evaluation nor a server keeps what an image was answered"
        )
    before, since = _reference(settings, version), answers_since(settings, version, scored, days)
    after = since.sketch
    few, what = min((len(before.digests), "of the evaluation"), (len(after.digests), "since"))
    if few < LEAST:
        hint = "" if scored else f"; those of the last {days} days are looked at, --scored FOLDER names others"
        raise TooFewAnswersError(f"answers to {few:,} images {what}: {LEAST} or more are needed on each side{hint}")
    return Drift(
        version=version,
        reference=before,
        since=since,
        level=level,
        tests=compare(before, after, level=level, limit=limit),
        classes=_class_shifts(before, after),
    )


def compare(before: Sketch, after: Sketch, *, level: float = LEVEL, limit: float = LIMIT) -> tuple[DriftTest, ...]:
    """Return the three tests of two sketches."""
    index, discrepancy = "population stability index", "maximum mean discrepancy"
    return (
        _test(CLASSES, index, stability_test(before.labels, after.labels), level, limit),
        _test(CONFIDENCE, index, stability_test(before.confidence, after.confidence), level, limit),
        _test(ANSWERS, discrepancy, discrepancy_test(before.vectors, after.vectors), level, 0.0),
    )


def _test(name: str, statistic: str, found: TestResult, level: float, limit: float) -> DriftTest:
    alarm = found.p <= level / _TESTS and found.value >= limit
    return DriftTest(name=name, statistic=statistic, value=found.value, p=found.p, limit=limit, alarm=alarm)


def _reference(settings: Settings, version: ModelVersion) -> Sketch:
    """Return the answers kept with a version; of one that an earlier release registered they are made now."""
    with tempfile.TemporaryDirectory() as temporary:
        kept = tracking.bring_artifacts(settings, version.run_id, Path(temporary), [REFERENCE]) / REFERENCE
        if kept.is_file():
            return read_sketch(kept.read_bytes(), f"{REFERENCE} of {version.model} version {version.version}")
    recipe = recipe_of(settings, version)
    run = Run(settings, recipe, read_manifest(settings, recipe.dataset.name, version.metadata["data_digest"]))
    model = open_for_batches(settings, version_file(settings, version.model, version.version), version.sha256)
    answers, digests = evidence_of(run, model), run.evaluated_rows()["sha256"]
    return sketch_of(version.sha256, model.metadata.classes, recipe.task, answers, digests)


def _class_shifts(before: Sketch, after: Sketch) -> tuple[ClassShift, ...]:
    then, now = before.labels, after.labels
    seen = (then + now).nonzero()[0]  # as the test has them, so that their terms add up to its index
    terms: Doubles = stability_terms(then[seen], now[seen])
    return tuple(
        ClassShift(
            name=before.classes[seen[place]],
            reference=float(then[seen[place]] / then.sum()),
            now=float(now[seen[place]] / now.sum()),
            term=float(terms[place]),
        )
        for place in (-terms).argsort(kind="stable").tolist()
    )


def keep_drift(settings: Settings, drift: Drift) -> Path:
    """Keep a finding and its picture for the report; return the picture's path."""
    from drillcore.evaluation.pictures.drift_picture import drift_png

    target = drift_file(settings, drift.version.model, drift.version.version)
    shares = [(one.name, one.reference, one.now) for one in drift.classes]
    picture = drift_png(shares, drift.reference.confidence, drift.since.sketch.confidence, title=drift.said)
    write_bytes(target.with_suffix(".png"), picture)
    write_json(target, {**drift.to_dict(), "looked": drift.since.looked, "folders": drift.since.folders})
    return target.with_suffix(".png")
