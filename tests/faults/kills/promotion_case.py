"""Killed while it moves the champion: a warm process that forks one mover per point, kills it and looks what is left.

Usage: python promotion_case.py CHECKOUT FOLDER POINTS SEED promote|rollback

CHECKOUT holds a state folder with versions 1 and 2 of `tiny`, 1 the champion; for a rollback 1, 2 and 3 were it, one
after the other. For each point the state is copied to FOLDER and a child makes version 2 the champion with kill -9 at
that point: at the call of a named function, then at POINTS calls drawn from all the Python calls that the move makes.
Prints one JSON line per point.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import mlflow.store.model_registry.sqlalchemy_store
import mlflow.tracking.client
import psutil  # noqa: F401

from drillcore import registry
from drillcore.registry import alias_moves
from drillcore.settings import Settings
from drillcore.state import moves, open_state

NAMED = ("insert_move", "_follow", "finish_move")


def main() -> None:
    checkout, folder, points, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    settings = Settings.load(checkout, env={})
    total = count_calls(copy(settings, folder / "count"), folder / "calls")
    draw = random.Random(seed)
    chosen: list[str | int] = [*NAMED, *sorted(draw.sample(range(1, total + 1), points))]
    for number, point in enumerate(chosen):
        mine = copy(settings, folder / str(number))
        status = in_child(lambda mine=mine, point=point: move_until(mine, point))
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        report = folder / f"{number}.json"
        in_child(lambda mine=mine, report=report: inspect(mine, report))
        told = json.loads(report.read_text()) if report.exists() else {}
        print(json.dumps({"point": point, "of": total, "killed": killed, **told}), flush=True)


def copy(settings: Settings, target: Path) -> Settings:
    shutil.copytree(settings.state, target, ignore=shutil.ignore_patterns("artifacts", "served"))
    # The artifacts stay where they are: an alias does not touch them.
    return dataclasses.replace(settings, state=target)


def in_child(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - a child of a fork must not return
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return os.waitpid(child, 0)[1]


def count_calls(settings: Settings, target: Path) -> int:
    def work() -> None:
        calls = 0

        def count(_frame: FrameType, event: str, _argument: Any) -> None:
            nonlocal calls
            calls += event == "call"

        sys.setprofile(count)
        move(settings)
        sys.setprofile(None)
        target.write_text(str(calls))

    in_child(work)
    return int(target.read_text())


def move(settings: Settings) -> None:
    if sys.argv[5] == "promote":
        registry.promote(settings, "tiny", 2)
    elif registry.aliases(settings, "tiny")["champion"] != 2:
        registry.rollback(settings, "tiny")


def move_until(settings: Settings, point: str | int) -> None:
    if isinstance(point, str):
        setattr(alias_moves, point, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
    else:
        calls = 0

        def kill(_frame: FrameType, event: str, _argument: Any) -> None:
            nonlocal calls
            calls += event == "call"
            if calls == point:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(kill)
    move(settings)


def inspect(settings: Settings, report: Path) -> None:
    before = [move.version for move in moves(open_state(settings), "tiny", "champion")]
    registry.reconcile(settings, "tiny")
    after = {
        "written": before,
        "champion": registry.aliases(settings, "tiny")["champion"],
        "mlflow": in_mlflow(settings),
    }
    after["statuses"] = [move.status for move in registry.history(settings, "tiny", "champion")]
    move(settings)  # again: whatever was left, it can be done now
    after["again"] = [registry.aliases(settings, "tiny")["champion"], in_mlflow(settings)]
    after["moves"] = [move.version for move in registry.history(settings, "tiny", "champion")]
    report.write_text(json.dumps(after))


def in_mlflow(settings: Settings) -> int:
    client = mlflow.MlflowClient(settings.resolved_tracking_uri, settings.resolved_tracking_uri)
    return int(client.get_registered_model("tiny").aliases["champion"])


if __name__ == "__main__":
    main()
