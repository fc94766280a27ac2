"""Tuning: one trial after the other of what a recipe leaves open, judged on the validation images.

Backbone and features are those of a retrain and are made once. A head learns from the training images alone and is
asked about the validation images; the test images are not looked at.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from drillcore import tracking
from drillcore.datasets.ingest import current_manifest, ingest, is_unchanged
from drillcore.errors import (
    DataError,
    DeviceError,
    DrillcoreError,
    InputError,
    IntegrityError,
    NoMemoryError,
    RegistryError,
    StateError,
    StoreError,
)
from drillcore.evaluation.figures.metrics import classification_metrics
from drillcore.evaluation.figures.significance import METRICS
from drillcore.evaluation.figures.voc_precision import multilabel_metrics
from drillcore.heads.base import FitRun, Watch
from drillcore.heads.catalogue import head_params, head_row
from drillcore.json_types import Json
from drillcore.recipes import load_recipe
from drillcore.recipes.building import check_parts, filled, open_params
from drillcore.representations.base import Rows
from drillcore.representations.catalogue import representation_row
from drillcore.retrain.backbone_stage import prepare_backbone
from drillcore.retrain.fitting.head_fitting import fit_threads, learn, takes, unfitted
from drillcore.retrain.judging.multilabel import truth_matrix, unjudged_labels
from drillcore.retrain.records import TUNING, BackboneDone
from drillcore.retrain.run import PARITY_SPLIT, Run
from drillcore.retrain.tuning.trials import DONE, FAILED, PRUNED, Study, Trial
from drillcore.settings import Settings
from drillcore.state.leases import hold_lease
from drillcore.tasks import MULTILABEL

_VAL = PARITY_SPLIT
_TRIAL = "tuning_trial"
_OF_THE_MACHINE = (DeviceError, NoMemoryError, StoreError, IntegrityError, StateError, RegistryError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What tuning found.

    Attributes:
        model: of the recipe.
        metric: by which it was judged.
        images: of the validation split.
        best: the best trial.
        trials: all, with those of earlier calls.
        new: how many of them this call made.
        run_id: of MLflow's run that holds theirs.
        seconds: this call took.
    """

    model: str
    metric: str
    images: int
    best: Trial
    trials: list[Trial]
    new: int
    run_id: str
    seconds: float

    def to_dict(self) -> Json:
        """Return plain values."""
        return asdict(self)


