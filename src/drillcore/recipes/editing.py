"""The JSON schema of a recipe for editors: fields, names of registries, parameters of the head that is named."""

from __future__ import annotations

from drillcore.backbones.training.training_plan import TrainingParams
from drillcore.errors import InputError
from drillcore.heads.catalogue import head_names, head_params
from drillcore.json_types import Json
from drillcore.recipes.schema import recipe_schema


def editor_schema() -> Json:
    """Return the JSON schema (draft 2020-12) of a recipe; heads that cannot be loaded have no parameters."""
    schema = recipe_schema()
    sections: Json = schema["$defs"]
    sections["HeadSection"]["properties"]["name"]["enum"] = head_names()
    train = TrainingParams.model_json_schema()
    augment = train["properties"].pop("augment")
    sections["BackboneSection"]["properties"]["train"]["anyOf"] = [train, {"type": "null"}]
    sections["AugmentSection"]["properties"]["name"]["enum"] = augment["enum"]
    rules = []
    for name in head_names():
        try:
            params = head_params(name).model_json_schema()
        except InputError:
            continue
        named = {"properties": {"head": {"required": ["name"], "properties": {"name": {"const": name}}}}}
        rules.append({"if": named, "then": {"properties": {"head": {"properties": {"params": params}}}}})
    title = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "drillcore recipe"}
    return {**schema, **title, "allOf": rules}
