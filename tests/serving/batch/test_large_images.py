"""One image that is too large, or too much for the memory there is, among others: set aside, and the others scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image
from scoring_case import rows_of, serve_tiny, write_images

from drillcore.cli.score import score as score_command
from drillcore.errors import NoMemoryError
from drillcore.runtime.batch.receipt import verify
from drillcore.runtime.model.session import Model
from drillcore.settings import Settings
from drillcore_serving.batch.score_batch import score

INPUT = {"channels": 1, "resize": [64, 64], "preprocessing": {}}


@pytest.mark.parametrize("size", [(60_000, 1), (1, 60_000)])
def test_a_thin_image_is_set_aside(settings: Settings, tmp_path: Path, size: tuple[int, int]) -> None:
    model = serve_tiny(settings, input=INPUT, limits={"side": 50_000, "side_by_target": 2**24})
    write_images(tmp_path / "in", 6)
    Image.new("L", size, 128).save(tmp_path / "in" / "00003_thin.png")
    result = score(settings, model, tmp_path / "in", tmp_path / "out")
    assert (result.inputs, result.scored, result.set_aside) == (7, 6, 1)
    verify(tmp_path / "out")
    (row,) = pq.read_table(tmp_path / "out" / "set_aside.parquet").to_pylist()
    assert (row["path"], row["reason"], row["input_index"]) == ("00003_thin.png", "too_large", 4)
    assert "at most 50000 a side" in row["detail"]


def test_what_there_is_no_memory_for_is_found_alone(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that fails goes again one by one; the answers are those of a machine with more memory."""
    model = serve_tiny(settings)
    paths = write_images(tmp_path / "in", 40)
    score(settings, model, tmp_path / "in", tmp_path / "before")
    real = Model.run
    victims = [np.asarray(Image.open(paths[number])) for number in (0, 17, 39)]

    def starved(self: Model, canvas: np.ndarray, *rest: Any, **more: Any) -> Any:
        alone = len(canvas) == 1 and any(np.array_equal(canvas[0, ..., 0], image) for image in victims)
        if alone or len(canvas) > 2:
            raise NoMemoryError("model tiny cannot answer: there is not memory enough")
        return real(self, canvas, *rest, **more)

    monkeypatch.setattr(Model, "run", starved)
    result = score(settings, model, tmp_path / "in", tmp_path / "out", batch=8)
    aside = pq.read_table(tmp_path / "out" / "set_aside.parquet").to_pylist()
    assert result.scored + result.set_aside == result.inputs == 40
    assert {row["reason"] for row in aside} == {"too_large"}
    assert {row["input_index"] for row in aside} <= {0, 17, 39}
    assert len(aside) >= 1
    verify(tmp_path / "out")
    before = {row["input_index"]: row for row in rows_of(tmp_path / "before")}
    for row in rows_of(tmp_path / "out"):
        assert (row["sha256"], row["label"]) == (
            before[row["input_index"]]["sha256"],
            before[row["input_index"]]["label"],
        )
        assert row["probability"] == pytest.approx(before[row["input_index"]]["probability"], abs=1e-6)


def test_where_there_is_memory_for_none_all_are_counted(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 5)

    def starved(*_: Any, **__: Any) -> Any:
        raise NoMemoryError("model tiny cannot answer: there is not memory enough")

    monkeypatch.setattr(Model, "run", starved)
    result = score(settings, model, tmp_path / "in", tmp_path / "out")
    assert (result.scored, result.set_aside, result.starved) == (0, 5, True)
    verify(tmp_path / "out")
    monkeypatch.setattr("drillcore.cli.score.begin", lambda **_: settings)
    monkeypatch.setattr("drillcore.cli.score.bring", lambda *_: model)
    done = CliRunner().invoke(score_command, ["tiny", str(tmp_path / "in"), str(tmp_path / "again")])
    assert isinstance(done.exception, NoMemoryError)  # no exit code 0 where nothing was done
    assert "no image was answered" in str(done.exception)
