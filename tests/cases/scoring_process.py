"""Batch scoring as a process of its own, which can be killed at any moment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
from drillcore.runtime.model.served import resolve
from drillcore.settings import Settings
from pathlib import Path
from drillcore_serving.batch.score_batch import score
from drillcore_serving.batch.writing.dense_files import DenseOptions
root, model, source, output, rows, scheduler = sys.argv[1:7]
settings = Settings.load(Path(root))
more = {"options": DenseOptions(overlay=True)} if model == "tiny-dense" else {}
if scheduler:
    from drillcore.cluster.address import Cluster
    more |= {"engine": "dask", "cluster": Cluster(scheduler)}
print("ready", flush=True)
more |= {"device": "cpu", "shard_rows": int(rows)}
print(score(settings, resolve(settings, model), Path(source), Path(output), **more).resumed)
"""


def start_scoring(
    root: Path,
    model: str,
    source: Path,
    output: Path,
    rows: int,
    *,
    scheduler: str = "",
    workers: int = 1,
    threads: int = 1,
    **streams: Any,
) -> subprocess.Popen[bytes]:
    """Start scoring and wait until it begins.

    Args:
        root: of the checkout, where the model is served.
        model: its name, "tiny" or "tiny-dense", which has overlays too.
        source: folder of images.
        output: folder.
        rows: of a part.
        scheduler: address of a Dask scheduler; "": the local engine.
        workers: that decode.
        threads: of the model.
        streams: further arguments of the process.
    """
    command = [sys.executable, "-c", PROGRAM, str(root), model, str(source), str(output), str(rows), scheduler]
    environment = os.environ | {"DRILLCORE_WORKERS": str(workers), "DRILLCORE_THREADS": str(threads)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=CHECKOUT, **streams)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def finish_scoring(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end and return how many inputs were found done."""
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 0
    return int(out)


def read_journal(output: Path) -> list[dict[str, Any]]:
    """Return the whole lines of an unfinished output's journal."""
    try:
        lines = (output / ".progress").read_bytes().split(b"\n")[1:-1]
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]
