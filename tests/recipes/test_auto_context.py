"""Two stages in a recipe: what is read, the line of what is wrong, digests that stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from drillcore.errors import RecipeError
from drillcore.recipes import Recipe, read_recipe
from drillcore.recipes.building import check_parts
from drillcore.recipes.cores import core_plan
from drillcore.representations.core_samples.context_spec import ContextSpec

PIXELS = """\
schema: 1
name: pixels
task: dense_labels
dataset: {name: camvid}
backbone: {name: squeezenet1_0, taps: [conv1]}
representation:
  name: core_samples
  params:
    sampling: {pixels: 100}
    auto_context: {cells: [1, 5], offsets: [16], hidden: [6], folds: 3, epochs: 2}
head: {name: dbn, params: {hidden: [4], epochs: 5}}
"""
BLOCK = "{cells: [1, 5], offsets: [16], hidden: [6], folds: 3, epochs: 2}"


def recipe_of(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "pixels.yaml"
    path.write_text(text)
    return read_recipe(path)


def test_each_stage_has_the_heads_parameters_but_its_own(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, PIXELS)
    check_parts(recipe)
    plan = core_plan(recipe).context
    assert plan is not None
    assert plan.spec == ContextSpec(cells=(1, 5), offsets=(16,))
    assert (plan.folds, plan.first, plan.second) == (3, {"epochs": 2}, {"hidden": [6]})


def test_defaults_and_none(tmp_path: Path) -> None:
    plan = core_plan(recipe_of(tmp_path, PIXELS.replace(BLOCK, "{}"))).context
    assert plan is not None
    assert plan.spec.width(11) == 319
    assert plan.spec.shifts()[-1] == (22, 22, 11)
    assert (plan.folds, plan.first, plan.second) == (2, {}, {})
    plain = recipe_of(tmp_path, PIXELS.replace(f"    auto_context: {BLOCK}\n", ""))
    assert core_plan(plain).context is None
    assert "auto_context" not in plain.representation.params, "a recipe without it keeps its digest"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[1, 5]", "[1, 4]", "cells is [1, 4]; odd numbers from 1 to 101"),
        ("[1, 5]", "[]", "cells is []; odd numbers"),
        ("[1, 5]", "[5, 5]", "cells is [5, 5]; each may stand there once"),
        ("[1, 5]", "5", "cells is 5; a list of whole numbers"),
        ("[16]", "[18]", "offsets is [18]; multiples of 4 pixels from 4 to 1024"),
        ("[16]", "[true]", "offsets is [True]; a list of whole numbers"),
        ("folds: 3", "folds: 1", "folds is 1; a whole number from 2 on"),
        ("folds: 3", "folds: 21", "folds is 21; 2 to 20"),
        ("epochs: 2", "epochs: 0", "epochs is 0; a whole number from 1 on"),
        ("hidden: [6]", "hidden: [0]", "hidden[0] is 0"),
        ("cells", "cell", "cell is not a parameter of auto_context; allowed: cells, epochs, folds, hidden, offsets"),
        (BLOCK, "5", "auto_context is 5; a mapping is expected"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    recipe = recipe_of(tmp_path, PIXELS.replace(old, new))
    with pytest.raises(RecipeError, match=r"pixels.yaml:10:\d+: representation.params.auto_context") as raised:
        check_parts(recipe)
    assert expected in str(raised.value)


def test_what_has_one_stage(tmp_path: Path) -> None:
    colours = PIXELS.replace("dense_labels", "dense_regression").replace("name: dbn,", "name: dbn_regressor,")
    with pytest.raises(RecipeError, match="auto_context: a second stage sees probabilities of classes"):
        check_parts(recipe_of(tmp_path, colours))
    fitted = PIXELS.replace("    auto_context", "    answers: {bias: held_out}\n    auto_context")
    with pytest.raises(RecipeError, match="auto_context: bias: held_out is for one stage"):
        check_parts(recipe_of(tmp_path, fitted))
