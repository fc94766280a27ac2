"""kill -9 in the middle of scoring with a dense model: run again, masks and rows are those of an undisturbed run."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from dense_case import serve_dense, write_scenes
from scoring_case import tree
from scoring_process import finish_scoring, start_scoring

from drillcore.runtime.batch.receipt import verify
from drillcore.runtime.dense.kept_files import listed
from drillcore.settings import Settings

IMAGES, SHARD_ROWS = 400, 8


def start(root: Path, source: Path, output: Path) -> subprocess.Popen[bytes]:
    return start_scoring(root, "tiny-dense", source, output, SHARD_ROWS, threads=2)


def masks(output: Path) -> int:
    return sum(1 for _ in (output / "masks").glob("*.png"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_runs_end_as_an_undisturbed_one(settings: Settings, tmp_path: Path) -> None:
    """Kills follow the number of masks, so that most hit between two of one shard."""
    serve_dense(settings)
    write_scenes(tmp_path / "in", IMAGES, bad=(1, 64, 300))
    finish_scoring(start(settings.root, tmp_path / "in", tmp_path / "whole"))
    assert verify(tmp_path / "whole").scored == IMAGES - 3
    whole, generator = tree(tmp_path / "whole"), random.Random(11)
    hits = resumed = 0
    for number in range(6):
        output = tmp_path / f"out-{number}"
        for wanted in sorted(generator.sample(range(IMAGES - 40), 2)):
            process = start(settings.root, tmp_path / "in", output)
            while process.poll() is None and masks(output) < wanted:
                time.sleep(0.0005)
            process.send_signal(signal.SIGKILL)
            hits += process.wait() == -signal.SIGKILL
            assert process.stdout is not None
            process.stdout.close()
            # What stands under its own name is whole and right, at every moment.
            for path in (*(output / "masks").glob("[0-9a-f]*.png"), *(output / "overlays").glob("[0-9a-f]*.jpg")):
                assert path.read_bytes() == whole[str(path.relative_to(output))]
            for part in output.glob("part-*.parquet"):
                assert all((output / name).exists() for _, name, _ in listed(part))
        done = finish_scoring(start(settings.root, tmp_path / "in", output))
        resumed += 0 < done < IMAGES
        assert tree(output) == whole
        verify(output)
    assert hits >= 6
    assert resumed >= 2
