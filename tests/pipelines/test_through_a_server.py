"""A real server, real pools, a real worker: a schedule's run, killed three times, ends as one that nobody disturbed."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from server_case import (
    FINAL,
    answer,
    bare_environment,
    drillcore,
    free_port,
    kill_all,
    running,
    start_run,
    state_of,
    wait_for_line,
    wait_for_schedule,
    wait_until,
)
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


def make_checkout(root: Path, source: Path) -> tuple[Path, dict[str, str]]:
    (root / "models").mkdir(parents=True)
    (root / "models" / f"{MODEL}.yaml").write_text(RECIPE)
    (root / "prefect.yaml").write_text(PREFECT_YAML)
    env = bare_environment() | {
        "DRILLCORE_ROOT": str(root),
        "DRILLCORE_THREADS": "1",
        "DRILLCORE_WORKERS": "1",
        "DRILLCORE_DEVICE": "cpu",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    drillcore(root, "data", "import", "--layout", "classes", "shells", str(source), env=env)
    return root, env


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
            run = start_run(api, DEPLOYMENT)
            ended = wait_until(api, run, *FINAL)
            assert (ended["type"], ended["name"]) == ("COMPLETED", "Promoted"), (ended, log.read_text()[-4000:])
            look_at_artifacts(api, run)
            look_at_logs(api, run)
            again = wait_until(api, start_run(api, DEPLOYMENT), *FINAL)
            assert (again["type"], again["name"]) == ("COMPLETED", "Unchanged"), again
            assert again["message"].startswith("nothing new")
        assert outcome(root, env) == outcome(plain, plain_env)


def kill_thrice(root: Path, env: dict[str, str], api: httpx.Client, log: Path) -> int:
    """Kill worker and run in three seeded stages; a worker that starts ends what was left. Returns how many hit."""
    generator = random.Random(59)
    hits = 0
    for number in sorted(generator.sample(range(len(STAGES)), 3)):
        seen = log.stat().st_size
        with running(root, "flows", "worker", "gpu", env=env, log=log) as worker:
            run = start_run(api, DEPLOYMENT)
            wait_for_line(log, seen, f" - {STAGES[number].name}: ")
            time.sleep(generator.uniform(0, 1))
            kill_all(worker)
        hits += state_of(api, run)["type"] == "RUNNING"
        # What the next worker does when it starts, and what frees the deployment's only slot.
        with running(root, "flows", "worker", "gpu", env=env, log=log):
            wait_until(api, run, *FINAL, seconds=240)
    return hits


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
