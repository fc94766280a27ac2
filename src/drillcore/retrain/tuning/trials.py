"""Trials of values: what is tried next (Optuna's estimator of Parzen trees), and a record of each one that has been.

A study is its records, one JSON file for each trial: whoever goes on after a kill makes the same study of them. Each
trial's sampler has a seed of its own, so that it chooses the same whether or not the one before it was tried in this
process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from drillcore.errors import IntegrityError
from drillcore.files import read_object, write_json
from drillcore.json_types import Json
from drillcore.recipes.ranges import Open, Range

if TYPE_CHECKING:
    import optuna

DONE, PRUNED, FAILED = "done", "pruned", "failed"
_DIGITS = 4  # of a number that is tried: nobody can tell more of them apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One that was made.

    Attributes:
        number: from 0.
        state: done, pruned (its rounds were worse than those of others) or failed.
        values: that were tried, by the head's parameter.
        drawn: the same as Optuna knows them: numbers before rounding, places among choices.
        figure: of the validation images; None: it was not finished.
        rounds: figure of the validation images after each epoch, by its number from 1 as text.
        note: why it failed; of values that an earlier trial has tried, which one that was.
        seconds: it took.
        run_id: MLflow's; of values that an earlier trial has tried, that one's.
    """

    number: int
    state: str
    values: dict[str, object]
    drawn: dict[str, object]
    figure: float | None = None
    rounds: dict[str, float] = field(default_factory=dict)
    note: str = ""
    seconds: float = 0.0
    run_id: str = ""


class Study:
    """Trials of one recipe on one version of its data.

    Args:
        folder: of the records.
        ranges: what is open.
        higher: whether more of the figure is better.
        seed: of what is drawn.
        first: values that are tried first, those of them that are in their ranges.

    Raises:
        IntegrityError: a record that cannot be read.
    """

    def __init__(
        self, folder: Path, ranges: Mapping[str, Open], *, higher: bool, seed: int, first: Mapping[str, object]
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.folder, self.ranges, self.higher, self.seed = folder, ranges, higher, seed
        self._distributions = {name: _distribution(one) for name, one in ranges.items()}
        pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2)
        self._study = optuna.create_study(direction="maximize" if higher else "minimize", pruner=pruner)
        self.trials: list[Trial] = []
        while (path := self._path(len(self.trials))).exists():
            self._take(_read(path))
        if not self.trials and (drawn := _drawn(first, ranges)):
            self._study.enqueue_trial(drawn)

    @property
    def best(self) -> Trial | None:
        """The first of the best; None: none was finished."""
        done = [one for one in self.trials if one.figure is not None]
        sign = 1 if self.higher else -1
        return max(done, key=lambda one: sign * (one.figure or 0.0), default=None)

    def ask(self) -> tuple[optuna.Trial, dict[str, object]]:
        """Return what is tried next, and its values."""
        import optuna

        number = len(self.trials)
        self._study.sampler = optuna.samplers.TPESampler(seed=(self.seed * 100_003 + number) % 2**32)
        asked = self._study.ask(self._distributions)
        return asked, {name: _value(self.ranges[name], drawn) for name, drawn in asked.params.items()}

    def finished(self, values: Mapping[str, object]) -> Trial | None:
        """Return the first trial that was finished with just these values; None: there is none."""
        return next((one for one in self.trials if one.state == DONE and one.values == values), None)

    def tell(self, asked: optuna.Trial, trial: Trial) -> None:
        """Keep what came of a trial that was asked for."""
        self._study.tell(asked, trial.figure, state=_state(trial.state))
        write_json(self._path(trial.number), asdict(trial))
        self.trials.append(trial)

    def _take(self, trial: Trial) -> None:
        import optuna

        try:
            kept = optuna.trial.create_trial(
                state=_state(trial.state),
                value=trial.figure,
                params=trial.drawn,
                distributions=self._distributions,
                intermediate_values={int(step): value for step, value in trial.rounds.items()},
            )
        except (TypeError, ValueError) as error:
            raise _damaged(self._path(trial.number)) from error
        self._study.add_trial(kept)
        self.trials.append(trial)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:04d}.json"


def _read(path: Path) -> Trial:
    try:
        return Trial(**read_object(path))
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> IntegrityError:
    return IntegrityError(f"{path} is no record of a trial; remove {path.parent} and tune again")


def _state(name: str) -> optuna.trial.TrialState:
    import optuna

    states = optuna.trial.TrialState
    return {DONE: states.COMPLETE, PRUNED: states.PRUNED, FAILED: states.FAIL}[name]


def _distribution(one: Open) -> optuna.distributions.BaseDistribution:
    import optuna

    kinds = optuna.distributions
    if not isinstance(one, Range):
        return kinds.CategoricalDistribution(tuple(range(len(one.choices))))
    low, high = one.range
    if one.whole:
        return kinds.IntDistribution(int(low), int(high), log=one.log, step=int(one.step or 1))
    return kinds.FloatDistribution(low, high, log=one.log, step=one.step)


def _value(one: Open, drawn: float) -> object:
    """Return what is tried of what Optuna has drawn."""
    if not isinstance(one, Range):
        return one.choices[int(drawn)]
    if one.whole:
        return int(drawn)
    low, high = one.range
    return float(min(max(float(f"{drawn:.{_DIGITS}g}"), low), high))


def _drawn(values: Mapping[str, object], ranges: Mapping[str, Open]) -> Json:
    """Return values as Optuna knows them, without those that are out of their ranges."""
    found: Json = {}
    for name, one in ranges.items():
        value = values.get(name)
        if not isinstance(one, Range):
            found |= {name: one.choices.index(value)} if value in one.choices else {}
        elif isinstance(value, int | float) and one.range[0] <= value <= one.range[1] and one.step is None:
            found[name] = value
    return found
