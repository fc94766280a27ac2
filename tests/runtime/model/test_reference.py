from __future__ import annotations

import pytest

from drillcore.errors import InputError
from drillcore.runtime.model.reference import ModelReference, parse_reference


@pytest.mark.parametrize(
    ("text", "expected", "key"),
    [
        ("plankton-forest", ModelReference("plankton-forest"), "champion"),
        ("plankton-forest@champion", ModelReference("plankton-forest", alias="champion"), "champion"),
        ("a@challenger", ModelReference("a", alias="challenger"), "challenger"),
        ("a.b_c@12", ModelReference("a.b_c", version=12), "12"),
    ],
)
def test_references_are_parsed(text: str, expected: ModelReference, key: str) -> None:
    assert parse_reference(text) == expected
    assert expected.key == key


@pytest.mark.parametrize(
    "text", ["", "@3", "a@", "a@0", "a@-1", "a@b@c", "../x", "a/b", "a@latest", "a@v3", "a b", "a@1.5"]
)
def test_other_texts_are_refused_with_the_form(text: str) -> None:
    with pytest.raises(InputError, match="NAME@VERSION is expected"):
        parse_reference(text)


def test_a_reference_is_written_as_it_is_read() -> None:
    for text in ("a", "a@challenger", "a@3"):
        assert str(parse_reference(text)) == text
    assert str(parse_reference("a@champion")) == "a"
