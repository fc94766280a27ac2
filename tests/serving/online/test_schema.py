"""The OpenAPI document says what the server does: schemathesis, which makes up requests from it, finds nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from online_case import Running, serve_dense, serve_tiny

from drillcore.settings import Settings

CONFIG = Path(__file__).resolve().parents[3] / "schemathesis.toml"
KEY = "a-key-for-schemathesis"


@pytest.mark.parametrize(
    ("phases", "examples", "seed"),
    [
        ("examples,fuzzing", 5, 1),
        pytest.param("examples,coverage,fuzzing,stateful", 150, 2, marks=[pytest.mark.slow, pytest.mark.timeout(1200)]),
    ],
)
@pytest.mark.parametrize("keys", [(), (KEY,)], ids=["open", "with a key"])
def test_schemathesis_finds_nothing(
    settings: Settings,
    start: Callable[..., Running],
    tmp_path: Path,
    phases: str,
    examples: int,
    seed: int,
    keys: tuple[str, ...],
) -> None:
    serve_tiny(settings)
    serve_dense(settings)
    server = start("tiny", "dense", api_keys=keys)
    options = [f"--phases={phases}", f"--max-examples={examples}", f"--seed={seed}", "--no-color", "--no-shrink"]
    options += [f"--header=X-Api-Key: {key}" for key in keys]
    program = Path(sys.executable).with_name("schemathesis")
    command = [program, f"--config-file={CONFIG}", "run", f"{server.url}/openapi.json", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "15/15" in done.stdout
    # Models were reached, not only routes.
    assert 'drillcore_requests_total{model="tiny",route="/predict/{model}",status="200"}' in metrics(server, keys)


def metrics(server: Running, keys: tuple[str, ...]) -> str:
    return server.client.get("/metrics", headers={"x-api-key": "".join(keys)}).text
