"""`drillcore check`: whether recipes can be meant, before anything is spent on them."""

from __future__ import annotations

import click

from drillcore.cli.session import begin
from drillcore.datasets.pointers import read_pointer
from drillcore.errors import DataError, InputError, RecipeError


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
def check(models: tuple[str, ...]) -> None:
    """Check the recipes of MODEL, or all there are: fields, names and parameters, with file, line and column.

    Of data that was checked too, whether there are validation images enough for what `abstain` asks for.

    \b
    Example:
      drillcore check
      drillcore check plankton-forest
    """
    settings = begin()
    from drillcore.recipes import building, known_models, load_recipe
    from drillcore.recipes.ranges import is_open

    read, wrong, tuned = [], [], set()
    for name in models or known_models(settings):
        try:
            recipe = load_recipe(settings, name)
            if any(is_open(value) for value in recipe.head.params.values()):
                tuned.add(name)
                ends = building.open_params(recipe)
                recipe = building.filled(recipe, {name: value.ends[0] for name, value in ends.items()})
            building.check_words(recipe)
            read.append(recipe)
        except InputError as error:
            wrong.append(str(error))
    for recipe in read if not wrong else ():
        try:
            building.check_parts(recipe)
            if recipe.abstain is not None and read_pointer(settings, recipe.dataset.name) is not None:
                from drillcore.datasets.ingest import current_manifest
                from drillcore.retrain.abstaining import require_images

                require_images(recipe, current_manifest(settings, recipe.dataset.name))
            click.echo(f"{recipe.name}: can be {'tuned' if recipe.name in tuned else 'trained'}")
        except (InputError, DataError) as error:
            wrong.append(str(error))
    if wrong:
        raise RecipeError("\n".join(wrong))
