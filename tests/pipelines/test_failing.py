"""A failed run names the step, the reason and the command to go on, wherever people look."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from listening import Listener, listener
from shells import RECIPE

from drillcore.errors import IntegrityError, UnknownNameError
from drillcore.runtime.model.served import put_blob, write_pointer
from drillcore.settings import Settings
from drillcore.state.leases import hold_lease

__all__ = ["listener"]

pytestmark = pytest.mark.usefixtures("prefect")


@pytest.fixture
def here(settings: Settings, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Flows that run find this checkout, whose failures an address is told of."""
    told = dataclasses.replace(settings, webhook_urls=listener.url)
    for module in ("retrain", "promote", "score", "failing"):
        monkeypatch.setattr(f"drillcore_pipelines.{module}.prepared", lambda: told)
    return told


def artifact(key: str) -> Any:
    """The last of that key that Prefect's server holds, with the run it belongs to."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        rows = [row for row in client.read_artifacts() if row.key == key]
    return max(rows, key=lambda row: row.created)


def messages(listener: Listener) -> list[dict[str, Any]]:
    return [json.loads(body) for _, body in listener.heard]


def test_a_stage_that_fails_is_told_everywhere(
    here: Settings, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    from drillcore_pipelines.retrain import retrain

    (here.models).mkdir(exist_ok=True)
    (here.models / "shells-forest.yaml").write_text(RECIPE)
    changes = ["head.params.n_estimators=11"]
    # Whatever level a command run before in this process has given to Prefect.
    with caplog.at_level(logging.ERROR, logger="prefect.flow_runs"):
        state = retrain("shells-forest", promote=True, changes=changes, return_state=True)
    assert state.is_failed()
    with pytest.raises(UnknownNameError, match="shells") as raised:
        state.result()
    command = "drillcore retrain shells-forest --promote --set head.params.n_estimators=11"
    said = f"retrain failed at ingest: {raised.value}; to go on: {command}"
    assert state.message == said
    assert [record.message for record in caplog.records if record.message == said] == [said]
    page = artifact("shells-forest-retrain-failure")
    assert str(page.flow_run_id) == str(state.state_details.flow_run_id)
    assert all(part in page.data for part in ("failed at ingest", str(raised.value), f"```bash\n{command}\n```"))
    [told] = messages(listener)
    assert told["type"] == "run.failed"
    assert told["data"].pop("run")
    assert told["data"] == {
        "flow": "retrain",
        "model": "shells-forest",
        "step": "ingest",
        "reason": str(raised.value),
        "command": command,
        "run_id": str(state.state_details.flow_run_id),
    }
    with pytest.raises(UnknownNameError):  # who calls the flow gets the error itself
        retrain("shells-forest")


def test_what_cannot_be_told_hides_no_error(
    here: Settings, tiny_model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from drillcore_pipelines.score import score

    pointer = write_pointer(here, "tiny", 3, put_blob(here, tiny_model_file))
    monkeypatch.setattr("drillcore.registry.fetch", lambda *_: pointer)
    (here.served / "blobs" / f"{pointer.sha256}.onnx").write_bytes(b"")
    (tmp_path / "images").mkdir()
    (tmp_path / "damaged.db").write_text("no database " * 100)
    damaged = dataclasses.replace(here, state_url=f"sqlite:///{tmp_path / 'damaged.db'}")
    monkeypatch.setattr("drillcore_pipelines.failing.prepared", lambda: damaged)
    given = {"model": "tiny", "source": str(tmp_path / "images"), "output": str(tmp_path / "out")}
    with pytest.raises(IntegrityError) as raised:
        score(**given)
    page = artifact("tiny-score-failure")
    assert str(raised.value) in page.data
    assert f"drillcore score tiny {given['source']} {given['output']}" in page.data


def test_what_is_unexpected_says_its_class(here: Settings, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    from drillcore_pipelines import promote

    monkeypatch.setattr("drillcore.registry.aliases", lambda *_: {"challenger": 2, "champion": 1})
    monkeypatch.setattr("drillcore_pipelines.promote.promote_reference", lambda *_, **__: {}["gone"])
    monkeypatch.setattr(promote.judge_and_move, "retry_delay_seconds", 0)
    state = promote.promote("tiny", return_state=True)
    assert state.message is not None
    assert state.message.startswith(
        "promote failed at judge-and-move: KeyError: 'gone'; to go on: drillcore promote tiny"
    )
    state = promote.promote("tiny", why={}, return_state=True)  # the flow does not even begin
    assert state.is_failed()
    assert [told["data"]["step"] for told in messages(listener)] == ["judge-and-move", ""]
    assert "why" in messages(listener)[1]["data"]["reason"]


def test_who_finds_another_at_it_knows(here: Settings, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    from drillcore_pipelines.promote import promote

    with hold_lease(here, "retrain:tiny", holder="another machine"):
        assert "to go on: drillcore promote tiny" in str(promote("tiny", return_state=True).message)
        scheduled = SimpleNamespace(deployment=SimpleNamespace(id=uuid.uuid4()))
        monkeypatch.setattr("drillcore_pipelines.running.runtime", scheduled)
        assert promote("tiny", return_state=True).name == "Skipped"
    assert listener.heard == []


HANGING = """
import time
from prefect import flow, task

