"""What a Prefect server needs once: the work pools, the limit `gpu`, and a rule that ends runs whose process died."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psutil
from prefect.automations import Automation
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.exceptions import ObjectAlreadyExists
from prefect.states import Crashed

from drillcore.errors import StateError
from drillcore_pipelines.failing import Failure, publish
from drillcore_pipelines.hosting import POOLS
from drillcore_pipelines.running import GPU

_SILENT_RUNS = "drillcore: a run that has gone silent has crashed"
_SILENCE = timedelta(seconds=100)  # three heartbeats of 30 s, and a little
_RUN = "prefect.flow-run"

Tell = Callable[[str], None]


def set_up(gpus: int, tell: Tell) -> list[str]:
    """Make what is missing on the server that PREFECT_API_URL names; may be called again.

    Args:
        gpus: runs that may compute on a GPU at a time, over all workers: how many GPUs there are.
        tell: called with one line when the server has to be waited for.

    Returns:
        one line for each thing that is there now.
    """
    with get_client(sync_client=True) as client:
        wait_for_server(client, tell)
        lines = [f"server {client.api_url}"]
        for pool in POOLS:
            made = _make_pool(client, pool)
            lines.append(f"work pool {pool} {'made' if made else 'is there'}")
        client.upsert_global_concurrency_limit_by_name(GPU, gpus)
        lines.append(f"global concurrency limit {GPU}: {gpus}")
    made = _make_rule()
    lines.append(f"automation that ends silent runs {'made' if made else 'is there'}")
    return lines


def reach_server(tell: Tell) -> None:
    """Wait until the server that PREFECT_API_URL names answers. Raises StateError."""
    with get_client(sync_client=True) as client:
        wait_for_server(client, tell)


def wait_for_server(client: SyncPrefectClient, tell: Tell, seconds: float = 120) -> None:
    """Wait until the server answers: it may have been started a moment ago.

    Raises:
        StateError: it does not; says how to start one.
    """
    deadline, told = time.monotonic() + seconds, False
    while (error := client.api_healthcheck()) is not None:
        if not told:
            tell(f"waiting for a Prefect server at {client.api_url}, up to {seconds:.0f} s")
            told = True
        if time.monotonic() > deadline:
            raise StateError(
                f"no Prefect server answers at {client.api_url} ({type(error).__name__}); start one: drillcore flows "
                "server, or set PREFECT_API_URL"
            )
        time.sleep(0.5)


def end_dead_runs(tell: Tell) -> list[str]:
    """Mark as crashed the runs of this machine whose process is no more, and return their names.

    A worker that was killed leaves its runs "Running", which hold their deployment's one slot until the server notices
    minutes later; a worker that starts looks itself. Prefect calls no hook there: what it would tell is told here.
    """
    with get_client(sync_client=True) as client:
        wait_for_server(client, tell)
        wanted = FlowRunFilter.model_validate({"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}})
        dead = [run for run in client.read_flow_runs(flow_run_filter=wanted) if _is_dead(run)]
        for run in dead:
            failure = Failure.of_state(run, client.read_flow(run.flow_id).name, "its process was killed")
            state: Any = Crashed(message=str(failure))
            client.set_flow_run_state(run.id, state, force=True)
            publish(run, failure)
    return [str(run.name) for run in dead]


def _is_dead(run: FlowRun) -> bool:
    """Say whether a run was a process of this machine that is no more; False where we cannot know."""
    worker = str(run.labels.get("prefect.worker.name", ""))
    host, pid = worker.rpartition("@")[2].rpartition(":")[0], run.infrastructure_pid or ""
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        process = psutil.Process(int(pid))
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        # Another process may have got the number since; when it was born says nothing, for the clock may have stepped.
        return process.environ().get("PREFECT__FLOW_RUN_ID") != str(run.id)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:  # another user's
        return False


def _make_pool(client: SyncPrefectClient, name: str) -> bool:
    try:
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))
    except ObjectAlreadyExists:
        return False
    return True


def silence() -> EventTrigger:
    """Return when a run is taken for dead: nothing was heard of it since its last heartbeat, no end under any name.

    Our runs end as "Refused" or "Unchanged": states of Prefect's kind COMPLETED, whose events have their names.
    """
    return EventTrigger(
        posture=Posture.Proactive,
        after={f"{_RUN}.heartbeat"},
        expect={f"{_RUN}.*"},
        match={"prefect.resource.id": [f"{_RUN}.*"]},
        for_each={"prefect.resource.id"},
        threshold=1,
        within=_SILENCE,
    )


def _make_rule() -> bool:
    """Make the automation: a run silent since its last heartbeat has crashed; so its slot is freed."""
    try:
        rule = Automation.read(name=_SILENT_RUNS)
    except ValueError:  # there is none of that name
        action = ChangeFlowRunState(state="CRASHED", message="no sign of life from this run's process")
        Automation(name=_SILENT_RUNS, trigger=silence(), actions=[action]).create()
        return True
    if rule.trigger.expect != silence().expect:  # made by an earlier drillcore
        rule.trigger = silence()
        rule.update()
    return False
