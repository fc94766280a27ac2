"""The promote flow: ask the gate about a registered version, and move the champion if it passes."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from drillcore import registry
from drillcore.errors import LeaseHeldError
from drillcore.retrain.releasing import promote_reference
from drillcore.runtime.model.reference import parse_reference
from drillcore.settings import Settings
from drillcore.state.leases import hold_lease
from drillcore_pipelines.events import raise_promotion
from drillcore_pipelines.failing import step, told_flow
from drillcore_pipelines.prefect_artifacts import show_promote
from drillcore_pipelines.running import RETRY_SECONDS, Summary, end, may_pass, prepared, say, skipped


@task(
    name="judge-and-move",
    description="compare with the champion on the same images, and move it if the gate passes",
    retries=1,
    retry_delay_seconds=RETRY_SECONDS[0],
    retry_condition_fn=may_pass,
    timeout_seconds=6 * 3600,
    cache_policy=NO_CACHE,  # a verdict holds for one champion at one moment: a promotion is never taken from a cache
    persist_result=False,
)
@step
def judge_and_move(settings: Settings, reference: str, why: str) -> dict[str, object]:
    """Return `promoted`, `version`, `previous`, `reason`, `verdict`."""
    result = promote_reference(settings, reference, why=why)
    say(f"judge-and-move: version {result['version']}: {result['reason']}")
    return result


@told_flow("model")
def promote(model: str, why: str = "promote flow") -> Summary:
    """Make MODEL[@ALIAS|@VERSION] (default: the challenger) the champion if the gate lets it.

    A new champion raises the event `drillcore.promotion`.

    Args:
        model: a model's name or reference.
        why: kept in the history.

    Returns:
        as JSON: `status` is "promoted", "refused", "unchanged" or, where a schedule's tick finds the model being
        retrained, "skipped".

    Raises:
        UnknownNameError: no such model, alias or version.
        ConflictError: somebody else moved the champion meanwhile.
    """
    settings = prepared()
    name = parse_reference(model).name
    subject = {"model": name}
    try:
        # A retrain moves the same aliases: its lease.
        with hold_lease(settings, f"retrain:{name}"):
            present = registry.aliases(settings, name)
            wanted = model if "@" in model else f"{name}@{registry.CHALLENGER}"
            standing = present.get(wanted.partition("@")[2])
            if standing is not None and standing == present.get(registry.CHAMPION):
                reason = f"nothing new: version {standing} is the champion already"
                summary = {**subject, "status": "unchanged", "reason": reason, "version": standing}
                return end(summary)
            result = judge_and_move(settings, wanted, why)
    except LeaseHeldError as error:
        return end(skipped(subject, error))
    summary = {**result, **subject, "status": "promoted" if result["promoted"] else "refused"}
    if result["promoted"]:
        raise_promotion(summary)
    show_promote(summary)
    return end(summary)
