"""A failed run names the step, the reason and the command to go on: in its log, as its state, on its page, elsewhere.

Where an error passes through this process (`step`, `told_flow`) it is known by itself; of a process that was killed it
is known what the server was told. `tell_failure` is the hook of every flow, for both.
"""

from __future__ import annotations

import contextlib
import functools
import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, cast
from uuid import UUID

from prefect import Flow, flow, runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import TaskRunSort
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.logging.loggers import flow_run_logger
from prefect.states import Failed, State

from drillcore import registry
from drillcore.errors import DrillcoreError, LeaseHeldError, first_line
from drillcore.json_types import Json, Values
from drillcore.settings import PREFIX
from drillcore_pipelines.prefect_artifacts import show_failure
from drillcore_pipelines.running import prepared

EVENT = "run.failed"
_STEP = f"{PREFIX}step"  # attribute of an error
_FLOWS = ("drift", "ingest", "label-next", "promote", "retrain", "score")
_LONGEST = 1000  # letters of a reason

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What is told of a run that failed.

    Attributes:
        flow: its name.
        run: its name, for people.
        subject: the model or the data set.
        step: the task that failed; "": it was none.
        reason: one line.
        command: by which one goes on; "": of a flow that is not ours.
        error: that left the flow; None where it is not known here.
    """

    flow: str
    run: str
    subject: dict[str, str]
    step: str
    reason: str
    command: str
    error: BaseException | None = None

    @classmethod
    def of_error(cls, run: FlowRun, flow: str, error: BaseException) -> Failure:
        """Return what is told of a run by the error that leaves its flow."""
        return cls._of(run, flow, _step_of(error), _reason(error), error)

    @classmethod
    def of_state(cls, run: FlowRun, flow: str, reason: str) -> Failure:
        """Return what is told of a run by what the server knows: its process is gone, or its flow never began."""
        return cls._of(run, flow, _last_step(run), reason, None)

    @classmethod
    def _of(cls, run: FlowRun, flow: str, step: str, reason: str, error: BaseException | None) -> Failure:
        subject = {name: str(run.parameters[name]) for name in ("model", "dataset") if name in run.parameters}
        return cls(
            flow=flow,
            run=str(run.name),
            subject=subject,
            step=step,
            reason=" ".join(reason.split())[:_LONGEST],
            command=_command(run, flow, step),
            error=error,
        )

    @property
    def where(self) -> str:
        """Which flow failed, and at which step."""
        return f"{self.flow} failed at {self.step}" if self.step else f"{self.flow} failed"

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}" + (f"; to go on: {self.command}" if self.command else "")

    def to_dict(self) -> Json:
        """Return plain values for JSON."""
        told = {name: getattr(self, name) for name in ("flow", "run", "step", "reason", "command")}
        return {**self.subject, **told}


_found: dict[UUID, Failure] = {}  # by run, from where its error leaves the flow until the hook is called


def step(work: Callable[P, R]) -> Callable[P, R]:
    """Let an error that leaves a task know the task's name; stands between the task and its function."""

    @functools.wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return work(*args, **kwargs)
        except BaseException as error:
            vars(error).setdefault(_STEP, str(runtime.task_run.task_name))
            raise

    return run


def told_flow(subject: str) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """Make a function a flow of its name, whose result is kept, and of which a run that fails is told of.

    Args:
        subject: the parameter that a run is named by, "model" or "dataset".
    """

    def made(work: Callable[P, R]) -> Flow[P, R]:
        name = work.__name__.replace("_", "-")
        return flow(
            name=name,
            flow_run_name=f"{name}-{{{subject}}}",
            persist_result=True,
            result_serializer="json",
            on_failure=[tell_failure],
            on_crashed=[tell_failure],
        )(_explained(work))

    return made


def _explained(work: Callable[P, R]) -> Callable[P, R]:
    """Let a flow that fails end with a state whose message is the failure.

    Whoever called the flow gets the error itself, as without.
    """

    @functools.wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return work(*args, **kwargs)
        except BaseException as error:
            failure = _note(error)
            if failure is None or not isinstance(error, Exception):  # Prefect says itself how a process ended
                raise
            return cast(R, Failed(message=str(failure), data=error))

    return run


