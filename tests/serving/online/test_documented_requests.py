"""The requests of the guide to serving, sent as they stand there."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dense_case
import pytest
from online_case import Running, png, serve_tiny
from PIL import Image

from drillcore.runtime.model.served import write_pointer
from drillcore.settings import Settings

PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "serving.md"
KEY = "a-key-of-the-guide-0123"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.S)


def commands() -> list[str]:
    """Lines that call curl, with their continuation."""
    text = "\n".join(blocks("bash"))
    return re.findall(r"^curl .*?(?=\n\S|\n*\Z)", text, re.M | re.S)


@pytest.fixture
def server(settings: Settings, start: Callable[..., Running]) -> Running:
    write_pointer(settings, "plankton-forest", 1, serve_tiny(settings).sha256)
    write_pointer(settings, "camvid", 1, dense_case.serve_dense(settings).sha256)
    return start("plankton-forest", "camvid")


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_curl(server: Running, tmp_path: Path) -> None:
    for name, kind in (("image.jpg", "JPEG"), ("image.png", "PNG")):
        (tmp_path / name).write_bytes(png(150, (40, 60), kind))
    (tmp_path / "api-keys").write_text(f"{KEY}\n")
    asked = commands()
    assert len(asked) == 10
    for command in asked:
        ours = command.replace("localhost:8080", server.url).replace("curl ", "curl --silent --show-error --fail ", 1)
        done = subprocess.run(["bash", "-c", ours], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stderr)
        if "-o " not in command:
            assert done.stdout, command
    labels = Image.open(io.BytesIO((tmp_path / "labels.png").read_bytes()))
    assert (labels.mode, labels.size) == ("P", (60, 40))
    assert Image.open(io.BytesIO((tmp_path / "overlay.jpg").read_bytes())).format == "JPEG"


def test_python(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tritonclient.http", reason="tritonclient[http] is in the dependency group dev")
    (block,) = (text for text in blocks("python") if "localhost" in text)  # the other one asks MLflow
    module: dict[str, Any] = {"__name__": "guide"}
    exec(block.replace("localhost:8080", server.url.removeprefix("http://")), module)  # noqa: S102 - our own page
    assert capsys.readouterr().out.strip() == "[0]"


def test_metrics_that_are_named_exist(server: Running) -> None:
    assert server.predict(png(), "plankton-forest").status_code == 200
    text = server.client.get("/metrics").text
    for name in re.findall(r"`(drillcore_\w+)`", PAGE.read_text()):
        assert f"# TYPE {name} " in text, name


def test_options_that_are_named_exist() -> None:
    from drillcore.cli.export import export
    from drillcore.cli.serve import serve

    known = {option for command in (serve, export) for item in command.params for option in item.opts}
    for option in re.findall(r"`(--[a-z-]+)", PAGE.read_text()):
        assert option in known | {"--watch"}, option
