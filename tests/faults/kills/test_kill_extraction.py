"""kill -9 at random points of extraction, as a process: run again, the same rows, 2 % done twice at most."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drillcore.representations.activations.extraction import BATCH

IMAGES = 4_800
PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from drillcore.backbones.networks.plankton_cnn import build_plankton_cnn
from drillcore.digests import sha256_bytes
from drillcore.representations.activations.extraction import extract
from drillcore.settings import Settings
root, count = Path(sys.argv[1]), int(sys.argv[2])
settings = Settings.load(root)
images = np.random.default_rng(0).integers(0, 256, (97, 30, 40, 1), dtype=np.uint8)
backbone = build_plankton_cnn("cnn1", 12)
log = (root / "log").open("a", buffering=1)
inner = backbone.rows
def rows(x, taps, *by):
    log.write(f"{len(x)}\\n")
    print("batch", flush=True)
    return inner(x, taps, *by)
backbone.rows = rows
def load(row):
    image = images[row % 97].copy()
    image[0, 0] = row % 256
    return image
print("ready", flush=True)
table = extract(backbone, ["layer2"], [f"{row:064x}" for row in range(count)], load, settings)
print(sha256_bytes(table.rows.tobytes()), table.extracted)
"""


def start(root: Path) -> subprocess.Popen[bytes]:
    root.mkdir(exist_ok=True)
    environment = os.environ | {"DRILLCORE_THREADS": "1", "DRILLCORE_WORKERS": "2", "DRILLCORE_DEVICE": "cpu"}
    command = [sys.executable, "-c", PROGRAM, str(root), str(IMAGES)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def finish(process: subprocess.Popen[bytes]) -> tuple[str, int]:
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 0
    digest, extracted = out.decode().split()[-2:]
    return digest, int(extracted)


def forwarded(root: Path) -> int:
    """Images that passed the backbone in all runs of a folder; a line cut by the kill does not count."""
    return sum(int(line) for line in (root / "log").read_text().splitlines() if line)


def check(folder: Path, points: int, seed: int) -> None:
    process = start(folder / "whole")
    began = time.monotonic()
    whole, extracted = finish(process)
    seconds = time.monotonic() - began
    assert extracted == IMAGES == forwarded(folder / "whole")
    generator = random.Random(seed)
    hits = resumed = 0
    for number in range(points):
        root = folder / f"run-{number}"
        process = start(root)
        assert process.stdout is not None
        # Somewhere between two batches, however busy the machine is.
        batches = IMAGES // BATCH
        for _ in range(generator.randrange(batches)):
            process.stdout.readline()
        time.sleep(generator.uniform(0, 3 * seconds / batches))
        process.send_signal(signal.SIGKILL)
        hits += process.wait() == -signal.SIGKILL
        process.stdout.close()
        digest, extracted = finish(start(root))
        assert digest == whole
        assert forwarded(root) <= IMAGES * 1.02
        resumed += 0 < extracted < IMAGES
        # Nothing half-written stays, and no shard that no key points at.
        assert not list((root / ".drillcore" / "features").rglob(".partial-*"))
    assert hits >= points // 2
    assert resumed >= 1


@pytest.mark.slow
def test_a_killed_extraction_ends_in_the_same_rows(tmp_path: Path) -> None:
    check(tmp_path, points=2, seed=2)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_twenty_random_kills_of_extraction(tmp_path: Path) -> None:
    check(tmp_path, points=20, seed=20)
