"""A real server, real pools, a real worker: a schedule's run, killed three times, ends as one that nobody disturbed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from shells import RECIPE, write_shells

from drillcore.retrain.retraining import STAGES

MODEL, DEPLOYMENT = "shells-forest", "retrain/shells-forest"
PREFECT_YAML = """\
name: test
deployments:
  - name: shells-forest
    entrypoint: drillcore_pipelines.retrain.retrain
    parameters: {model: shells-forest, promote: true}
    schedules:
      - {cron: "0 3 1 1 *", timezone: UTC, active: true}
    concurrency_limit: {limit: 1, collision_strategy: CANCEL_NEW}
    work_pool: {name: gpu}
"""
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def drillcore(root: Path, *arguments: str, env: dict[str, str]) -> str:
    command = [sys.executable, "-m", "drillcore", *arguments]
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def make_checkout(root: Path, source: Path) -> tuple[Path, dict[str, str]]:
    (root / "models").mkdir(parents=True)
    (root / "models" / f"{MODEL}.yaml").write_text(RECIPE)
    (root / "prefect.yaml").write_text(PREFECT_YAML)
    own = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DRILLCORE_", "MLFLOW_"))
    }
    env = own | {
        "DRILLCORE_ROOT": str(root),
        "DRILLCORE_THREADS": "1",
        "DRILLCORE_WORKERS": "1",
        "DRILLCORE_DEVICE": "cpu",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    drillcore(root, "data", "import", "--layout", "classes", "shells", str(source), env=env)
    return root, env


@contextlib.contextmanager
def running(root: Path, *arguments: str, env: dict[str, str], log: Path) -> Iterator[psutil.Process]:
    """Run a command and all it starts; nothing of it is left behind."""
    with log.open("ab") as stream:
        process = psutil.Popen(
            [sys.executable, "-m", "drillcore", *arguments], cwd=root, env=env, stdout=stream, stderr=stream
        )
        try:
            yield process
        finally:
            kill_all(process)


def kill_all(process: psutil.Process) -> None:
    """Kill -9 a process and everything below it, as a machine that loses its power does."""
    family = []
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [process, *process.children(recursive=True)]
    for one in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGKILL)
    psutil.wait_procs(family, timeout=60)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answer(api: httpx.Client, method: str, path: str, **options: Any) -> Any:
    """Ask the server as Prefect's own client does: a 503 says that its database is busy, and to come again."""
    deadline = time.monotonic() + 60
    while (found := api.request(method, path, **options)).status_code == httpx.codes.SERVICE_UNAVAILABLE:
        assert time.monotonic() < deadline, f"{path}: the server was busy for a minute"
        time.sleep(0.5)
    return found.raise_for_status().json()


def start_run(api: httpx.Client) -> str:
    deployment = answer(api, "GET", f"deployments/name/{DEPLOYMENT}")["id"]
    return str(
        answer(api, "POST", f"deployments/{deployment}/create_flow_run", json={"state": {"type": "SCHEDULED"}})["id"]
    )


def state_of(api: httpx.Client, run: str) -> dict[str, Any]:
    state: dict[str, Any] = answer(api, "GET", f"flow_runs/{run}")["state"]
    return state


def wait_until(api: httpx.Client, run: str, *types: str, seconds: float = 300) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while (state := state_of(api, run))["type"] not in types:
        assert time.monotonic() < deadline, f"still {state['name']} ({state['message']}) after {seconds:.0f} s"
        time.sleep(0.2)
    return state


