"""Entry points of other packages: found by name, loaded when asked for, refused by name where they are no use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from drillcore import plugins
from drillcore.errors import InputError

POINTS = """\
[drillcore.heads]
kind = stones_and_shells:Stone
made = stones_and_shells:STONE
other = stones_and_shells:OTHER
broken = stones_and_shells.gone:STONE
lacking = stones_and_shells:NOTHING
"""


class Pebble:
    """What the packages here have to offer."""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    info = tmp_path / "stones_and_shells-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stones-and-shells\nVersion: 1\n")
    (info / "entry_points.txt").write_text(POINTS)
    (tmp_path / "stones_and_shells.py").write_text(
        "from drillcore.errors import InputError\n\nclass Stone(InputError):\n    pass\n\n"
        "STONE = Stone('')\nOTHER = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    plugins.found.cache_clear()
    yield tmp_path
    plugins.found.cache_clear()
    sys.modules.pop("stones_and_shells", None)


def test_names_come_without_an_import(package: Path) -> None:
    assert plugins.names(plugins.HEADS, ["own", "kind"]) == ["own", "kind", "broken", "lacking", "made", "other"]
    assert "stones_and_shells" not in sys.modules
    assert plugins.names(plugins.LAYOUTS, ["own"]) == ["own"]


@pytest.mark.parametrize("name", ["kind", "made"])
def test_a_class_or_an_object_is_loaded(package: Path, name: str) -> None:
    loaded = plugins.load_plugin(plugins.HEADS, name, InputError)
    assert getattr(loaded, "__name__", type(loaded).__name__) == "Stone"


def test_an_unknown_name_is_none(package: Path) -> None:
    assert plugins.load_plugin(plugins.HEADS, "own", InputError) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [("other", "is a int; InputError is expected"), ("broken", "No module named"), ("lacking", "NOTHING")],
)
def test_what_is_no_use_is_refused_by_its_package(package: Path, name: str, expected: str) -> None:
    with pytest.raises(InputError, match="of the package stones-and-shells") as caught:
        plugins.load_plugin(plugins.HEADS, name, InputError)
    assert expected in str(caught.value)
