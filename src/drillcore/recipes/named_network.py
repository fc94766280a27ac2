"""The network a recipe names, as far as its words tell: its input size, its taps, and itself with random weights."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from drillcore.errors import InputError
from drillcore.heads.catalogue import LOGITS, head_row
from drillcore.recipes.parts import NO_HEAD
from drillcore.recipes.schema import Recipe
from drillcore.representations.catalogue import representation_row

if TYPE_CHECKING:
    from drillcore.backbones.base import Backbone

UNITS = 2  # classes of the network that taps are looked up in


def input_size(recipe: Recipe) -> tuple[int, int] | None:
    """Return height and width of a classifier's input; None: the backbone's own."""
    side = recipe.backbone.resize
    return (side, side) if side else None


def untrained(recipe: Recipe) -> Backbone:
    """Return the recipe's backbone with random weights and `UNITS` classes: it has the taps of the real one.

    Raises:
        UnknownNameError, InputError: a backbone or a representation there is not, or one that cannot be built so.
    """
    from drillcore.backbones.catalogue import get_entry

    build = get_entry(recipe.backbone.name).build
    if not representation_row(recipe.representation.name).one_size:
        return build(None, 0, "any")
    return build(UNITS, 0, input_size(recipe))


def with_taps(recipe: Recipe) -> Recipe:
    """Return a recipe that names its taps: its own, or the default ones of its backbone.

    They stand in the recipe's digest like any that were written down. A recipe whose backbone cannot be built comes
    back as it is: `building.check_parts` tells why.
    """
    if recipe.backbone.taps:
        return recipe
    try:
        backbone = untrained(recipe)
        if recipe.head.name != NO_HEAD and head_row(recipe.head.name).accepts == LOGITS:
            taps = list(backbone.taps)[-1:]
        else:
            taps = backbone.default_taps(maps=not representation_row(recipe.representation.name).one_size)
    except InputError:
        return recipe
    return dataclasses.replace(recipe, backbone=dataclasses.replace(recipe.backbone, taps=taps))
