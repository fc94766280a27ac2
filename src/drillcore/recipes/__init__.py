"""What a model is: a recipe file `models/<name>.yaml`, read strictly."""

from drillcore.recipes.reading import known_models, load_recipe, models_of_datasets, read_recipe
from drillcore.recipes.schema import Recipe

__all__ = ["Recipe", "known_models", "load_recipe", "models_of_datasets", "read_recipe"]
