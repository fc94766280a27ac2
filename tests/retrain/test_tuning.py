"""Tuning what a recipe leaves open: on the validation images alone, and to the same end after a kill."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drillcore.datasets.ingest import current_manifest
from drillcore.errors import DrillcoreError, InputError, RecipeError
from drillcore.recipes import load_recipe
from drillcore.recipes.building import check_parts, check_words
from drillcore.recipes.ranges import Choices, Range
from drillcore.representations.activations.image_rows import ImageRows
from drillcore.retrain.tuning.trials import DONE, PRUNED, Study, Trial
from drillcore.retrain.tuning.tuning import Tuned, Tuning
from drillcore.settings import Settings
from drillcore.tracking.connection import mlflow_client

Retrained = tuple[Settings, dict[str, Any]]
OPEN = ("head.params.n_estimators={range: [2, 12]}", "head.params.max_features={choices: [sqrt, 0.5]}")


class KilledError(Exception):
    """Ends a tuning where a test wants it to."""


def told(trials: list[Trial]) -> list[tuple[object, ...]]:
    return [(one.number, one.state, one.values, one.figure) for one in trials]


def test_a_killed_tuning_goes_on_to_the_same_trials(retrained: Retrained, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, _ = retrained
    read: set[str] = set()
    rows = ImageRows.rows

    def watched(self: ImageRows, run: Any, table: Any) -> Any:
        read.update(table["split"])
        return rows(self, run, table)

    monkeypatch.setattr(ImageRows, "rows", watched)

    def kill(trial: Trial, found: Tuned) -> None:
        if trial.number == 1:
            raise KilledError

    with pytest.raises(KilledError), Tuning(settings, "shells-forest", OPEN) as tuning:
        tuning.run(4, say=kill)
    with Tuning(settings, "shells-forest", OPEN) as tuning:
        done = tuning.run(4, say=lambda trial, found: None)
    assert (done.new, len(done.trials)) == (2, 4)
    assert read == {"train", "val"}
    assert done.images == len(current_manifest(settings, "shells").rows("val"))
    assert done.best.figure == max(one.figure or 0 for one in done.trials)
    assert all(2 <= int(str(one.values["n_estimators"])) <= 12 for one in done.trials)
    assert done.trials[0].values["max_features"] == "sqrt"  # the head's own value is tried first

    with mlflow_client(settings) as client:
        parent = client.get_run(done.run_id)
        query = f"tags.`mlflow.parentRunId` = '{done.run_id}'"
        runs = client.search_runs([parent.info.experiment_id], query)
    assert {one.info.run_id for one in runs} == {one.run_id for one in done.trials}
    assert parent.data.metrics["best_accuracy"] == pytest.approx(done.best.figure)
    assert {one.data.params["head.params.n_estimators"] for one in runs} == {
        str(one.values["n_estimators"]) for one in done.trials
    }

    for record in settings.state.glob("runs/shells-forest/*/tuning/*.json"):
        record.unlink()
    with Tuning(settings, "shells-forest", OPEN) as tuning:
        again = tuning.run(4, say=lambda trial, found: None)
    assert told(again.trials) == told(done.trials)


@pytest.mark.slow
def test_the_command_writes_a_recipe(retrained: Retrained) -> None:
    settings, _ = retrained
    words = ["tune", "shells-forest", "--trials", "2", *(part for one in OPEN for part in ("--set", one))]
    own = {"ROOT": str(settings.root), "THREADS": "1", "WORKERS": "1", "DEVICE": "cpu"}
    env = {**os.environ, **{f"DRILLCORE_{name}": value for name, value in own.items()}}

    def ask() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "drillcore", *words]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    done = ask()
    assert done.returncode == 0, done.stderr
    assert "trial 1: accuracy " in done.stdout
    assert "next: drillcore retrain shells-forest-tuned" in done.stdout
    path = settings.models / "shells-forest-tuned.yaml"
    assert path.read_text().startswith("# shells-forest, its head tuned: accuracy ")
    recipe = load_recipe(settings, "shells-forest-tuned")
    check_parts(recipe)
    assert 2 <= int(str(recipe.head.params["n_estimators"])) <= 12
    refused = ask()
    assert refused.returncode == 2
    assert "shells-forest-tuned.yaml is there already; --overwrite writes" in refused.stderr


def test_rounds_that_are_worse_are_ended(retrained: Retrained) -> None:
    settings, _ = retrained
    rates = "[0.02, 0.03, 0.04, 0.05, 1.0e-7]"
    head = f"head={{name: dbn, params: {{hidden: [16], epochs: 6, batch: 8, learning_rate: {{choices: {rates}}}}}}}"
    with Tuning(settings, "shells-forest", [head]) as tuning:
        done = tuning.run(14, say=lambda trial, found: None)
    pruned = [one for one in done.trials if one.state == PRUNED]
    assert pruned
    assert all(one.figure is None and 1 < len(one.rounds) < 6 for one in pruned)
    assert all(len(one.rounds) == 6 for one in done.trials if one.state == DONE)
    assert done.best.values["learning_rate"] != 1e-7


def test_values_that_come_again_are_not_fitted_again(retrained: Retrained) -> None:
    settings, _ = retrained
    with Tuning(settings, "shells-forest", ["head.params.n_estimators={choices: [2, 5]}"]) as tuning:
        done = tuning.run(6, say=lambda trial, found: None)
    first = {str(one.values): one for one in reversed(done.trials)}
    again = [one for one in done.trials if one.note]
    assert (len(done.trials), len(first), len(again)) == (6, 2, 4)
    for one in again:
        fitted = first[str(one.values)]
        assert one.note == f"as trial {fitted.number}"
        assert (one.state, one.figure, one.run_id) == (DONE, fitted.figure, fitted.run_id)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("head.params.n_estimators={range: [9, 2]}", "head.params.n_estimators: its lower end must come first"),
        (
            "head.params.n_estimators={range: [2e0, x]}",
            "n_estimators.range[1] is 'x'; a whole number or a number is expected",
        ),
        ("head.params.n_estimators={range: [2]}", "head.params.n_estimators.range is [2]; two numbers"),
        ("head.params.n_estimators={range: [0, 9]}", "head.params.n_estimators is 0; 1 or more trees"),
        ("head.params.n_estimators={range: [2, 9], lag: 1}", "lag is not a field (did you mean log?)"),
        ("head.params.n_estimators={range: [0, 9], log: true}", "with log both ends must be above 0"),
        ("head.params.max_features={choices: [sqrt]}", "max_features.choices is ['sqrt']; a list of two values"),
        ("head.params.max_features={choices: [sqrt, all]}", "head.params.max_features is 'all'"),
        ("head.params.trees={range: [2, 9]}", "head.params.trees is not a field"),
        ("head.params.max_depth=4", "shells-forest leaves nothing open; mark a parameter"),
    ],
)
def test_what_cannot_be_meant_is_told_at_once(retrained: Retrained, change: str, expected: str) -> None:
    settings, _ = retrained
    with pytest.raises(InputError) as caught:
        Tuning(settings, "shells-forest", [change])
    assert expected in str(caught.value)


def test_a_retrain_says_which_command_is_meant(retrained: Retrained) -> None:
    settings, _ = retrained
    recipe = load_recipe(settings, "shells-forest", OPEN[:1])
    with pytest.raises(RecipeError, match="n_estimators is left open; drillcore tune shells-forest finds a value"):
        check_words(recipe)
    with pytest.raises(InputError, match="its head softmax learns from the validation images alone"):
        Tuning(settings, "shells-forest", ["head={name: softmax, params: {temperature: {choices: [1.0, 2.0]}}}"])


def test_values_are_drawn_from_their_ranges_and_kept(tmp_path: Path) -> None:
    ranges = {
        "c": Range(range=[0.001, 10.0], log=True),
        "trees": Range(range=[10, 50], step=10),
        "kind": Choices(choices=["a", [1, 2], None]),
    }

    def study() -> Study:
        return Study(tmp_path, ranges, higher=False, seed=3, first={"c": 0.01, "trees": 7, "kind": None})

    one = study()
    for number in range(12):
        asked, values = one.ask()
        assert 0.001 <= float(str(values["c"])) <= 10
        assert values["trees"] in (10, 20, 30, 40, 50)
        assert values["kind"] in ("a", [1, 2], None)
        if not number:
            assert (values["c"], values["kind"]) == (0.01, None)
        figure = abs(np.log10(float(str(values["c"]))))
        one.tell(asked, Trial(number=number, state=DONE, values=values, drawn=dict(asked.params), figure=figure))
        one = study() if number == 6 else one
    assert one.best == min(one.trials, key=lambda trial: trial.figure or 0)
    assert study().trials == one.trials
    assert study().ask()[1] == one.ask()[1]
    (tmp_path / "0003.json").write_text("{}")
    with pytest.raises(DrillcoreError, match=r"0003\.json is no record of a trial"):
        study()
