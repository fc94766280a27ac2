"""`drillcore check`: whether recipes can be meant, before anything is spent on them."""

from __future__ import annotations

import click

from drillcore.cli.session import begin
from drillcore.errors import InputError, RecipeError


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
def check(models: tuple[str, ...]) -> None:
    """Check the recipes of MODEL, or all there are: fields, names and parameters, with file, line and column.

    \b
    Example:
      drillcore check
      drillcore check plankton-forest
    """
    settings = begin()
    from drillcore.recipes import building, known_models, load_recipe

    read, wrong = [], []
    for name in models or known_models(settings):
        try:
            recipe = load_recipe(settings, name)
            building.check_words(recipe)
            read.append(recipe)
        except InputError as error:
            wrong.append(str(error))
    for recipe in read if not wrong else ():
        try:
            building.check_parts(recipe)
            click.echo(f"{recipe.name}: can be trained")
        except InputError as error:
            wrong.append(str(error))
    if wrong:
        raise RecipeError("\n".join(wrong))
