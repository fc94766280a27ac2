"""The strict record inside a model file."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest

from drillcore.errors import UnsafeModelError
from drillcore.runtime.model.metadata import METADATA_KEY, ModelMetadata


def test_round_trip_is_exact_and_sorted(tiny_models: ModuleType) -> None:
    metadata = tiny_models.tiny_metadata(colours=[[0, 1, 2], [3, 4, 5], [255, 0, 0]], parent="tiny@3", tile=512)
    text = metadata.to_json()
    assert ModelMetadata.from_json(text) == metadata
    assert ModelMetadata.from_json(text).to_json() == text
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert set(json.loads(text)) == {
        *("schema", "task", "model", "classes", "colours", "input", "data_digest", "lineage", "git", "dirty"),
        *("recipe_sha256", "weights_sha256", "seeds", "parent", "min_size", "tile", "halo", "align"),
    }


@pytest.mark.parametrize("name", ["schema", "task", "colours", "halo", "seeds"])
def test_a_missing_field_is_refused(tiny_models: ModuleType, name: str) -> None:
    values = json.loads(tiny_models.tiny_metadata().to_json())
    del values[name]
    with pytest.raises(UnsafeModelError, match=name):
        ModelMetadata.from_json(json.dumps(values))


def test_an_unknown_field_is_refused(tiny_models: ModuleType) -> None:
    values = json.loads(tiny_models.tiny_metadata().to_json()) | {"surprise": 1}
    with pytest.raises(UnsafeModelError, match="surprise"):
        ModelMetadata.from_json(json.dumps(values))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("schema", 2),
        ("schema", True),
        ("task", ""),
        ("task", 3),
        ("classes", "abc"),
        ("classes", ["a", "a"]),
        ("classes", [1, 2]),
        ("classes", [["a"], ["b"]]),
        ("colours", [[0, 0, 0]]),
        ("colours", [[0, 0, 256]] * 3),
        ("input", {"channels": 2, "resize": None, "preprocessing": {}}),
        ("input", {"channels": [1], "resize": None, "preprocessing": {}}),
        ("input", {"channels": 1, "resize": [0, 4], "preprocessing": {}}),
        ("input", {"channels": 1, "preprocessing": {}}),
        ("input", {"channels": 1, "resize": None, "preprocessing": {}, "more": 1}),
        ("dirty", 0),
        ("seeds", {"train": "0"}),
        ("seeds", [1]),
        ("parent", 4),
        ("min_size", [1]),
        ("min_size", [0, 1]),
        ("tile", 0),
        ("halo", -1),
        ("align", 1.5),
    ],
)
def test_a_value_that_does_not_fit_is_refused(tiny_models: ModuleType, name: str, value: Any) -> None:
    values = json.loads(tiny_models.tiny_metadata().to_json()) | {name: value}
    with pytest.raises(UnsafeModelError) as caught:
        ModelMetadata.from_json(json.dumps(values))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, '{"schema": NaN}', "\0"])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(UnsafeModelError):
        ModelMetadata.from_json(text)


def test_a_model_without_our_key_is_refused() -> None:
    with pytest.raises(UnsafeModelError, match="not exported by drillcore"):
        ModelMetadata.from_props({"other": "{}"})
    with pytest.raises(UnsafeModelError, match="at most"):
        ModelMetadata.from_props({METADATA_KEY: " " * (5 * 2**20)})
