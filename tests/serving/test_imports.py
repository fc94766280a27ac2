from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from scoring_case import serve_tiny, write_images

from drillcore.settings import Settings

PROGRAM = """
import sys
from pathlib import Path
from drillcore.runtime.batch.receipt import verify
from drillcore.runtime.model.served import resolve
from drillcore.settings import Settings
from drillcore_serving.batch.score_batch import score
settings = Settings.load(Path(sys.argv[1]))
score(settings, resolve(settings, "tiny"), Path(sys.argv[2]), Path(sys.argv[3]), device="cpu")
verify(Path(sys.argv[3]))
print(sorted({name.partition(".")[0] for name in sys.modules} & set(sys.argv[4:])))
"""
HEAVY = ("torch", "torchvision", "sklearn", "scipy", "mlflow", "prefect", "dvc", "great_expectations", "matplotlib")


def test_scoring_imports_nothing_heavy(settings: Settings, tmp_path: Path) -> None:
    serve_tiny(settings)
    write_images(tmp_path / "in", 3)
    command = [sys.executable, "-c", PROGRAM, str(settings.root), str(tmp_path / "in"), str(tmp_path / "out"), *HEAVY]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
