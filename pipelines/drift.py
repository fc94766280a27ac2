"""The drift flow: compare what a model answers now with its reference, and raise an event where it has drifted.

What follows is Prefect's to order: a deployment with a trigger on the event starts `label-next` or a retrain.
"""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from drillcore.analysis.reporting import find_version
from drillcore.analysis.shifts.drift import DAYS, LEVEL, LIMIT, find_drift, keep_drift
from drillcore.errors import TooFewAnswersError
from drillcore.json_types import Json
from drillcore.settings import Settings
from drillcore_pipelines.events import raise_drift
from drillcore_pipelines.failing import step, told_flow
from drillcore_pipelines.prefect_artifacts import show_drift
from drillcore_pipelines.running import RETRY_SECONDS, Summary, end, may_pass, prepared, say


@task(
    name="compare",
    description="compare answers with those of the evaluation, by permutation tests",
    retries=1,
    retry_delay_seconds=RETRY_SECONDS[0],
    retry_condition_fn=may_pass,
    timeout_seconds=3600,
    cache_policy=NO_CACHE,  # answers have come since
    persist_result=False,
)
@step
def compare(settings: Settings, reference: str, scored: list[str], days: int, level: float, limit: float) -> Json:
    """Return the finding, with `picture`."""
    found = find_drift(settings, reference, [Path(folder) for folder in scored], days=days, level=level, limit=limit)
    picture = keep_drift(settings, found)
    say(f"compare: {found.said}")
    return {**found.to_dict(), "picture": str(picture)}


@told_flow("model")
def drift(
    model: str, scored: list[str] | None = None, days: int = DAYS, level: float = LEVEL, limit: float = LIMIT
) -> Summary:
    """Look whether the answers of MODEL[@ALIAS|@VERSION] have drifted.

    Args:
        model: a model's name or reference.
        scored: outputs of `score`, or folders of them; none: what was scored and served here within `days`.
        days: see there.
        level: chance of a false alarm, over all tests; 0.003 or more.
        limit: of the population stability index.

    Returns:
        as JSON: `status` is "drifted", with the event `drillcore.drift`; "stable"; or "unchanged" where too few answers
        have come to say.

    Raises:
        DrillcoreError: no such version, one of pixels, or an output that is damaged.
    """
    settings = prepared()
    version = find_version(settings, model)
    subject = {"model": version.model, "version": version.version}
    try:
        found = compare(settings, model, scored or [], days, level, limit)
    except TooFewAnswersError as error:
        if scored:
            raise
        return end({**subject, "status": "unchanged", "reason": str(error)})
    summary = {**found, "status": "drifted" if found["drifted"] else "stable"}
    if found["drifted"]:
        raise_drift(summary)
    show_drift(summary)
    return end(summary)
