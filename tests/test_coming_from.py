"""The page for those who come from another tool: its blocks run as they stand, in order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shells import draw_shell, write_shells

PAGE = Path(__file__).resolve().parents[1] / "docs" / "how-to" / "coming-from.md"


def write_boats(folder: Path) -> None:
    """Write pixels of sea and boat as COCO has them, by way of our own export."""
    from drillcore.datasets.export_formats import export_dataset
    from drillcore.datasets.ingest import ingest
    from drillcore.datasets.landing import import_dataset
    from drillcore.settings import Settings

    generator = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / "source" / name).mkdir(parents=True)
    for number in range(12):
        image = generator.integers(0, 90, (40, 50), np.uint8)
        mask = np.zeros((40, 50), np.uint8)
        y, x = generator.integers(2, 25, 2)
        mask[y : y + 9, x : x + 12] = 1
        image[mask > 0] += 120
        Image.fromarray(image).save(folder / "source" / "images" / f"{number}.png")
        Image.fromarray(mask).save(folder / "source" / "masks" / f"{number}.png")
    (folder / "source" / "classes.txt").write_text("sea\nboat\n")
    settings = Settings.load(folder, env={"DRILLCORE_WORKERS": "1"})
    import_dataset(settings, "boats", folder / "source", layout="masks")
    export_dataset(settings, ingest(settings, "boats"), folder / "boats-coco", "coco")


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_every_block_runs_in_order(tmp_path: Path) -> None:
    write_shells(tmp_path / "shells", 24)
    (tmp_path / "shells" / "disc").mkdir()
    for number in range(24):
        draw_shell("dot", 500 + number).save(tmp_path / "shells" / "disc" / f"{number:03}.png")
    (tmp_path / "new-images").mkdir()
    for number in range(6):
        draw_shell("ring", 900 + number).save(tmp_path / "new-images" / f"{number}.png")
    write_boats(tmp_path)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("DRILLCORE_", "PREFECT_"))}
    env |= {"HOME": str(tmp_path), "DRILLCORE_DEVICE": "cpu", "GIT_CONFIG_GLOBAL": os.devnull}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    subprocess.run(["drillcore", "init", "mine"], cwd=tmp_path, env=env, check=True, capture_output=True)
    found = re.findall(r"```(bash|python)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert [language for language, _ in found] == ["bash", "bash", "bash", "python"]
    for language, text in found:
        home = tmp_path / "mine" if language == "bash" else tmp_path
        command = ["bash", "-euxc", text] if language == "bash" else [sys.executable, "-c", text]
        done = subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