@task
def fetch():
    time.sleep(3600)

@flow(name="score", persist_result=False)
def score(model):
    fetch()
"""


def test_a_run_that_was_killed(here: Settings, listener: Listener, tmp_path: Path) -> None:
    """Its process is gone in the middle of a step; the worker that starts next tells of it."""
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.states import Pending

    from drillcore_pipelines.setup import end_dead_runs

    (tmp_path / "hanging.py").write_text(HANGING)
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(
            flow(lambda model: None, name="score"), parameters={"model": "tiny"}, state=Pending()
        )
        env = os.environ | {"PREFECT_API_URL": str(client.api_url), "PREFECT__FLOW_RUN_ID": str(run.id)}
        command = [sys.executable, "-m", "prefect.flow_engine", f"{tmp_path / 'hanging.py'}:score"]
        with subprocess.Popen(command, env=env) as process:
            try:
                wait_for_step(client, run.id, process)
            finally:
                process.kill()
        client.update_flow_run(run.id, infrastructure_pid=str(process.pid))
        client.update_flow_run_labels(run.id, {"prefect.worker.name": f"cpu@{socket.gethostname()}:1"})
        assert run.name in end_dead_runs(print)
        state = client.read_flow_run(run.id).state
    assert state is not None
    assert state.is_crashed()
    said = "score failed at fetch: its process was killed; to go on: python -c "
    assert str(state.message).startswith(said)
    assert str(state.message).endswith('import score; score(model="tiny")\'')
    assert str(artifact("tiny-score-failure").flow_run_id) == str(run.id)
    [told] = messages(listener)
    assert (told["data"]["step"], told["data"]["reason"]) == ("fetch", "its process was killed")


def wait_for_step(client: Any, run: uuid.UUID, process: subprocess.Popen[bytes]) -> None:
    """What a run tells of its steps comes to the server in the background."""
    from prefect.client.schemas.filters import FlowRunFilter

    while not client.read_task_runs(flow_run_filter=FlowRunFilter.model_validate({"id": {"any_": [run]}})):
        assert process.poll() is None, "it has ended by itself"
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("flow", "given", "failed", "expected"),
    [
        ("retrain", {"model": "m", "force": True}, "ingest", "drillcore retrain m --force"),
        ("retrain", {"model": "m", "force": True, "promote": True}, "fit", "drillcore retrain m --promote"),
        (
            "retrain",
            {"model": "m", "engine": "dask", "scheduler": "tls://a:1", "tls_ca": "c", "plain_scheduler": False},
            "fit",
            "drillcore retrain m --engine dask --scheduler tls://a:1 --tls-ca c",
        ),
        ("score", {"model": "m@3", "source": "a b", "output": "o"}, "verify", "drillcore score m@3 'a b' o"),
        ("label-next", {"model": "m", "folder": "f", "count": 7}, "", "drillcore label-next m f --count 7"),
        ("drift", {"model": "m", "scored": ["a"], "days": 3}, "", "drillcore drift m --scored a --days 3"),
        ("ingest", {"dataset": "d"}, "bring", "python -c 'from drillcore_pipelines.ingest import ingest; "),
        ("another", {"model": "m"}, "", ""),
    ],
)
def test_commands_that_go_on(flow: str, given: dict[str, Any], failed: str, expected: str) -> None:
    from drillcore_pipelines.failing import _command

    found = _command(SimpleNamespace(parameters=given, deployment_id=None), flow, failed)  # type: ignore[arg-type]
    assert found.startswith(expected)
    assert bool(found) == bool(expected)


def test_a_deployment_is_run_again() -> None:
    from prefect.client.orchestration import get_client

    from drillcore_pipelines.failing import Failure
    from drillcore_pipelines.ingest import ingest

    with get_client(sync_client=True) as client:
        flow = client.create_flow(ingest)
        deployment = client.create_deployment(flow, f"shells-{uuid.uuid4().hex}", parameters={"dataset": "shells"})
        run = client.create_flow_run_from_deployment(deployment)
        name = client.read_deployment(deployment).name
    assert Failure.of_state(run, "ingest", "killed").command == f"drillcore flows run ingest/{name}"
