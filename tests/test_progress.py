"""Bars on a terminal, a line in a notebook, nothing elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from drillcore.progress import progress, set_quiet


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    set_quiet(False)  # whatever a command in this process has said before
    yield
    set_quiet(False)


def test_nothing_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("features", 3) as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("notebook")
def test_one_line_in_a_notebook(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("features", 2_000, unit="images") as advance:
        advance(500)
        advance(1_500)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "features: 500 of 2,000 images" in err.split("\r")[1]
    assert "left" in err.split("\r")[1]
    assert "features: 2,000 of 2,000 images" in err.split("\r")[-1]


@pytest.mark.usefixtures("notebook")
def test_the_line_ends_with_an_error_too(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(KeyError), progress("trees", None, unit="trees") as advance:
        advance(4)
        raise KeyError
    assert capsys.readouterr().err.endswith("\n")


@pytest.mark.usefixtures("notebook")
def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    set_quiet(True)
    with progress("features", 3) as advance:
        advance(3)
    assert capsys.readouterr().err == ""
