"""kill -9 at random points of scoring, as a process: run again, the output is that of an undisturbed run."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from scoring_case import serve_tiny, tree, write_images
from scoring_process import finish_scoring, read_journal, start_scoring

from drillcore.runtime.batch.receipt import verify
from drillcore.settings import Settings

IMAGES, SHARD_ROWS = 1200, 32
SHARDS = -(-IMAGES // SHARD_ROWS)


def start(root: Path, source: Path, output: Path) -> subprocess.Popen[bytes]:
    return start_scoring(root, "tiny", source, output, SHARD_ROWS, workers=2, threads=2)


@pytest.fixture
def case(settings: Settings, tmp_path: Path) -> tuple[Path, Path, dict[str, bytes]]:
    serve_tiny(settings)
    write_images(tmp_path / "in", IMAGES, bad=(1, 64, 300, 1199))
    finish_scoring(start(settings.root, tmp_path / "in", tmp_path / "whole"))
    assert verify(tmp_path / "whole").set_aside == 4
    return settings.root, tmp_path / "in", tree(tmp_path / "whole")


def kill_and_finish(root: Path, source: Path, output: Path, shards: list[int]) -> tuple[int, int]:
    """Kill a run once so many shards are done, for each count; then let one finish.

    Kills follow progress and not the clock, so that they hit on a quiet and on a busy machine.

    Returns:
        kills that hit, and inputs the last run found done.
    """
    hits = 0
    for count in shards:
        process = start(root, source, output)
        while process.poll() is None and len(read_journal(output)) < count:
            time.sleep(0.0005)
        children = psutil.Process(process.pid).children() if process.poll() is None else []
        process.send_signal(signal.SIGKILL)
        hits += process.wait() == -signal.SIGKILL
        assert process.stdout is not None
        process.stdout.close()
        # What is there under a final name is whole, at every moment.
        for line in read_journal(output):
            assert (output / line["part"][0]).stat().st_size > 0
        assert not (output / "receipt.json").exists() or verify(output)
        psutil.wait_procs(children, timeout=60)
        assert not any(child.is_running() for child in children), "a decoder was left behind"
    return hits, finish_scoring(start(root, source, output))


def check(case: tuple[Path, Path, dict[str, bytes]], folder: Path, points: int, seed: int) -> None:
    root, source, whole = case
    generator = random.Random(seed)
    hits = resumed = 0
    for number in range(points):
        output = folder / f"out-{number}"
        hit, done = kill_and_finish(root, source, output, [generator.randrange(SHARDS - 4)])
        hits += hit
        resumed += 0 < done < IMAGES
        assert tree(output) == whole
        assert verify(output).inputs == IMAGES
    # A test whose kills all came too late, or before the first part, would prove nothing.
    assert hits >= points // 2
    assert resumed >= 1


@pytest.mark.slow
def test_a_killed_run_ends_as_an_undisturbed_one(case: tuple[Path, Path, dict[str, bytes]], tmp_path: Path) -> None:
    check(case, tmp_path, points=3, seed=3)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_random_kills(case: tuple[Path, Path, dict[str, bytes]], tmp_path: Path) -> None:
    check(case, tmp_path, points=20, seed=20)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_that_is_killed_again_and_again_ends(case: tuple[Path, Path, dict[str, bytes]], tmp_path: Path) -> None:
    root, source, whole = case
    hits, _ = kill_and_finish(root, source, tmp_path / "out", sorted(random.Random(7).sample(range(SHARDS - 4), 5)))
    assert hits >= 3
    assert tree(tmp_path / "out") == whole
