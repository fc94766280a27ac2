"""Answers in a recipe: the line of what is wrong, defaults, and digests that stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from drillcore.errors import RecipeError
from drillcore.recipes import Recipe, read_recipe
from drillcore.recipes.building import check_parts
from drillcore.recipes.cores import core_plan
from drillcore.representations.core_samples.pixel_answers import Answers

PIXELS = """\
schema: 1
name: pixels
task: dense_labels
dataset: {name: baeri}
backbone: {name: squeezenet1_0, taps: [conv1]}
representation:
  name: core_samples
  params:
    sampling: {pixels: 100}
    answers: {window: 5, limit: 9, bias: held_out}
head: {name: dbn, params: {hidden: [4], epochs: 1}}
"""


def recipe_of(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "pixels.yaml"
    path.write_text(text)
    return read_recipe(path)


def test_a_bias_is_fitted_on_folds_of_at_most_so_many_images(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, PIXELS.replace("held_out}", "held_out, folds: 3, images: 8}"))
    check_parts(recipe)
    plan = core_plan(recipe)
    assert plan.answers == Answers(window=5, limit=9)
    assert plan.bias is not None
    assert (plan.bias.folds, plan.bias.images) == (3, 8)


def test_a_bias_may_stand_there_and_nothing_is_needed(tmp_path: Path) -> None:
    plan = core_plan(recipe_of(tmp_path, PIXELS.replace("held_out", "[0, -0.5]")))
    assert (plan.answers.bias, plan.bias) == ((0, -0.5), None)
    plain = recipe_of(tmp_path, PIXELS.replace("    answers: {window: 5, limit: 9, bias: held_out}\n", ""))
    assert core_plan(plain).answers.plain
    assert "answers" not in plain.representation.params, "a recipe without them keeps its digest"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("window: 5", "window: 6", "window is 6; an odd number of pixels"),
        ("window: 5", "windw: 5", "windw is not a parameter of answers"),
        ("bias: held_out", "bias: best", "bias is 'best'; a list"),
        ("bias: held_out", "bias: held_out, folds: 1", "folds is 1; a whole number from 2 on"),
        ("bias: held_out", "folds: 4", "folds is for a bias that is fitted; write bias: held_out"),
        ("{window: 5, limit: 9, bias: held_out}", "5", "answers is 5; a mapping is expected"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    recipe = recipe_of(tmp_path, PIXELS.replace(old, new))
    with pytest.raises(RecipeError, match=r"pixels.yaml:10:\d+: representation.params.answers") as raised:
        check_parts(recipe)
    assert expected in str(raised.value)


@pytest.mark.parametrize("answers", ["{window: 5, limit: 9}", "{bias: held_out}", "{bias: [0, 0]}"])
def test_a_regression_has_a_window_only(tmp_path: Path, answers: str) -> None:
    text = PIXELS.replace("dense_labels", "dense_regression").replace("name: dbn,", "name: dbn_regressor,")
    good = text.replace("{window: 5, limit: 9, bias: held_out}", "{window: 3}")
    check_parts(recipe_of(tmp_path, good))
    with pytest.raises(RecipeError, match="values of a regression have a window only"):
        check_parts(recipe_of(tmp_path, text.replace("{window: 5, limit: 9, bias: held_out}", answers)))
