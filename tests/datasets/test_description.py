from __future__ import annotations

from pathlib import Path

import pytest

from drillcore.datasets.description import FILE_NAME, Description, read_description, write_description
from drillcore.errors import DataError

GOOD = '{"schema": 1, "layout": "plankton", "lineage": "sample", "split_seed": 3}'


def test_written_and_read_back(tmp_path: Path) -> None:
    description = Description(layout="plankton", lineage="import-12", split_seed=7)
    write_description(tmp_path, description)
    assert read_description(tmp_path) == description


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        '"\\ud800"',
        GOOD.replace("1", "2"),
        GOOD.replace("sample", "import-0"),
        GOOD.replace("sample", "../x"),
        GOOD.replace('"sample"', "5"),
        GOOD.replace("3}", '"3"}'),
        GOOD.replace("3}", "true}"),
        GOOD.replace("plankton", "a/b"),
        GOOD.replace("3}", '3, "more": 1}'),
    ],
)
def test_malformed(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(DataError) as caught:
        read_description(tmp_path)
    assert "\n" not in str(caught.value)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data import"):
        read_description(tmp_path)
