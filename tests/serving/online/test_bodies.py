"""What the document says of bodies: one model each, which examples and answers fit."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from online_case import Running
from pydantic import BaseModel

from drillcore_serving.online.document import bodies, examples
from drillcore_serving.online.protocol_tensors import read_request

ANSWERS = examples.PREDICT_RESPONSES[200]["content"]["application/json"]["examples"]
INFERENCE = examples.INFER_RESPONSES[200]["content"]["application/json"]["example"]


def test_every_schema_is_named_once_and_there(tiny_server: Running) -> None:
    document = tiny_server.client.get("/openapi.json").json()
    named = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
    assert named == document["components"]["schemas"].keys()
    assert {"Answer", "Error", "InferenceRequest", "InferenceResponse"} <= named
    for operations in document["paths"].values():
        for operation in operations.values():
            refused = operation["responses"].get("422", {"content": {"application/json": {"schema": "none"}}})
            assert refused["content"]["application/json"]["schema"] in ({"$ref": "#/components/schemas/Error"}, "none")


@pytest.mark.parametrize(
    ("kind", "example"),
    [*((bodies.Answer, ANSWERS[name]["value"]) for name in ANSWERS), (bodies.InferenceResponse, INFERENCE)],
)
def test_examples_are_what_their_model_says(kind: type[BaseModel], example: dict[str, Any]) -> None:
    assert json.loads(kind.model_validate(example).model_dump_json(exclude_unset=True)) == example


def test_the_example_of_a_request_is_read() -> None:
    body = examples.INFER_BODY["content"]["application/json"]["example"]
    found = read_request(json.dumps(body).encode(), None, 2**20)
    assert (found.id, found.images.tolist(), found.outputs) == ("42", [[[[0], [64]], [[128], [255]]]], {"label": False})


def test_sums_of_probabilities_a_little_above_1_and_texts_of_any_language_are_answered() -> None:
    example = ANSWERS["one image"]["value"] | {"probability": 1.0000001, "label": "ruderfußkrebs"}
    assert json.loads(bodies.Answer.model_validate(example).model_dump_json(exclude_unset=True)) == example


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_json_does_not_have_are_never_written(number: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        bodies.Answer.model_validate(ANSWERS["one image"]["value"] | {"probability": number})
