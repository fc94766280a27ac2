"""The log file keeps what a terminal does not want, whatever libraries do to logging."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import logging
from pathlib import Path
from drillcore.cli.logs import start_logging
from drillcore.settings import Settings
start_logging(Settings.load(Path()))
import prefect.main  # sets up its own
logging.getLogger("drillcore.backbones.training").info("epoch 1")
logging.getLogger("somebody.else").warning("odd")
"""


@pytest.mark.slow  # Prefect takes seconds to import
def test_prefect_leaves_the_log_file_in_its_place(tmp_path: Path) -> None:
    env = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_LOGGING_LEVEL": "CRITICAL"}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    log = (tmp_path / ".drillcore" / "logs" / "drillcore.log").read_text()
    assert "epoch 1" in log
    assert "odd" in log
