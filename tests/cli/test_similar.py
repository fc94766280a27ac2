"""`similar` where there is nothing to look at: one line, the right code, nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from segment_case import write_segment_model

from drillcore.settings import Settings

Run = Callable[..., Any]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("unheard-of", "image.png"), "image.png: there is no such file"),
        (("unheard-of", "."), "is a folder, one image is expected"),
        (("unheard-of", "there.png"), "unknown model 'unheard-of'"),
        (("unheard-of.onnx", "there.png"), "unheard-of.onnx"),
        (("unheard-of", "there.png", "--box", "1,2"), "x0,y0,x1,y1 in pixels is expected"),
        (("unheard-of", "there.png", "-n", "0"), "0 is not in the range"),
    ],
)
def test_one_line_and_nothing_written(
    drillcore: Run,
    tracked: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("there.png")
    ended = drillcore("similar", *words)
    assert ended.code == 2
    assert message in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert ended.out == ""
    assert not (tracked.state / "similar").exists()


def test_a_table_json_and_a_page(drillcore: Run, tmp_path: Path) -> None:
    model, folder = write_segment_model(tmp_path / "parted.onnx"), tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (12, 9), (40 * number, 9, 9)).save(folder / f"{number}.png")
    words = (
        "similar",
        model,
        folder / "1.png",
        "--folder",
        folder,
        "-n",
        2,
        "--box",
        "1,1,5,5",
        "--output",
        tmp_path / "page",
    )
    ended = drillcore(*words)
    assert (ended.code, ended.err) == (0, "")
    assert "1.png" in ended.out
    assert "0 of 8 bits" in ended.out
    found = json.loads(drillcore(*words, "--json").out)
    assert [hit["distance"] for hit in found["hits"]] == [0, 2]
    assert found["hits"][0]["box"] == [0, 0, 12, 9]
    page = (tmp_path / "page" / "index.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
