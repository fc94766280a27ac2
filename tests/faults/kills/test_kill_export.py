"""kill -9 at 20 seeded points of an export: the file is whole or not there, and a last run makes the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

KILLS = 20
CASES = Path(__file__).parents[2] / "cases"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
def test_killed_exports_leave_a_whole_file_or_none(tmp_path: Path) -> None:
    # A process of its own with one thread, so that it may fork after torch was imported.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(CASES)}
    command = [sys.executable, __file__, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment)
    assert result.returncode == 0, result.stderr[-2000:]
    assert f"{KILLS} kills" in result.stdout


def _main(folder: Path) -> None:
    import classifier_case
    import torch

    from drillcore.backbones.networks.plankton_cnn import build_plankton_cnn
    from drillcore.digests import sha256_file
    from drillcore.files import sweep_partials, write_bytes

    torch.set_num_threads(1)
    reference = classifier_case.fitted(build_plankton_cnn("cnn1", 3, seed=1), ["layer3"], trees=200)
    target = folder / "model.onnx"

    def export() -> None:
        write_bytes(target, classifier_case.export(reference))

    export()
    begun = time.monotonic()
    export()
    seconds = time.monotonic() - begun
    wanted = sha256_file(target)
    chance, killed = random.Random(0), 0
    while killed < KILLS:
        target.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            export()
            os._exit(0)
        time.sleep(chance.uniform(0, seconds))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        killed += 1
        assert not target.exists() or sha256_file(target) == wanted
    export()
    sweep_partials(folder)
    assert sha256_file(target) == wanted
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]
    print(f"{killed} kills")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
