"""kill -9 of the driver or a worker at random points: run again, the output is that of an undisturbed run."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dask_case import cluster, worker_pids
from dense_case import serve_dense, write_scenes
from distributed import Client
from scoring_case import serve_tiny, tree, write_images
from scoring_process import finish_scoring, read_journal, start_scoring

from drillcore.runtime.batch.receipt import verify
from drillcore.settings import Settings
from drillcore_serving.batch.score_batch import score
from drillcore_serving.batch.writing.dense_files import DenseOptions

IMAGES, ROWS = 900, 12
SHARDS = -(-IMAGES // ROWS)
POINTS = int(os.environ.get("DRILLCORE_KILL_POINTS", "20"))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with (
        cluster(tmp_path_factory.mktemp("cluster")) as address,
        Client(address, timeout=60, set_as_default=False) as client,
    ):
        client.wait_for_workers(2, timeout=120)
        yield client


class Case:
    """An input, its undisturbed output by the local engine, and runs that are disturbed."""

    def __init__(self, settings: Settings, folder: Path, model: str, rows: int) -> None:
        self.root, self.folder, self.model, self.rows = settings.root, folder, model, rows
        if model == "tiny":
            served = serve_tiny(settings)
            write_images(folder / "in", IMAGES, bad=(1, 64, 300, IMAGES - 1))
            self.inputs, options = IMAGES, None
        else:
            served = serve_dense(settings)
            write_scenes(folder / "in", 120, bad=(7, 80))
            self.inputs, options = 120, DenseOptions(overlay=True)
        score(settings, served, folder / "in", folder / "whole", device="cpu", shard_rows=rows, options=options)
        self.whole = tree(folder / "whole")

    def disturb(self, client: Client, number: int, victim: str, shards: int) -> tuple[bool, int]:
        """Kill once so many shards are done; return whether it hit a run, and what the last run found done."""
        output = self.folder / f"out-{number}"
        arguments = (self.root, self.model, self.folder / "in", output, self.rows)
        address = client.scheduler.address
        process = start_scoring(*arguments, scheduler=address)
        while process.poll() is None and len(read_journal(output)) < shards:
            time.sleep(0.001)
        hit = process.poll() is None
        if victim == "driver":
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
            for line in read_journal(output):  # what is noted is there
                assert (output / line["part"][0]).stat().st_size > 0
            assert not (output / "receipt.json").exists() or verify(output)
            done = finish_scoring(start_scoring(*arguments, scheduler=address))
        else:
            pids = worker_pids(client)
            with contextlib.suppress(ProcessLookupError, IndexError):
                os.kill(pids[number % len(pids)], signal.SIGKILL)
            done = finish_scoring(process)
        assert tree(output) == self.whole
        assert verify(output).inputs == self.inputs
        return hit, done


def check(case: Case, client: Client, victims: list[str], seed: int) -> None:
    generator = random.Random(seed)
    shards = -(-case.inputs // case.rows)
    found = [case.disturb(client, n, victim, generator.randrange(shards - 3)) for n, victim in enumerate(victims)]
    # A test whose kills all came too late, or before the first part, would prove nothing.
    assert sum(hit for hit, _ in found) >= len(victims) // 2
    assert "driver" not in victims or any(0 < done < case.inputs for _, done in found)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_driver_or_worker_changes_nothing(settings: Settings, tmp_path: Path, client: Client) -> None:
    check(Case(settings, tmp_path, "tiny", ROWS), client, ["worker", "driver"], seed=3)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_random_kills(settings: Settings, tmp_path: Path, client: Client) -> None:
    victims = [random.Random(number).choice(["worker", "driver"]) for number in range(POINTS)]
    check(Case(settings, tmp_path, "tiny", ROWS), client, victims, seed=20)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_random_kills_of_a_dense_run(settings: Settings, tmp_path: Path, client: Client) -> None:
    victims = ["worker", "driver"] * (2 if POINTS >= 4 else 1)
    check(Case(settings, tmp_path, "tiny-dense", 4), client, victims, seed=8)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_scheduler_that_dies_is_one_line_and_the_run_goes_on_with_another(settings: Settings, tmp_path: Path) -> None:
    case = Case(settings, tmp_path, "tiny", ROWS)
    output = tmp_path / "out"
    arguments = (settings.root, "tiny", tmp_path / "in", output, ROWS)
    with cluster(tmp_path / "one") as address, Client(address, timeout=60, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=120)
        scheduler = client.run_on_scheduler(os.getpid)
        process = start_scoring(*arguments, scheduler=address, stderr=subprocess.PIPE)
        while process.poll() is None and len(read_journal(output)) < 3:
            time.sleep(0.001)
        os.kill(scheduler, signal.SIGKILL)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "DrillcoreError: the scheduler is gone" in said.decode().splitlines()[-1]
    with cluster(tmp_path / "two") as address:
        assert finish_scoring(start_scoring(*arguments, scheduler=address)) >= 3 * ROWS
    assert tree(output) == case.whole
