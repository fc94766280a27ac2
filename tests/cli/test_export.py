"""`export`: the registered bytes, as a file or in a repository for Triton."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from scoring_case import serve_tiny

from drillcore.digests import sha256_bytes
from drillcore.settings import Settings


def test_a_repository_for_triton(drillcore: Callable[..., Any], settings: Settings, tmp_path: Path) -> None:
    served = serve_tiny(settings, 5)
    ended = drillcore("export", "tiny", "--triton", tmp_path / "repository", "--max-batch", 8, "--max-delay-ms", 1)
    assert ended.code == 0, ended.err
    assert "version 5" in ended.out
    folder = tmp_path / "repository" / "tiny"
    config = (folder / "config.pbtxt").read_text()
    assert "max_batch_size: 8\n" in config
    assert "max_queue_delay_microseconds: 1000\n" in config
    assert sha256_bytes((folder / "5" / "model.onnx").read_bytes()) == served.sha256
    assert drillcore("export", "tiny").code == 2
    assert drillcore("export", "tiny", tmp_path / "a.onnx", "--triton", tmp_path).code == 2
    refused = drillcore("export", "tiny", tmp_path / "a.onnx", "--kind", "gpu")
    assert (refused.code, "--triton" in refused.err) == (2, True)
    assert drillcore("export", "tiny", tmp_path / "a.onnx").code == 0
    assert sha256_bytes((tmp_path / "a.onnx").read_bytes()) == served.sha256
