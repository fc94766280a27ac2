"""An exported file is served as it is: no project, no pointer; a file in its place takes over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from online_case import Running, png, serve_tiny, until

from drillcore.errors import InputError, UnsafeModelError
from drillcore.settings import Settings

Start = Callable[..., Running]


def replace(path: Path, tiny_models: ModuleType, **changes: object) -> None:
    """Put another file in the place of one, as `drillcore export --overwrite` does."""
    tiny_models.write_tiny_model(path.parent / "new" / path.name, **changes).replace(path)


def test_a_file_answers_and_is_followed(start: Start, tmp_path: Path, tiny_models: ModuleType) -> None:
    path = tiny_models.write_tiny_model(tmp_path / "any name.ONNX")
    server = start(str(path), poll_seconds=0.01)
    found = server.predict(png()).json()
    assert (found["label"], found["version"]) == ("bright", 0)
    assert server.client.get("/v2/models/tiny").json()["versions"] == ["0"]
    assert server.client.get("/").status_code == 200
    before = found["model_sha256"]
    replace(path, tiny_models, bias=-10.0)
    until(lambda: server.predict(png()).json()["model_sha256"] != before)
    assert server.predict(png()).json()["label"] == "middle"


@pytest.mark.parametrize("what", ["another model", "no model", "nothing"])
def test_a_bad_file_in_its_place_does_not_take_over(
    start: Start, tmp_path: Path, tiny_models: ModuleType, what: str
) -> None:
    path = tiny_models.write_tiny_model(tmp_path / "tiny.onnx")
    server = start(str(path), poll_seconds=0.01)
    if what == "another model":
        replace(path, tiny_models, model="other")
    elif what == "no model":
        path.write_bytes(b"nothing of the kind")
    else:
        path.unlink()
    until(lambda: bool(server.server.service.shelf.get("tiny").problem))
    assert server.predict(png()).json()["label"] == "bright"


def test_names_and_files_side_by_side(
    start: Start, settings: Settings, tmp_path: Path, tiny_models: ModuleType
) -> None:
    serve_tiny(settings, 3)
    path = tiny_models.write_tiny_model(tmp_path / "own.onnx", model="own")
    server = start("tiny", str(path))
    assert server.predict(png()).json()["version"] == 3
    assert server.predict(png(), "own").json()["version"] == 0
    again = tiny_models.write_tiny_model(tmp_path / "again.onnx")
    with pytest.raises(InputError, match=r"again\.onnx holds the model tiny, which is served already"):
        start("tiny", str(again))


def test_a_file_that_is_refused_is_never_opened(start: Start, tmp_path: Path, tiny_models: ModuleType) -> None:
    with pytest.raises(InputError, match=r"gone\.onnx cannot be read"):
        start(str(tmp_path / "gone.onnx"))
    for name in ("../up", "a@b", "a b"):
        path = tiny_models.write_tiny_model(tmp_path / "odd.onnx", model=name)
        with pytest.raises(UnsafeModelError, match=r"which is no model's name"):
            start(str(path))
