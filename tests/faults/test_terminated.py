"""SIGTERM in a retrain, as a scheduler sends it: one line, and nothing it started goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from shells import RECIPE, write_shells


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_what_a_retrain_started_ends_with_it(tmp_path: Path, number: int) -> None:
    root = tmp_path / "checkout"
    (root / "models").mkdir(parents=True)
    (root / "models" / "shells-forest.yaml").write_text(RECIPE)
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    env = own | {"DRILLCORE_ROOT": str(root), "DRILLCORE_DEVICE": "cpu"}
    source = write_shells(tmp_path / "source", 12)
    command = [sys.executable, "-m", "drillcore"]
    subprocess.run([*command, "data", "import", "--layout", "classes", "shells", str(source)], env=env, check=True)
    with subprocess.Popen(
        [*command, "retrain", "shells-forest"], env=env, stderr=subprocess.PIPE, text=True
    ) as process:
        own_process, deadline = psutil.Process(process.pid), time.monotonic() + 240
        while not (started := own_process.children(recursive=True)):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(1)  # inside what it does while its server starts, or after
        started = own_process.children(recursive=True) or started
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    if number == signal.SIGTERM:
        assert process.returncode == 143
        assert said.splitlines()[-1].startswith("drillcore: interrupted"), said
    assert "Traceback" not in said
    _, alive = psutil.wait_procs(started, timeout=60)
    assert not alive