def tell_failure(failed: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Tell of a run that failed or crashed: the hook of every flow."""
    failure = _found.pop(flow_run.id, None) or Failure.of_state(flow_run, failed.name, state.message or str(state.name))
    publish(flow_run, failure)


def publish(run: FlowRun, failure: Failure) -> None:
    """Write a failure into the log of its run, onto its page, and tell the addresses of the settings.

    What goes wrong with that is said in the log: the run's own error is what counts.
    """
    log = flow_run_logger(run)
    expected = failure.error is None or isinstance(failure.error, DrillcoreError)
    log.error("%s", failure, exc_info=None if expected else failure.error)
    for tell in (_show, _announce):
        try:
            tell(run, failure)
        except Exception as error:  # noqa: BLE001 - the server, the settings or the state database may be what failed
            log.warning("the failure is not told everywhere (%s): %s", type(error).__name__, first_line(error))


def _show(run: FlowRun, failure: Failure) -> None:
    show_failure(run.id, failure.where, failure.to_dict())


def _announce(run: FlowRun, failure: Failure) -> None:
    # Somebody who ended it himself, or finds another at it, knows.
    if not isinstance(failure.error, KeyboardInterrupt | LeaseHeldError):
        registry.tell(prepared(), EVENT, {**failure.to_dict(), "run_id": str(run.id)})


def _note(error: BaseException) -> Failure | None:
    """Keep what is told of the present run for the hook; None where Prefect does not say which it is."""
    context = FlowRunContext.get()
    if context is None or context.flow is None or context.flow_run is None:
        return None
    run = context.flow_run
    try:
        _found[run.id] = Failure.of_error(run, context.flow.name, error)
    except Exception as trouble:  # noqa: BLE001 - it must not hide the run's error
        flow_run_logger(run).warning("the failure cannot be told of: %s", first_line(trouble))
    return _found.get(run.id)


def _step_of(error: BaseException) -> str:
    """Return the step that an error left first: a time limit raises another one behind it."""
    cause: BaseException | None = error
    for _ in range(10):
        if cause is None:
            break
        if _STEP in vars(cause):
            return str(vars(cause)[_STEP])
        cause = cause.__cause__ or cause.__context__
    return ""


def _reason(error: BaseException) -> str:
    if isinstance(error, DrillcoreError):
        return str(error) or type(error).__name__
    if not isinstance(error, Exception):
        return f"its process was told to end ({type(error).__name__})"
    return f"{type(error).__name__}: {first_line(error)}"


def _last_step(run: FlowRun) -> str:
    """Return the step that a run was last known to be at; "": none, or all that had begun were done."""
    with get_client(sync_client=True) as client:
        wanted = FlowRunFilter.model_validate({"id": {"any_": [run.id]}})
        rows = client.read_task_runs(flow_run_filter=wanted, sort=TaskRunSort.EXPECTED_START_TIME_DESC, limit=1)
    open_ = [row for row in rows if row.state is None or not row.state.is_completed()]
    return open_[0].name.rpartition("-")[0] if open_ else ""  # NAME-abc


def _command(run: FlowRun, flow: str, failed: str) -> str:
    """Return the command that goes on with a run: drillcore's own, or its deployment's, or a line of Python."""
    if flow not in _FLOWS:
        return ""
    own = _own_command(flow, run.parameters, failed)
    if own and not (flow == "drift" and run.deployment_id):  # the flow alone raises the event
        return shlex.join(["drillcore", *own])
    if run.deployment_id:
        with contextlib.suppress(ObjectNotFound), get_client(sync_client=True) as client:
            name = client.read_deployment(run.deployment_id).name
            return shlex.join(["drillcore", "flows", "run", f"{flow}/{name}"])
    name = flow.replace("-", "_")
    told = {key: value for key, value in run.parameters.items() if value not in ("", None, [])}
    # A shell keeps double quotes as they are.
    given = ", ".join(f"{key}={json.dumps(value) if isinstance(value, str) else value}" for key, value in told.items())
    return shlex.join(["python", "-c", f"from drillcore_pipelines.{name} import {name}; {name}({given})"])


def _own_command(flow: str, given: Values, failed: str) -> list[str]:
    """Return the arguments of drillcore's command that does what a flow does; empty where there is none."""

    def options(*names: str) -> list[str]:
        return [word for name in names if given.get(name) for word in (_option(name), str(given[name]))]

    def repeated(option: str, name: str) -> list[str]:
        return [word for value in given.get(name) or () for word in (option, str(value))]

    model = str(given.get("model", ""))
    where = ("engine", "scheduler", "tls_ca", "tls_cert", "tls_key")
    engine = options(*where) if given.get("engine") == "dask" else []
    if flow == "retrain":
        # What --force forgets is forgotten by the first stage: said again, it would lose the stages that are done.
        again = {"promote": True, "force": failed in ("", "ingest"), "plain_scheduler": True}
        flags = [_option(name) for name, is_said in again.items() if is_said and given.get(name)]
        return ["retrain", model, *flags, *repeated("--set", "changes"), *engine]
    if flow == "promote":
        return ["promote", model, *options("why")]
    if flow == "drift":
        return ["drift", model, *repeated("--scored", "scored"), *options("days", "level", "limit")]
    if flow == "label-next" and given.get("folder"):
        return ["label-next", model, str(given["folder"]), *options("count")]
    if flow == "score" and given.get("source") and given.get("output") and "{version}" not in str(given["output"]):
        return ["score", model, str(given["source"]), str(given["output"]), *engine]
    return []


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