class Tuning:
    """The tuning of one recipe; a context manager that holds a lease.

    Args:
        settings: where things are.
        model: a recipe's name.
        changes: of the recipe, as `--set` has them.

    Raises:
        RecipeError, UnknownNameError: the recipe cannot be read, or leaves open what the head does not take.
        InputError: it leaves nothing open, or has a task or head that cannot be tuned.
        LeaseHeldError: somebody else tunes this model; raised on entering.
    """

    def __init__(self, settings: Settings, model: str, changes: Sequence[str] = ()) -> None:
        self.settings = settings
        self.recipe = load_recipe(settings, model, changes)
        self.ranges = open_params(self.recipe)
        self.metric = self.recipe.gate.metric
        self.higher = METRICS.get(self.metric, 1) > 0
        if representation_row(self.recipe.representation.name).fitting:
            raise InputError(
                f"{model} cannot be tuned: {self.recipe.representation.name} fit their head in a way of their own; "
                "compare recipes by drillcore retrain"
            )
        if self.recipe.evaluate.split == _VAL:
            raise InputError(
                f"{model} cannot be tuned: evaluate.split is {_VAL}, and its figures would be of the images that the "
                "values were chosen by; evaluate on test"
            )
        self.splits = tuple(name for name in head_row(self.recipe.head.name).fit_splits if name != _VAL)
        if not self.splits:
            raise InputError(
                f"{model} cannot be tuned: its head {self.recipe.head.name} learns from the validation images alone"
            )
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        import optuna  # noqa: F401 - a package that is not there is told before hours of features

        check_parts(filled(self.recipe, {name: one.ends[0] for name, one in self.ranges.items()}))
        self._stack.enter_context(hold_lease(self.settings, f"tune:{self.recipe.name}"))
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()

    def run(self, trials: int, *, timeout: float | None = None, say: Callable[[Trial, Tuned], None]) -> Tuned:
        """Make trials until there are so many, those of earlier calls among them, and return what was found.

        Args:
            trials: altogether.
            timeout: seconds after which no trial is begun any more; the first of a call always is.
            say: called after each, with what is found by then.

        Raises:
            DataError: no training or no validation image.
            DrillcoreError: no trial could be finished.
        """
        started = time.monotonic()
        name = self.recipe.dataset.name
        unchanged = is_unchanged(self.settings, name)
        manifest = current_manifest(self.settings, name) if unchanged else ingest(self.settings, name)
        run = Run(self.settings, self.recipe, manifest)
        run.once(BackboneDone, prepare_backbone)
        run.representation.check(run)
        judge = _Judge(run, self.splits, self.metric)
        study = Study(
            run.path / TUNING,
            self.ranges,
            higher=self.higher,
            seed=self.recipe.seeds.train,
            first={one: field.default for one, field in head_params(self.recipe.head.name).model_fields.items()},
        )
        earlier = len(study.trials)
        tags = {TUNING: run.folder.fingerprint, "data_digest": manifest.digest, "recipe_sha256": self.recipe.sha256}
        begun = tracking.find_run(self.settings, self.recipe.name, {TUNING: run.folder.fingerprint})
        with tracking.start_run(
            self.settings, self.recipe.name, name=f"tune {run.folder.fingerprint[:8]}", tags=tags, resume=begun
        ) as log:
            log.params({"recipe": self.recipe.to_dict()})

            def found() -> Tuned:
                if study.best is None:
                    last = study.trials[-1].note if study.trials else "there is none"
                    count = len(study.trials)
                    raise DrillcoreError(
                        f"none of {count} trials could be finished; they are kept in {study.folder}; the last: {last}"
                    )
                return Tuned(
                    model=self.recipe.name,
                    metric=self.metric,
                    images=judge.images,
                    best=study.best,
                    trials=list(study.trials),
                    new=len(study.trials) - earlier,
                    run_id=log.id,
                    seconds=round(time.monotonic() - started, 3),
                )

            while len(study.trials) < trials:
                spent = time.monotonic() - started
                if timeout is not None and spent > timeout and len(study.trials) > earlier:
                    break
                self._try(run, judge, study, log)
                if study.best is not None:
                    say(study.trials[-1], found())
            done = found()
            log.metrics({f"best_{self.metric}": done.best.figure, "trials": len(done.trials)})
            log.tags({f"best.{name}": value for name, value in done.best.values.items()})
            log.json("trials.json", [asdict(one) for one in done.trials])
        return done

    def _try(self, run: Run, judge: _Judge, study: Study, parent: tracking.Run) -> None:
        """Make one trial: fit, judge, log, record. Whoever is killed in between makes it again.

        Values that a finished trial has tried have its figure and its run.
        """
        import optuna

        asked, values = study.ask()
        number, started = len(study.trials), time.monotonic()
        if earlier := study.finished(values):  # few choices come again, and would be fitted to the same figure
            again = dataclasses.replace(
                earlier, number=number, drawn=dict(asked.params), note=f"as trial {earlier.number}", seconds=0.0
            )
            study.tell(asked, again)
            return
        rounds: dict[str, float] = {}

        def told(record: Json) -> None:
            value = record["val_accuracy" if self.higher else "val_loss"]
            rounds[str(record["epoch"])] = value
            asked.report(value, int(record["epoch"]))
            if asked.should_prune():
                raise optuna.TrialPruned

        state, figures, note = DONE, Json(), ""
        checkpoint = run.path / f"{TUNING}-growth"
        try:
            figures = judge.figures(values, checkpoint, told)
        except optuna.TrialPruned:
            state, note = PRUNED, f"after {len(rounds)} rounds"
        except _OF_THE_MACHINE:
            raise  # says nothing about the values: the next call tries them again
        except DrillcoreError as error:
            state, note = FAILED, str(error).splitlines()[0]
        shutil.rmtree(checkpoint, ignore_errors=True)
        seconds = round(time.monotonic() - started, 3)
        mark = f"{run.folder.fingerprint}-{number}"
        tags = {"mlflow.parentRunId": parent.id, _TRIAL: mark, "state": state, **({"note": note} if note else {})}
        begun = tracking.find_run(self.settings, self.recipe.name, {_TRIAL: mark})
        with tracking.start_run(
            self.settings, self.recipe.name, name=f"trial {number}", tags=tags, resume=begun
        ) as log:
            log.params({f"head.params.{name}": value for name, value in values.items()})
            log.metrics({**figures, "seconds": seconds})
            if rounds:
                log.curves({"val_accuracy" if self.higher else "val_loss": list(rounds.values())})
        trial = Trial(
            number=number,
            state=state,
            values=values,
            drawn=dict(asked.params),
            figure=figures.get(self.metric),
            rounds=rounds,
            note=note,
            seconds=seconds,
            run_id=log.id,
        )
        study.tell(asked, trial)


class _Judge:
    """The rows that heads are fitted on, those they are judged on, and the judging."""

    def __init__(self, run: Run, splits: Sequence[str], metric: str) -> None:
        table = run.manifest.table
        learnt, judged = table[table["split"].isin(splits)], table[table["split"] == _VAL]
        if not len(learnt) or not len(judged):
            lacking = "validation" if len(learnt) else "training"
            raise DataError(f"data set {run.manifest.dataset} has no {lacking} image; tuning needs both")
        self.run, self.images = run, len(judged)
        self.learnt: Rows = run.representation.rows(run, learnt)
        found = run.representation.rows(run, judged)
        self.judged = dataclasses.replace(found, rows=np.asarray(found.rows))
        self._given = takes(run, self.learnt)
        self._table = judged

    def figures(self, values: dict[str, object], checkpoint: Any, told: Callable[[Json], None]) -> Json:
        """Fit a head with values and return its figures on the validation images. Raises DrillcoreError."""
        run = self.run
        head = unfitted(run, values)
        threads = None if "threads" in values else fit_threads(run, head, self.learnt.rows.shape[1])
        watch = Watch(rows=self.judged.rows, truths=self.judged.targets, told=told)
        learn(head, self.learnt, self._given, FitRun(checkpoint=checkpoint, threads=threads, watch=watch))
        asked: Any = head
        answers = run.representation.gather(asked.predict_proba(self.judged.rows), self.judged.images)
        classes = list(run.manifest.classes)
        if run.task.name != MULTILABEL:
            return classification_metrics(run.manifest.label_indices(self._table), answers, classes)
        labels = [
            (row, unjudged_labels(boxes))
            for row, boxes in zip(self._table["labels"], self._table["boxes"], strict=True)
        ]
        return multilabel_metrics(truth_matrix(labels, classes), answers, classes)
