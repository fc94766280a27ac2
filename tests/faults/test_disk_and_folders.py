"""Full disks, read-only folders, a server that is gone, databases that are locked or damaged: one clear line each.

The last good state stays, and the next run after mending succeeds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from shells import write_shells

from drillcore.cli.failures import explain
from drillcore.datasets.landing import import_dataset
from drillcore.errors import DataError, DrillcoreError, InputError, RegistryError, StateError, StoreError
from drillcore.retrain.retraining import Retrain
from drillcore.runtime.batch.receipt import RECEIPT, verify
from drillcore.runtime.model.served import put_blob, resolve, write_pointer
from drillcore.settings import Settings
from drillcore.store import FeatureSpec, FeatureStore, StoreWriter
from drillcore_serving.batch.score_batch import score

Retrained = tuple[Settings, dict[str, Any]]


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a file system of little room at `folder`; skips where this process may not."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no `mount` here")
    if done.returncode:
        pytest.skip(f"only root may mount a small disk: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(folder)], check=True)


def one_line(error: BaseException) -> str:
    """What the command would say."""
    text = explain(error) if isinstance(error, OSError) else str(error)
    assert text
    assert "\n" not in text
    return text


@pytest.fixture
def scoring(settings: Settings, tiny_models: ModuleType, tmp_path: Path) -> tuple[Any, Path]:
    write_pointer(settings, "tiny", 1, put_blob(settings, tiny_models.write_tiny_model(tmp_path / "tiny.onnx")))
    source = tmp_path / "in"
    source.mkdir()
    rng = np.random.default_rng(0)
    for number in range(400):
        Image.fromarray(rng.integers(0, 256, (6, 7 + number % 9), np.uint8)).save(source / f"{number:04d}.png")
    return resolve(settings, "tiny"), source


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_disk_that_fills_up_while_scoring(settings: Settings, scoring: tuple[Any, Path], tmp_path: Path) -> None:
    model, source = scoring
    score(settings, model, source, tmp_path / "whole", shard_rows=50)
    with small_disk(tmp_path / "disk", "64k") as disk:
        output = disk / "out"
        with pytest.raises(DrillcoreError, match=r"No space left.*make room and run the same again") as caught:
            score(settings, model, source, output, shard_rows=50)
        one_line(caught.value)
        assert list(output.glob("part-*"))
        assert not (output / RECEIPT).exists()
        remount(disk, "size=4m")
        result = score(settings, model, source, output, shard_rows=50)
        assert result.resumed > 0
        verify(output)
        assert contents(output) == contents(tmp_path / "whole")


def test_a_file_size_limit_while_scoring(settings: Settings, scoring: tuple[Any, Path], tmp_path: Path) -> None:
    """The same without root: the process may not write files of more than 2,000 bytes."""
    program = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from drillcore.errors import DrillcoreError\n"
        "from drillcore.runtime.model.served import resolve\n"
        "from drillcore.settings import Settings\n"
        "from drillcore_serving.batch.score_batch import score\n"
        "import onnxruntime, pyarrow.parquet\n"
        "root, source, output = map(Path, sys.argv[1:])\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "settings = Settings.load(root, env={'DRILLCORE_THREADS': '1', 'DRILLCORE_WORKERS': '1'})\n"
        "try:\n"
        "    score(settings, resolve(settings, 'tiny'), source, output, shard_rows=50)\n"
        "except DrillcoreError as error:\n"
        "    print(error)\n"
    )
    _, source = scoring
    output = tmp_path / "out"
    command = [sys.executable, "-c", program, str(settings.root), str(source), str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert "File too large" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""
    assert not (output / RECEIPT).exists()
    score(settings, scoring[0], source, output, shard_rows=50)
    verify(output)


def test_a_read_only_output(settings: Settings, scoring: tuple[Any, Path], tmp_path: Path) -> None:
    model, source = scoring
    with small_disk(tmp_path / "disk", "1m") as disk:
        remount(disk, "ro")
        with pytest.raises(InputError, match="a folder that can be written is expected") as caught:
            score(settings, model, source, disk / "out")
        one_line(caught.value)
        remount(disk, "rw")
        assert score(settings, model, source, disk / "out").scored == 400


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_an_output_without_permission(settings: Settings, scoring: tuple[Any, Path], tmp_path: Path) -> None:
    model, source = scoring
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(InputError, match="a folder that can be written is expected"):
        score(settings, model, source, tmp_path / "closed" / "out")


def fill(store: FeatureStore, keys: list[str], rows: np.ndarray[Any, Any]) -> None:
    with StoreWriter(store, shard_images=200) as writer:
        for start in range(0, len(rows), 100):
            writer.add(keys[start : start + 100], rows[start : start + 100])


def test_the_store_on_a_full_and_on_a_read_only_disk(tmp_path: Path) -> None:
    spec = FeatureSpec(weights="w" * 64, taps=("layer3",), preprocessing={}, dtype="float32")
    rows = np.random.default_rng(0).random((4000, 16)).astype(np.float32)
    keys = [f"{number:064x}" for number in range(len(rows))]
    with small_disk(tmp_path / "disk", "128k") as disk:
        store = FeatureStore(disk, spec)
        with pytest.raises(StoreError, match="No space left") as caught:
            fill(store, keys, rows)
        one_line(caught.value)
        remount(disk, "size=4m")
        with StoreWriter(FeatureStore(disk, spec), shard_images=200) as writer:
            there = ~FeatureStore(disk, spec).missing(keys)
            assert there.any()
            left = np.flatnonzero(~there)
            writer.add([keys[number] for number in left], rows[left])
        assert np.array_equal(FeatureStore(disk, spec).read(keys), rows)
        remount(disk, "ro")
        with pytest.raises(StoreError, match="Read-only"), StoreWriter(FeatureStore(disk, spec)):
            pass
        assert np.array_equal(FeatureStore(disk, spec).read(keys), rows)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fails(settings: Settings, kinds: tuple[type[BaseException], ...], part: str) -> None:
    """A retrain ends in one line, and champion, pointer and served file are as they were."""
    before = (settings.served / "shells-forest.json").read_bytes()
    with pytest.raises(kinds) as caught, Retrain(settings, "shells-forest", promote=True) as work:
        work.run_all().to_dict()
    assert part in one_line(caught.value)
    assert (settings.served / "shells-forest.json").read_bytes() == before
    assert resolve(settings, "shells-forest").version == 1


def test_a_retrain_meets_one_fault_after_the_other(
    retrained: Retrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, summary = retrained
    import_dataset(settings, "shells", write_shells(tmp_path / "more", 1, first=100), layout="classes", append=True)
    runs = Path(summary["folder"]).parent

    with small_disk(runs, "16k"):
        fails(settings, (OSError, DrillcoreError), "no space left")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    away = dataclasses.replace(settings, tracking_uri=f"http://127.0.0.1:{closed_port()}")
    fails(away, (RegistryError,), "is the server up")

    # Not the real file: MLflow keeps it open in this process, a command is a process of its own.
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    fails(dataclasses.replace(settings, tracking_uri=f"sqlite:///{broken}"), (RegistryError,), "MLflow at sqlite")
    state = settings.state / "state.db"
    kept = shutil.copytree(settings.state, tmp_path / "kept", ignore=lambda *_: {"runs", "artifacts", "dvc", "landing"})
    for name in ("state.db-wal", "state.db-shm"):
        (settings.state / name).unlink(missing_ok=True)
    state.write_bytes(b"no database" * 300)
    fails(settings, (StateError,), "restore it from a backup")
    for path in Path(kept).glob("state.db*"):
        shutil.copyfile(path, settings.state / path.name)

    with Retrain(settings, "shells-forest", promote=True) as work:
        done = work.run_all().to_dict()
    assert done["version"] == 2
    reused = {row["stage"] for row in done["stages"] if row["reused"]}
    assert {"fit", "export", "parity", "evaluate"} <= reused, "what was finished before a fault is not done again"
    from drillcore import registry

    assert [row.version for row in registry.versions(settings, "shells-forest")] == [2, 1]


def test_an_emptied_landing_zone_changes_nothing(retrained: Retrained) -> None:
    settings, _ = retrained
    shutil.rmtree(settings.landing / "shells")
    fails(settings, (DataError,), "was emptied")
    (settings.landing).rename(settings.state / "gone")
    fails(settings, (DataError,), "was emptied")
