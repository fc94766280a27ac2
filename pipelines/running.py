"""What every flow needs of the place it runs at: settings, leases that make ticks skip, the GPU's slot, a named end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from prefect import Task, runtime
from prefect.concurrency._asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, State

from drillcore.environment import confine
from drillcore.errors import DeviceError, DrillcoreError, LeaseHeldError, StateError
from drillcore.json_types import Json
from drillcore.runtime.model.session import cuda_devices
from drillcore.settings import Settings
from drillcore.state.leases import hold_lease

GPU = "gpu"  # the work pool and the global concurrency limit
RETRY_SECONDS = (2, 10, 30)
_DATA_LEASE, _DATA_WAIT = "data", 1800.0

Summary = Json


def prepared() -> Settings:
    """Load the settings and keep libraries that are not imported yet inside the state folder.

    A command has done so before Prefect was imported; a worker has Prefect's own home from its environment, and MLflow,
    DVC and the others get theirs here.
    """
    settings = Settings.load()
    confine(settings)
    return settings


def may_pass(_task: Task[..., Any], _run: Any, state: Any) -> bool:
    """Retry what may pass by itself (a busy disk, a server that starts), never what a person has to mend."""
    try:
        state.result()
    except DrillcoreError:
        return False
    except Exception:  # noqa: BLE001 - the question is only whether to try again
        return True
    return False


def say(text: str) -> None:
    """Log one line to the run's page."""
    get_run_logger().info("%s", text)


def end(summary: Summary) -> State[Summary]:
    """Return the flow's last state: completed, named by what happened, with the reason as its message.

    So the list of runs itself tells "Unchanged", "Skipped", "Refused" or "Promoted"; the data is the summary.
    """
    say(f"{summary['status']}: {summary['reason']}")
    return Completed(name=str(summary["status"]).capitalize(), message=summary["reason"], data=summary)


def skipped(subject: dict[str, str], error: LeaseHeldError) -> Summary:
    """Return the summary of a tick that found somebody else at it; re-raise where a person is waiting for the work.

    A schedule's tick has done its duty when the work is being done. A command has not: it must say so and fail.
    """
    if runtime.deployment.id is None:
        raise error
    return {**subject, "status": "skipped", "reason": str(error)}


@contextlib.contextmanager
def data_lease(settings: Settings) -> Iterator[None]:
    """Hold the lease on `data/` and data.dvc, which all models share; waits for others, up to half an hour.

    Raises:
        LeaseHeldError: somebody holds it all that time.
    """
    with contextlib.ExitStack() as stack:
        deadline = time.monotonic() + _DATA_WAIT
        while True:
            try:
                stack.enter_context(hold_lease(settings, _DATA_LEASE))
                break
            except LeaseHeldError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)
        yield


@contextlib.contextmanager
def gpu_slot(settings: Settings) -> Iterator[None]:
    """Hold one slot of the limit `gpu` where a GPU computes and a server keeps count; elsewhere do nothing.

    A run in one's own process, without a server, has nobody to share with: the model's lease is guard enough.

    Raises:
        StateError: the server has no such limit.
        DeviceError: the settings ask for cuda and there is none.
    """
    if not (takes_gpu(settings) and PREFECT_API_URL.value()):
        yield
        return
    try:
        say(f"waiting for a slot of the limit {GPU!r}")
        with concurrency(GPU, occupy=1, strict=True):
            yield
    except ConcurrencySlotAcquisitionError as error:
        raise StateError(f"the Prefect server has no limit {GPU!r}; make it: drillcore flows setup ({error})") from None


def takes_gpu(settings: Settings) -> bool:
    """Say whether this run computes on a GPU: asked for, or there and not declined. Raises DeviceError."""
    if settings.device == "cpu":
        return False
    there = cuda_devices() > 0
    if settings.device == "cuda" and not there:
        raise DeviceError("DRILLCORE_DEVICE is cuda and this machine has no CUDA device; use auto or cpu")
    return there
