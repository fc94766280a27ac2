"""Killed while it retrains: a warm process that forks one retrain per point, kills it there and looks what is left.

Usage: python retrain_case.py CHECKOUT FOLDER POINTS SEED whole|registration|functions

CHECKOUT holds the recipe `shells-forest`, its imported images and an empty MLflow database. A point is the n-th time
that a stage changes something that outlives it (a file renamed, removed or synced, a transaction committed), and
whether the process dies just before or just after. The points are drawn from all that an undisturbed run does, every
stage in turn. With `functions` a point is the n-th call of a function of ours in a stage, before or after it.
Prints one JSON line for the undisturbed run, then one per point.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import json
import os
import pkgutil
import random
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import great_expectations  # noqa: F401 - all that is heavy is imported once, before the forks
import matplotlib.figure  # noqa: F401
import mlflow.onnx
import mlflow.store.model_registry.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_store
import mlflow.tracking.client
import onnxruntime  # noqa: F401
import sklearn.ensemble  # noqa: F401
import torch
from dvc.repo import Repo  # noqa: F401
from sqlalchemy.engine.default import DefaultDialect

import drillcore
from drillcore import registry
from drillcore.retrain.retraining import Retrain
from drillcore.runtime.model.served import resolve
from drillcore.settings import Settings
from drillcore.store import FeatureSpec, FeatureStore
from drillcore.store.index import read_index

MODEL = "shells-forest"
ENVIRONMENT = {"DRILLCORE_THREADS": "1", "DRILLCORE_WORKERS": "1", "DRILLCORE_DEVICE": "cpu"}
RELEASE = ("register", "gate", "promote")
Point = tuple[str, int, str]
Watch = Callable[[Callable[[str], None]], None]


def main() -> None:
    checkout, folder, points, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    stages = RELEASE if sys.argv[5] == "registration" else None
    torch.set_num_threads(1)
    look_out = watch_functions if sys.argv[5] == "functions" else watch
    if stages:
        begun = folder / "evaluated"
        shutil.copytree(checkout, begun, symlinks=True)
        require(in_child(lambda: run(begun, until="evaluate")) == 0, "the stages before registration failed")
        checkout = begun
    whole, counts = folder / "whole", folder / "counts.json"
    shutil.copytree(checkout, whole, symlinks=True)
    require(in_child(lambda: count(whole, stages, counts, look_out)) == 0, "the undisturbed run failed")
    told = looked(whole, folder / "whole.json")
    print(json.dumps({"whole": told, "counts": json.loads(counts.read_text())}), flush=True)
    for number, point in enumerate(draw(json.loads(counts.read_text()), points, seed)):
        mine = folder / str(number)
        shutil.copytree(checkout, mine, symlinks=True)
        status = in_child(lambda mine=mine, point=point: run(mine, at=point, look_out=look_out))
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        again = in_child(lambda mine=mine: run(mine))
        told = looked(mine, folder / f"{number}.json") if again == 0 else {}
        print(json.dumps({"point": point, "killed": killed, "again": again, **told}), flush=True)
        shutil.rmtree(mine)


def draw(counts: dict[str, int], points: int, seed: int) -> list[Point]:
    """Every stage that changes something in turn, begun at a random one; the place within it at random."""
    chance = random.Random(seed)
    names = sorted(counts)
    chance.shuffle(names)
    turns = [names[number % len(names)] for number in range(points)]
    return [(name, chance.randint(1, counts[name]), chance.choice(("before", "after"))) for name in turns]


def settings_of(root: Path) -> Settings:
    return Settings.load(root, env=ENVIRONMENT)


def run(root: Path, *, until: str = "promote", at: Point | None = None, look_out: Watch | None = None) -> None:
    with Retrain(settings_of(root), MODEL, promote=True) as work:
        stage_now = [""]
        if at is not None and look_out is not None:
            seen = [0]

            def kill(moment: str) -> None:
                if stage_now[0] == at[0]:
                    seen[0] += moment == "before"
                    if seen[0] >= at[1] and moment == at[2]:
                        os.kill(os.getpid(), signal.SIGKILL)

            look_out(kill)
        for stage in work.stages():
            stage_now[0] = stage.name
            work.run(stage)
            if at is not None and stage.name == at[0]:
                # The lease is renewed by the clock: the last of the counted moments may not come again.
                os.kill(os.getpid(), signal.SIGKILL)
            if stage.name == until != "promote":
                return
        work.summary()


def count(root: Path, stages: tuple[str, ...] | None, target: Path, look_out: Watch) -> None:
    found: Counter[str] = Counter()
    with Retrain(settings_of(root), MODEL, promote=True) as work:
        stage_now = [""]

        def note(moment: str) -> None:
            if moment == "before" and (stages is None or stage_now[0] in stages):
                found[stage_now[0]] += 1

        look_out(note)
        for stage in work.stages():
            stage_now[0] = stage.name
            work.run(stage)
        stage_now[0] = "summary"
        work.summary()
    found.pop("summary", None)
    target.write_text(json.dumps(found))


def watched(function: Callable[..., Any], note: Callable[[str], None]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*values: Any, **named: Any) -> Any:
        note("before")
        result = function(*values, **named)
        note("after")
        return result

    return wrapper


def watch_functions(note: Callable[[str], None]) -> None:
    """Call `note` before and after each function of ours, in whichever module it is looked up; compiled ones stay."""
    names = [found.name for found in pkgutil.walk_packages(drillcore.__path__, "drillcore.") if "cli" not in found.name]
    modules = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    ours: dict[FunctionType, Callable[..., Any]] = {}
    for module in modules:
        for name, value in list(vars(module).items()):
            if isinstance(value, FunctionType) and value.__module__.startswith("drillcore."):
                setattr(module, name, ours.setdefault(value, watched(value, note)))


def watch(note: Callable[[str], None]) -> None:
    """Call `note` before and after everything that outlives the process."""
    for name in ("replace", "rename", "unlink", "link", "symlink", "mkdir", "rmdir", "fsync"):
        setattr(os, name, watched(getattr(os, name), note))
    DefaultDialect.do_commit = watched(DefaultDialect.do_commit, note)  # type: ignore[method-assign]


def looked(root: Path, target: Path) -> dict[str, Any]:
    require(in_child(lambda: target.write_text(json.dumps(look(root)))) == 0, "the end state cannot be read")
    told: dict[str, Any] = json.loads(target.read_text())
    return told


def look(root: Path) -> dict[str, Any]:
    """All of the end state that must not depend on the kill."""
    settings = settings_of(root)
    client = mlflow.MlflowClient(settings.resolved_tracking_uri, settings.resolved_tracking_uri)
    experiment = client.get_experiment_by_name(MODEL)
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    versions = registry.versions(settings, MODEL)
    served = resolve(settings, MODEL)
    peeked = Retrain(settings, MODEL, promote=True).peek()
    return {
        "onnx": [row.sha256 for row in versions],
        "metadata": [row.metadata for row in versions],
        "tags": [{key: value for key, value in row.tags.items() if key != "data_dvc"} for row in versions],
        "served": [served.version, served.sha256],
        "aliases": registry.aliases(settings, MODEL),
        "mlflow aliases": {key: int(value) for key, value in client.get_registered_model(MODEL).aliases.items()},
        "moves": [[move.alias, move.version, move.status] for move in registry.history(settings, MODEL)],
        "runs": [row.info.status for row in runs],
        "run of the version": [row.run_id in {one.info.run_id for one in runs} for row in versions],
        "params": sorted(runs[0].data.params) if runs else [],
        "metrics": sorted(runs[0].data.metrics) if runs else [],
        "artifacts": sorted(item.path for item in client.list_artifacts(runs[0].info.run_id)) if runs else [],
        "store": stored(settings),
        "unchanged": peeked and peeked.status,
        "digest": peeked and peeked.data_digest,
    }


def stored(settings: Settings) -> dict[str, str]:
    """Return a digest over keys and rows of each table of the store; shards may be cut otherwise."""
    found = {}
    for folder in sorted((settings.state / "features").iterdir()):
        if not (folder / "spec.json").is_file():
            continue
        spec = json.loads((folder / "spec.json").read_text())
        store = FeatureStore(folder.parent, FeatureSpec(**spec | {"taps": tuple(spec["taps"])}))
        keys = sorted(read_index(folder / "index.parquet").index)
        require(not store.missing(keys).any(), "rows are missing")
        found[folder.name] = hashlib.sha256("".join(keys).encode() + store.read(keys).tobytes()).hexdigest()
    return found


def in_child(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        with contextlib.redirect_stdout(sys.stderr):
            try:
                work()
                os._exit(0)
            except BaseException as error:  # noqa: BLE001 - a child of a fork must not return
                import traceback

                traceback.print_exception(error)
                sys.stderr.flush()
                os._exit(1)
    return os.waitpid(child, 0)[1]


def require(fact: bool, text: str) -> None:
    if not fact:
        raise SystemExit(text)


if __name__ == "__main__":
    main()
