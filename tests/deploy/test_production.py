"""The production set-up with its real parts, each killed once as it works: nothing is lost or done twice.

PostgreSQL under MLflow, Prefect and the state database; S3 under artifacts and data versions; a worker for each pool;
passwords on all of it. moto keeps its S3 in memory, so that what is killed of it is its door.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from postgresql_case import PostgreSQL, postgresql
from s3_case import S3
from server_case import (
    FINAL,
    answer,
    bare_environment,
    drillcore,
    free_port,
    kill_all,
    start_run,
    wait_for_line,
    wait_for_schedule,
    wait_until,
)
from shells import RECIPE, write_shells

MODEL, FIRST = "shells-forest", "landing-0"
INGEST, RETRAIN, SCORE, INBOX = "ingest/shells", f"retrain/{MODEL}", f"score/{MODEL}-archive", f"score/{MODEL}"
# Each part, and the stage of a retrain at which it is killed; a run that was hit is gone on with at the next.
KILLS = (("gpu", "features"), ("postgres", "fit"), ("prefect", "export"), ("s3", "evaluate"), ("mlflow", "evaluate"))
GOOD = ("Promoted", "Refused")  # equal to the champion on few images is not better
FLOWS = """\
name: production
definitions:
  one: &one
    concurrency_limit: {limit: 1, collision_strategy: CANCEL_NEW}
deployments:
  - name: shells
    entrypoint: drillcore_pipelines.ingest.ingest
    parameters: {dataset: shells}
    work_pool: {name: cpu}
    <<: *one
  - name: shells-forest
    entrypoint: drillcore_pipelines.retrain.retrain
    parameters: {model: shells-forest, promote: true}
    schedules:
      - {cron: "0 3 1 1 *", timezone: UTC, active: true}
    triggers:
      - enabled: true
        match: {prefect.resource.id: drillcore.dataset.shells}
        expect: [drillcore.data]
    work_pool: {name: gpu}
    <<: *one
  - name: shells-forest-archive
    entrypoint: drillcore_pipelines.score.score
    parameters: {model: shells-forest, source: ARCHIVE, output: "s3://scored/archive-{version}"}
    triggers:
      - enabled: true
        match: {prefect.resource.id: drillcore.model.shells-forest}
        expect: [drillcore.promotion]
    work_pool: {name: cpu}
    <<: *one
  - name: shells-forest
    entrypoint: drillcore_pipelines.score.score
    parameters: {model: shells-forest}
    work_pool: {name: cpu}
    <<: *one
