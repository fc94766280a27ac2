"""Three representations and a task that ask of the protocols what the coming papers will, from images to a file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import straining
from shells import write_shells

from drillcore import load_folder
from drillcore.heads import catalogue as heads
from drillcore.heads.row_source import combine, gram
from drillcore.promotion.candidates import Contender
from drillcore.promotion.rules import not_checked
from drillcore.recipes import read_recipe
from drillcore.representations import catalogue
from drillcore.retrain.backbone_stage import due
from drillcore.retrain.evaluating import evaluate_run, evidence_of
from drillcore.retrain.exporting import export_model, prove_parity
from drillcore.retrain.fitting.head_fitting import fill_store, fit_head
from drillcore.retrain.opening import open_for_batches
from drillcore.retrain.records import Exported, Fitted
from drillcore.retrain.run import Run
from drillcore.runtime.model.session import open_model
from drillcore.tasks import TASKS, GateLimits

RECIPE = """\
schema: 1
name: strained
task: classification
dataset: {name: shells}
backbone: {name: cnn1, weights: "seed:3", taps: [layer3]}
representation: {name: activations}
head: {name: forest}
seeds: {train: 3}
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("strained")
    return load_folder(write_shells(root / "source", 8), state=root / "state")


@pytest.fixture
def run_of(images: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that makes a run on a representation, its backbone with random weights."""
    monkeypatch.setitem(heads.HEADS, "least_squares", straining.LEAST_SQUARES)
    monkeypatch.setitem(heads.HEADS, "ridge", straining.RIDGE)
    path = tmp_path / "strained.yaml"
    path.write_text(RECIPE)
    recipe = read_recipe(path)
    settings = dataclasses.replace(images.settings, state=tmp_path / "state")

    def make(row: Any, kind: type[Run] = Run, head: str = "ridge", **section: Any) -> Run:
        name = row.representation.partition(":")[2].lower()
        monkeypatch.setitem(catalogue.REPRESENTATIONS, name, row)
        own = dataclasses.replace(recipe.representation, name=name)
        backbone = dataclasses.replace(recipe.backbone, **section)
        made_of = {"representation": own, "backbone": backbone, "head": dataclasses.replace(recipe.head, name=head)}
        run = kind(settings, dataclasses.replace(recipe, **made_of), images.manifest)
        run.backbone = run.backbone_of("seed:3")
        run.path.mkdir(parents=True, exist_ok=True)
        return run

    return make


def test_a_state_and_rows_longer_than_many_under_a_gram_matrix(run_of: Any) -> None:
    straining.Projected.fits = 0
    run = run_of(straining.PROJECTED)
    filled = fill_store(run)
    assert filled.width == straining.KEPT**2 * straining.COPIES > 100_000
    assert filled.passed == filled.rows > 0
    found = run.representation.rows(run, run.fit_rows())
    assert found.extracted == 0
    rows = np.asarray(found.rows, np.float64)
    products = gram(found.rows)
    np.testing.assert_allclose(products, rows @ rows.T, rtol=1e-9)
    fitted = run.once(Fitted, fit_head)
    assert fitted.state_sha256 == run.state.sha256
    head = run.head
    again = straining.Ridge(n_classes=3).fit(products, found.targets)
    np.testing.assert_allclose(head.weights_, again.dual() @ rows, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(head.weights_, combine(found.rows, again.dual()), rtol=1e-12)
    exported = run.once(Exported, export_model)
    assert exported.bytes > 3 * 100_000 * 4
    proof, _ = prove_parity(run)
    assert proof.report["label_disagreements"] == 0
    # Learnt once: a later run takes the state that is kept, until the recipe's refresh asks for another.
    later = run_of(straining.PROJECTED, refresh="always")
    assert later.state.sha256 == run.state.sha256
    assert straining.Projected.fits == 1
    assert due(later.recipe, ["one"], ["one", "new"])
    assert not due(run.recipe, ["one"], ["one", "new"])


def test_the_digest_of_a_state_stands_in_the_stores_key(run_of: Any) -> None:
    run = run_of(straining.PROJECTED)
    before = run.representation.spec(run)
    state = run.state
    run.state = type(state)({**state.arrays, "mean": state.arrays["mean"] + 1})
    after = run.representation.spec(run)
    assert before.digest != after.digest
    run.state = state
    assert run.representation.spec(run).digest == before.digest


def test_three_rows_for_an_image_and_an_answer_gathered_behind_the_head(run_of: Any) -> None:
    run = run_of(straining.BANDS, head="least_squares")
    fill_store(run)
    table = run.fit_rows()
    found = run.representation.rows(run, table)
    assert len(found) == 3 * len(table)
    assert found.rows.shape[0] == len(found)
    labels = run.manifest.label_indices(table)
    assert found.targets[:3].tolist() == [(labels[0] + band) % 3 for band in range(3)]
    run.once(Fitted, fit_head)
    answers = run.representation.gather(run.head.predict_proba(found.rows), found.images)
    assert answers.shape == (len(table), 3)
    assert (answers.argmax(axis=1) == labels).mean() > 0.9  # fitted on them
    run.once(Exported, export_model)
    proof, _ = prove_parity(run)
    assert proof.report["max_difference"] < 1e-4
    model = open_for_batches(run.settings, run.model_file)
    assert evidence_of(run, model).shape == (len(run.evaluated_rows()), 3)


class Drawn(Run):
    """A run of the task `outlines`."""

    @property
    def task(self) -> Any:
        return straining.OUTLINES


def test_no_labels_no_head_several_truths_and_a_gate_that_says_not_checked(
    run_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TASKS, "outlines", straining.OUTLINES)
    run = run_of(straining.OUTLINE_ROWS, Drawn, head="none", name="squeezenet1_0", taps=["conv1"])
    assert "nothing" in fill_store(run).note
    fitted, made = fit_head(run)
    assert (fitted.arrays_sha256, made) == (None, [])
    run.once(Exported, export_model)
    prove_parity(run)
    assert open_model(run.model_file).metadata.task == "outlines"
    evaluated, _ = evaluate_run(run)
    # Two people drew each image: an answer is as good as its overlap with whom it is nearest to, here the first.
    assert evaluated.figures == {"segmentation_iou": pytest.approx(1.0, abs=0.02)}
    monkeypatch.setattr(straining.OutlineMeasuring, "people", 0)
    unknown, _ = evaluate_run(run)
    assert unknown.figures == {}
    assert np.load(run.path / "overlaps.npy").shape == (0,)
    contender = Contender(version=1, lineage="import-1", images=["a"], ms=1.0, mb=1.0, weights="file")
    verdict = not_checked(GateLimits(), contender, None)
    assert not verdict.passed
    assert verdict.left_to_a_person
    assert verdict.summary.startswith("not checked")
    # Another rule that fails is not a person's to overlook without force.
    assert not not_checked(GateLimits(max_ms=0.1), contender, None).left_to_a_person
