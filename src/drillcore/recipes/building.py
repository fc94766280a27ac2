"""From a recipe to its parts: names and parameters checked with the line they stand in, then built."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from drillcore.backbones.training.training_plan import TrainingPlan
from drillcore.errors import InputError, RecipeError
from drillcore.heads.catalogue import LOGITS, head_row
from drillcore.heads.catalogue import build_head as build
from drillcore.plugins import attribute
from drillcore.recipes.named_network import UNITS, untrained
from drillcore.recipes.parts import NO_HEAD, part_mistakes
from drillcore.recipes.ranges import Open, read_open
from drillcore.recipes.reading import refusal
from drillcore.recipes.schema import Recipe
from drillcore.representations.catalogue import representation_class, representation_row
from drillcore.schemas import Params, checked

if TYPE_CHECKING:
    from drillcore.backbones.base import Backbone
    from drillcore.heads.base import Head


def check_words(recipe: Recipe) -> None:
    """Check what a recipe says, as far as it can be told without torch or data: at once.

    Raises:
        RecipeError: names file, line, field and what is allowed, for all that is wrong.
    """
    if wrong := list(part_mistakes(recipe)):
        raise refusal(recipe.path.name if recipe.path else f"{recipe.name}.yaml", recipe.lines, wrong)


def check_parts(recipe: Recipe) -> None:
    """Check every name and parameter of a recipe against the parts there are, before an hour is spent.

    Raises:
        RecipeError: names file, line, field and what is allowed.
    """
    check_words(recipe)
    from drillcore.backbones.catalogue import check_weights, get_entry

    _at(recipe, "backbone.name", lambda: get_entry(recipe.backbone.name))
    _at(recipe, "backbone.weights", lambda: check_weights(recipe.backbone.name, recipe.backbone.weights))
    if recipe.backbone.train is not None and not get_entry(recipe.backbone.name).trainable:
        _fail(recipe, "backbone.train", f"{recipe.backbone.name} has no training of its own; leave train out")
    field = "backbone.resize" if recipe.backbone.resize else "backbone.name"
    built: list[Backbone] = []
    _at(recipe, field, lambda: built.append(untrained(recipe)))
    (backbone,) = built
    _at(recipe, "backbone.taps", lambda: backbone.check_taps(recipe.backbone.taps))
    takes = "" if recipe.head.name == NO_HEAD else head_row(recipe.head.name).accepts
    if takes == LOGITS and (width := backbone.flat_width(recipe.backbone.taps)) != UNITS:
        what = f"are {width} numbers of two classes; the head {recipe.head.name} takes logits, one for each class"
        _fail(recipe, "backbone.taps", what)
    if recipe.backbone.train is not None:
        _at(recipe, "backbone.train", lambda: _check_plan(recipe, backbone))
    if representation_row(recipe.representation.name).one_size:
        representation = representation_class(recipe.representation.name)(representation_plan(recipe))
        field = "representation.params" + (".views" if "views" in recipe.representation.params else "")
        _at(recipe, field, lambda: representation.look(backbone, recipe.backbone.taps))


def open_params(recipe: Recipe) -> dict[str, Open]:
    """Return what a recipe leaves open, by the head's parameter, at once.

    Raises:
        RecipeError: a range that cannot be meant, or of values that the head does not take; with file and line.
        UnknownNameError: no such head.
        InputError: nothing is left open.
    """
    found, wrong = read_open(recipe)
    if wrong:
        raise refusal(recipe.path.name if recipe.path else f"{recipe.name}.yaml", recipe.lines, wrong)
    if not found:
        raise InputError(
            f"{recipe.name} leaves nothing open; mark a parameter of its head, for instance "
            "head.params.c: {range: [0.01, 100], log: true} or {choices: [0.1, 1]}, in the recipe or with --set"
        )
    return found


def filled(recipe: Recipe, values: Mapping[str, object]) -> Recipe:
    """Return a recipe with values in place of what it leaves open."""
    return dataclasses.replace(recipe, head=dataclasses.replace(recipe.head, params={**recipe.head.params, **values}))


def representation_plan(recipe: Recipe) -> Any:
    """Return the parameters of a recipe's representation. Raises InputError where they have not been checked."""
    read = attribute(representation_row(recipe.representation.name).plan)
    if not isinstance(read, type):
        return read(recipe)
    found: Params = checked(read, recipe.representation.params, f"representation {recipe.representation.name!r}")
    return found


def training_plan(recipe: Recipe) -> TrainingPlan:
    """Return the backbone's training plan, with the recipe's augmentation. Raises InputError."""
    given = dict(recipe.backbone.train or {})
    if "augment" in given:
        raise InputError("augment stands at the top of the recipe, as augment: {name: ...}")
    return TrainingPlan.from_dict({**given, "augment": recipe.augment.name})


def build_head(
    recipe: Recipe,
    *,
    n_classes: int,
    n_jobs: int = 1,
    device: str = "cpu",
    params: Mapping[str, object] | None = None,
) -> Head:
    """Return the recipe's head, not fitted; `params` stand in place of its own. Raises UnknownNameError, InputError."""
    more = {"n_classes": n_classes, "seed": recipe.seeds.train, "n_jobs": n_jobs, "threads": n_jobs, "device": device}
    return build(recipe.head.name, {**recipe.head.params, **(params or {})}, **more)


def _check_plan(recipe: Recipe, backbone: Backbone) -> None:
    if training_plan(recipe).native and "letterbox" not in backbone.preprocessing:
        raise InputError(f"augment warp needs a backbone that letterboxes images, {backbone.name} squashes them")


def _at(recipe: Recipe, dotted: str, check: Callable[[], object]) -> None:
    try:
        check()
    except RecipeError:
        raise
    except InputError as error:
        raise RecipeError(f"{recipe.where(dotted)}: {dotted}: {error}") from None


def _fail(recipe: Recipe, dotted: str, text: str) -> None:
    raise RecipeError(f"{recipe.where(dotted)}: {dotted} {text}")