"""


class Process:
    """One of drillcore's or MLflow's programs, which may be killed and started again."""

    def __init__(self, stack: contextlib.ExitStack, root: Path, words: list[str], env: Mapping[str, str], log: Path):
        self._words, self._options = words, {"cwd": root, "env": dict(env)}
        self.log = log
        self._stream = stack.enter_context(log.open("ab"))
        stack.callback(self.kill)
        self.start()

    def start(self) -> None:
        self._process = psutil.Popen(self._words, stdout=self._stream, stderr=self._stream, **self._options)

    def kill(self) -> None:
        kill_all(self._process)


class Production:
    """The parts by name, and what commands need in their environment."""

    def __init__(self, stack: contextlib.ExitStack, folder: Path, postgres: PostgreSQL) -> None:
        self._stack, self._folder = stack, folder
        self.root = folder / "checkout"
        s3 = S3()
        stack.callback(s3.kill)
        port, tracking_port = free_port(), free_port()
        self.env = bare_environment() | {
            "DRILLCORE_ROOT": str(self.root),
            "DRILLCORE_TRACKING_URI": f"http://127.0.0.1:{tracking_port}",
            "DRILLCORE_STATE_URL": postgres.make("state"),
            "DRILLCORE_ARTIFACT_ROOT": "s3://models/",
            "DRILLCORE_DVC_REMOTE": "s3://data/",
            "DRILLCORE_THREADS": "1",
            "DRILLCORE_WORKERS": "1",
            "DRILLCORE_DEVICE": "cpu",
            "MLFLOW_TRACKING_USERNAME": "drill",
            "MLFLOW_TRACKING_PASSWORD": "another-password",
            **s3.environment,
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_API_AUTH_STRING": "drill:a-third-password",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
        }
        for bucket in ("models", "data", "scored"):
            s3.make(bucket)
        self.parts: dict[str, Any] = {"postgres": postgres, "s3": s3}
        self.parts["mlflow"] = self._mlflow(postgres, tracking_port)
        self.parts["prefect"] = self._drillcore(
            "prefect",
            *("flows", "server", "--port", str(port)),
            PREFECT_SERVER_DATABASE_CONNECTION_URL=postgres.make("prefect", "asyncpg"),
            PREFECT_SERVER_API_AUTH_STRING=self.env["PREFECT_API_AUTH_STRING"],
        )

    def start_workers(self) -> None:
        for pool in ("cpu", "gpu"):
            self.parts[pool] = self._drillcore(pool, "flows", "worker", pool)

    def restart(self, name: str) -> None:
        """Kill a part and start it again; returns when it answers."""
        self.parts[name].kill()
        self.start_again(name)

    def start_again(self, name: str) -> None:
        self.parts[name].start()
        self.wait_for_servers()

    def wait_for_servers(self) -> None:
        wait_for_answer(self.env["DRILLCORE_TRACKING_URI"] + "/health")
        wait_for_answer(self.env["PREFECT_API_URL"] + "/ready", auth=self.prefect_login)

    @property
    def tracking(self) -> str:
        return self.env["DRILLCORE_TRACKING_URI"] + "/api/2.0/mlflow"

    @property
    def prefect_login(self) -> tuple[str, str]:
        user, _, password = self.env["PREFECT_API_AUTH_STRING"].partition(":")
        return user, password

    def land(self, source: Path) -> None:
        land(self.root, self.env, source)

    def champion(self) -> int:
        versions = json.loads(self.drillcore("models", MODEL, "--json"))
        return next(int(version["version"]) for version in versions if "champion" in version["aliases"])

    def drillcore(self, *arguments: str) -> str:
        return drillcore(self.root, *arguments, env=self.env)

    def _drillcore(self, name: str, *words: str, **more: str) -> Process:
        command = [sys.executable, "-m", "drillcore", *words]
        return Process(self._stack, self.root, command, self.env | more, self._folder / f"{name}.log")

    def _mlflow(self, postgres: PostgreSQL, port: int) -> Process:
        users = self._folder / "users.ini"
        users.write_text(
            "[mlflow]\ndefault_permission = NO_PERMISSIONS\n"
            f"database_uri = {postgres.make('users')}\n"
            f"admin_username = {self.env['MLFLOW_TRACKING_USERNAME']}\n"
            f"admin_password = {self.env['MLFLOW_TRACKING_PASSWORD']}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        )
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", postgres.make("mlflow"), "--no-serve-artifacts", "--app-name", "basic-auth"),
            *("--default-artifact-root", self.env["DRILLCORE_ARTIFACT_ROOT"]),
        ]
        env = self.env | {"MLFLOW_AUTH_CONFIG_PATH": str(users), "MLFLOW_FLASK_SERVER_SECRET_KEY": "a-fourth"}
        return Process(self._stack, self.root, command, env, self._folder / "mlflow.log")


@pytest.fixture
def production(tmp_path: Path) -> Iterator[Production]:
    pytest.importorskip("psycopg", reason="the driver of PostgreSQL is not installed")
    root = tmp_path / "checkout"
    make_project(root)
    (root / "prefect.yaml").write_text(FLOWS.replace("ARCHIVE", str(tmp_path / "archive")))
    with contextlib.ExitStack() as stack:
        yield Production(stack, tmp_path, stack.enter_context(postgresql()))


def make_project(root: Path) -> None:
    (root / "models").mkdir(parents=True)
    (root / "models" / f"{MODEL}.yaml").write_text(RECIPE)


def wait_for_answer(url: str, auth: tuple[str, str] | None = None, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, auth=auth, timeout=30).is_success:
                return
        assert time.monotonic() < deadline, f"{url} did not answer within {seconds:.0f} s"
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_each_part_is_killed_once(production: Production, tmp_path: Path) -> None:
    production.wait_for_servers()
    for url in (f"{production.env['PREFECT_API_URL']}/admin/version", f"{production.tracking}/experiments/search"):
        assert httpx.get(url).status_code == httpx.codes.UNAUTHORIZED
    write_shells(tmp_path / "archive", 40, first=900)
    landings = [landing(tmp_path, number) for number in range(len(KILLS))]
    production.land(landings[0])
    production.drillcore("flows", "setup")
    production.drillcore("flows", "deploy")
    production.start_workers()
    landed, hits, working = 1, 0, False
    with httpx.Client(base_url=production.env["PREFECT_API_URL"], timeout=60, auth=production.prefect_login) as api:
        wait_for_schedule(api)
        for number, (part, stage) in enumerate(KILLS):
            if number and not working:
                production.land(landings[landed])
                landed += 1
            name, in_time = retrain_disturbed(production, api, part, stage, begin=not working)
            working = name not in GOOD
            hits += in_time
        assert hits >= 3, "most kills came too late: nothing is proven"
        if working:
            name = wait_until(api, start_run(api, RETRAIN), *FINAL)["name"]
        assert name in GOOD, name
        archive_scored(production, api)
        production.drillcore("rollback", MODEL)
        inbox_scored(production, api)
    assert what_is_left(production.root, production.env) == undisturbed(tmp_path / "plain", landings[:landed])


def landing(folder: Path, number: int) -> Path:
    """Return pictures of shells: many at first, then some more each time."""
    return write_shells(folder / f"landing-{number}", *((2, 100 + number) if number else (24, 0)))


def retrain_disturbed(
    production: Production, api: httpx.Client, part: str, stage: str, *, begin: bool
) -> tuple[str, bool]:
    """Kill a part as a retrain is at a stage, and start it again.

    Args:
        production: what is killed.
        api: Prefect's.
        part: of KILLS.
        stage: said in the log when it begins.
        begin: new data starts the run, through the event of its ingest; else it is asked for, and goes on.

    Returns:
        how the run ended, and whether it still had work before it when the part was killed.
    """
    log = production.parts["gpu"].log
    seen = log.stat().st_size
    if begin:
        before = runs(api, RETRAIN)
        ended = wait_until(api, start_run(api, INGEST), *FINAL)
        assert ended["name"] == "Accepted", ended
        run = wait_for_new(api, RETRAIN, before)
    else:
        run = start_run(api, RETRAIN)
    wait_for_line(log, seen, f" - {stage}: ")
    production.parts[part].kill()
    in_time = b" - promote: " not in log.read_bytes()[seen:]
    if in_time and part in ("s3", "mlflow"):
        wait_for_line(log, seen, "will start", " failed at ")  # the run has missed it
    production.start_again(part)
    ended = wait_until(api, run, *FINAL)
    assert ended["type"] != "COMPLETED" or ended["name"] in GOOD, ended
    return ended["name"], in_time


def archive_scored(production: Production, api: httpx.Client) -> None:
    """The event of the first promotion has started the scoring of a folder; its worker is killed at another."""
    [run] = runs(api, SCORE)
    assert wait_until(api, run, *FINAL)["name"] == "Scored"
    verified(production, "s3://scored/archive-1", images=120)
    production.drillcore("promote", MODEL, "--force")
    log = production.parts["cpu"].log
    seen = log.stat().st_size
    run = start_run(api, SCORE)
    wait_for_line(log, seen, f" - fetch: {MODEL} version")
    production.restart("cpu")
    ended = wait_until(api, run, *FINAL)
    if ended["type"] != "COMPLETED":
        ended = wait_until(api, start_run(api, SCORE), *FINAL)
    assert ended["name"] == "Scored", ended
    verified(production, f"s3://scored/archive-{production.champion()}", images=120)


def inbox_scored(production: Production, api: httpx.Client) -> None:
    """What waits is scored once, by the version that a rollback has made champion."""
    assert production.champion() == 1
    write_shells(production.root / ".drillcore" / "inbox" / MODEL, 3, first=800)
    for name in ("Scored", "Unchanged"):
        ended = wait_until(api, start_run(api, INBOX), *FINAL)
        assert ended["name"] == name, ended
        verified(production, str(production.root / ".drillcore" / "scored" / MODEL), images=9)


def verified(production: Production, output: str, images: int) -> None:
    said = json.loads(production.drillcore("receipt", "verify", output, "--json"))
    assert said.get("counts", said)["scored"] == images  # of one output, or of one that grows


def what_is_left(root: Path, env: Mapping[str, str]) -> dict[str, Any]:
    """Return versions and moves, without what names a moment or a place."""
    versions = json.loads(drillcore(root, "models", MODEL, "--json", env=dict(env)))
    moves = json.loads(drillcore(root, "history", MODEL, "--json", env=dict(env)))
    return {
        "versions": [(version["version"], version["sha256"], version["aliases"]) for version in versions],
        "moves": [(move["alias"], move["version"], move["action"]) for move in moves],
        "served": json.loads((root / ".drillcore" / "served" / f"{MODEL}.json").read_text())["sha256"],
        "data": (root / "data.dvc").read_text(),
    }


def undisturbed(root: Path, landed: list[Path]) -> dict[str, Any]:
    """Return what is left of the same work in one process after the other, with nothing killed."""
    make_project(root)
    settings = {"ROOT": str(root), "THREADS": "1", "WORKERS": "1", "DEVICE": "cpu"}
    env = bare_environment() | {f"DRILLCORE_{name}": value for name, value in settings.items()}
    for source in landed:
        land(root, env, source)
        drillcore(root, "retrain", MODEL, "--promote", env=env)
    for words in (["promote", MODEL, "--force"], ["rollback", MODEL], ["fetch", MODEL]):
        drillcore(root, *words, env=env)
    return what_is_left(root, env)


def land(root: Path, env: Mapping[str, str], source: Path) -> None:
    append = () if source.name == FIRST else ("--append",)
    drillcore(root, "data", "import", *append, "--layout", "classes", "shells", str(source), env=dict(env))


def runs(api: httpx.Client, deployment: str) -> set[str]:
    """Return the runs of a deployment that its schedule did not make."""
    found = answer(api, "GET", f"deployments/name/{deployment}")["id"]
    asked = {"deployments": {"id": {"any_": [found]}}, "flow_runs": {"tags": {"is_null_": True}}}
    rows = answer(api, "POST", "flow_runs/filter", json=asked)
    return {str(row["id"]) for row in rows if not row["auto_scheduled"]}


def wait_for_new(api: httpx.Client, deployment: str, before: set[str], seconds: float = 240) -> str:
    """Return the run that an event has started."""
    deadline = time.monotonic() + seconds
    while not (new := runs(api, deployment) - before):
        assert time.monotonic() < deadline, f"no event started {deployment} within {seconds:.0f} s"
        time.sleep(0.5)
    [run] = new
    return run
