"""The retrain flow: a task for each stage; each finished stage is kept, so that a killed run goes on from there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drillcore.workflow.retraining import STAGES, Retrain, Stage
from prefect import Task, flow, task
from prefect.cache_policies import NO_CACHE

from drillcore.errors import DrillcoreError
from drillcore.settings import Settings
from pipelines.reporting import show_retrain

# Stages keep their own records, by content, in the run's folder: Prefect's cache would be a second truth.
_HOURS = 3600


def _may_pass(_task: Task[..., Any], _run: Any, state: Any) -> bool:
    """Retry what may pass by itself (a busy disk, a server that starts), never what a person has to mend."""
    try:
        state.result()
    except DrillcoreError:
        return False
    except Exception:  # noqa: BLE001 - the question is only whether to try again
        return True
    return False


def _stage_task(stage: Stage) -> Callable[[Retrain], dict[str, Any]]:
    @task(
        name=stage.name,
        description=stage.text,
        retries=stage.retries,
        retry_delay_seconds=[2, 10, 30][: stage.retries] or None,
        retry_condition_fn=_may_pass,
        timeout_seconds=stage.hours * _HOURS,
        cache_policy=NO_CACHE,
        persist_result=False,
    )
    def run(work: Retrain) -> dict[str, Any]:
        return work.run(stage)

    return run


TASKS = {stage.name: _stage_task(stage) for stage in STAGES}


@flow(name="retrain", persist_result=False)
def retrain(model: str, promote: bool = False, force: bool = False) -> dict[str, Any]:
    """Bring MODEL up to date with its data: version, check, extract, fit, export, prove, evaluate, register, gate.

    Args:
        model: a recipe's name.
        promote: make the new version champion if the gate lets it.
        force: train although data and recipe are unchanged.

    Returns:
        what happened, as JSON: `status` is "registered", "promoted", "refused", "unchanged" or "skipped".
    """
    settings = Settings.load()
    with Retrain(settings, model, promote=promote, force=force) as work:
        for stage in work.stages():
            TASKS[stage.name](work)
        summary = work.summary()
    show_retrain(summary)
    return summary