def outcome(root: Path, env: dict[str, str]) -> dict[str, Any]:
    """What a retrain leaves, without what names a moment or a place."""
    [version] = json.loads(drillcore(root, "models", MODEL, "--json", env=env))
    moves = json.loads(drillcore(root, "history", MODEL, "--json", env=env))
    return {
        "figures": {name: value for name, value in version.items() if isinstance(value, float)},
        "sha256": version["sha256"],
        "version": version["version"],
        "aliases": version["aliases"],
        "moves": [(move["alias"], move["version"], move["action"]) for move in moves],
        "served": json.loads((root / ".drillcore" / "served" / f"{MODEL}.json").read_text()),
    }


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_schedule_survives_kills(tmp_path: Path) -> None:
    source = write_shells(tmp_path / "source", 24)
    plain, plain_env = make_checkout(tmp_path / "plain", source)
    drillcore(plain, "retrain", MODEL, "--promote", env=plain_env)

    root, env = make_checkout(tmp_path / "checkout", source)
    port = free_port()
    env["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    log = tmp_path / "log"
    with (
        running(root, "flows", "server", "--port", str(port), env=env, log=log),
        httpx.Client(base_url=env["PREFECT_API_URL"], timeout=60) as api,
    ):
        drillcore(root, "flows", "setup", env=env)
        assert "is there" in drillcore(root, "flows", "setup", env=env)  # may be said again
        drillcore(root, "flows", "deploy", env=env)
        wait_for_schedule(api)
        hits = kill_thrice(root, env, api, log)
        assert hits >= 2, "most kills came too late: nothing is proven"
        with running(root, "flows", "worker", "gpu", env=env, log=log):
            run = start_run(api)
            ended = wait_until(api, run, *FINAL)
            assert (ended["type"], ended["name"]) == ("COMPLETED", "Promoted"), (ended, log.read_text()[-4000:])
            look_at_artifacts(api, run)
            look_at_logs(api, run)
            again = wait_until(api, start_run(api), *FINAL)
            assert (again["type"], again["name"]) == ("COMPLETED", "Unchanged"), again
            assert again["message"].startswith("nothing new")
        assert outcome(root, env) == outcome(plain, plain_env)


def wait_for_schedule(api: httpx.Client) -> None:
    """The server makes runs of the cron schedule by itself, seconds after the deployment."""
    deadline = time.monotonic() + 240
    asked = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    while not answer(api, "POST", "flow_runs/count", json=asked):
        assert time.monotonic() < deadline, "no run was scheduled"
        time.sleep(1)


def kill_thrice(root: Path, env: dict[str, str], api: httpx.Client, log: Path) -> int:
    """Kill worker and run in three seeded stages; a worker that starts ends what was left. Returns how many hit."""
    generator = random.Random(59)
    hits = 0
    for number in sorted(generator.sample(range(len(STAGES)), 3)):
        seen = log.stat().st_size
        with running(root, "flows", "worker", "gpu", env=env, log=log) as worker:
            run = start_run(api)
            wait_for_line(log, seen, f" - {STAGES[number].name}: ")
            time.sleep(generator.uniform(0, 1))
            kill_all(worker)
        hits += state_of(api, run)["type"] == "RUNNING"
        # What the next worker does when it starts, and what frees the deployment's only slot.
        with running(root, "flows", "worker", "gpu", env=env, log=log):
            wait_until(api, run, *FINAL, seconds=240)
    return hits


def wait_for_line(log: Path, seen: int, text: str, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while text.encode() not in log.read_bytes()[seen:]:
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.1)


def look_at_artifacts(api: httpx.Client, run: str) -> None:
    filter_ = {"artifacts": {"flow_run_id": {"any_": [run]}}}
    found = {row["key"]: row for row in answer(api, "POST", "artifacts/filter", json=filter_)}
    assert {f"{MODEL}-{name}" for name in ("figures", "verdict", "stages", "confusion")} <= set(found)
    figures = {row["figure"]: row["this"] for row in json.loads(found[f"{MODEL}-figures"]["data"])}
    assert 0 <= figures["accuracy"] <= 1
    assert "majority" in found[f"{MODEL}-verdict"]["data"]
    assert found[f"{MODEL}-confusion"]["data"].startswith("data:image/png;base64,")


def look_at_logs(api: httpx.Client, run: str) -> None:
    wanted = [f"{stage}: done in" for stage in ("ingest", "features", "fit", "export", "register", "promote")]
    asked = {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200}
    deadline = time.monotonic() + 60
    # Lines are sent in the background and may arrive after the run's last state.
    while True:
        rows = answer(api, "POST", "logs/filter", json=asked)
        text = "\n".join(row["message"] for row in rows)
        if all(line in text for line in wanted):
            return
        assert time.monotonic() < deadline, text
        time.sleep(0.5)
