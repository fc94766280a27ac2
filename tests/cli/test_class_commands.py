"""`cluster` and `explain` where there is nothing to look into: one line, the right code, nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drillcore.settings import Settings

Run = Callable[..., Any]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("cluster", "unheard-of"), "unknown model 'unheard-of'"),
        (("explain", "unheard-of", "image.png"), "unknown model 'unheard-of'"),
        (("cluster", "unheard-of", "--linkage", "centroid"), "'centroid' is not one of 'average'"),
        (("cluster", "unheard-of", "--neighbours", "0"), "0 is not in the range"),
        (("explain", "unheard-of", "image.png", "--output", "why.gif"), "a picture ends in .png or .svg"),
    ],
)
def test_one_line_and_nothing_written(
    drillcore: Run, tracked: Settings, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    ended = drillcore(*words)
    assert ended.code == 2
    assert message in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert ended.out == ""
    assert not any((tracked.state / name).exists() for name in ("clusters", "explanations"))
