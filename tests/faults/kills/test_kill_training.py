"""kill -9 at random points of CNN training, as a process: run again, the weights are those of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drillcore.digests import sha256_file

EPOCHS = 8
PROGRAM = """
import sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from drillcore.backbones.networks.plankton_cnn import PlanktonCnn
from drillcore.backbones.training.epochs import Labelled, train
from drillcore.backbones.training.training_plan import TrainingPlan
folder = Path(sys.argv[1])
generator = torch.Generator().manual_seed(0)
x, y = torch.rand(300, 1, 28, 28, generator=generator), torch.randint(12, (300,), generator=generator)
module = PlanktonCnn("cnn1", 12, seed=0)
plan = TrainingPlan(epochs=int(sys.argv[2]), batch=64, patience=0, augment="rotate")
print("ready", flush=True)
result = train(module, plan, Labelled(x[:250], y[:250]), Labelled(x[250:], y[250:]), seed=3, device="cpu", threads=1,
               checkpoint=folder / "checkpoint.safetensors", on_epoch=lambda record: print("epoch", flush=True))
save_file(module.state_dict(), folder / "weights.safetensors")
print(result.resumed_from)
"""


def start(folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", PROGRAM, str(folder), str(EPOCHS)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def finish(process: subprocess.Popen[bytes]) -> int:
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 0
    return int(out.split()[-1])


def check(folder: Path, points: int, seed: int) -> None:
    process = start(folder / "whole")
    began = time.monotonic()
    assert finish(process) == 0
    seconds = time.monotonic() - began
    whole = sha256_file(folder / "whole" / "weights.safetensors")
    generator = random.Random(seed)
    hits = resumed = 0
    for number in range(points):
        place = folder / f"run-{number}"
        process = start(place)
        assert process.stdout is not None
        # Somewhere between two checkpoints, however busy the machine is.
        for _ in range(generator.randrange(EPOCHS)):
            process.stdout.readline()
        time.sleep(generator.uniform(0, seconds / EPOCHS))
        process.send_signal(signal.SIGKILL)
        hits += process.wait() == -signal.SIGKILL
        process.stdout.close()
        resumed += finish(start(place)) > 0
        assert sha256_file(place / "weights.safetensors") == whole
    # A test whose kills all came too late, or before the first epoch, would prove nothing.
    assert hits >= points // 2
    assert resumed >= 1


@pytest.mark.slow
def test_a_killed_training_ends_in_the_same_weights(tmp_path: Path) -> None:
    check(tmp_path, points=2, seed=2)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_twenty_random_kills_of_training(tmp_path: Path) -> None:
    check(tmp_path, points=20, seed=20)
