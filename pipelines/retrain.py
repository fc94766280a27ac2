"""The retrain flow: a task for each stage; each finished stage is kept, so that a killed run goes on from there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

from prefect import task
from prefect.cache_policies import NO_CACHE

from drillcore.cluster.address import Cluster
from drillcore.errors import LeaseHeldError
from drillcore.json_types import Json
from drillcore.retrain.retraining import STAGES, Retrain, Stage
from drillcore.settings import Settings
from drillcore_pipelines.events import raise_promotion
from drillcore_pipelines.failing import step, told_flow
from drillcore_pipelines.prefect_artifacts import show_retrain
from drillcore_pipelines.running import (
    RETRY_SECONDS,
    Summary,
    data_lease,
    end,
    gpu_slot,
    may_pass,
    prepared,
    say,
    skipped,
)

_HOURS = 3600


def _stage_task(stage: Stage) -> Callable[[Retrain], dict[str, object]]:
    """Return the task of a stage.

    No stage is cached by Prefect. Each keeps a record by content, with the digests of its files, in the run's folder:
    it is there for the command and the Python interface too, and a record whose files are gone or changed is not
    believed. A second cache could only disagree with it. Registering and promoting ask the registry each time.
    """

    @task(
        name=stage.name,
        description=stage.text,
        retries=stage.retries,
        retry_delay_seconds=list(RETRY_SECONDS[: stage.retries]) or None,
        retry_condition_fn=may_pass,
        timeout_seconds=stage.hours * _HOURS,
        cache_policy=NO_CACHE,
        persist_result=False,
    )
    @step
    def run(work: Retrain) -> Json:
        say(f"{stage.name}: {stage.text}")
        # All models share data/ and data.dvc: one at a time brings new images there.
        with data_lease(work.settings) if stage.name == "ingest" else nullcontext():
            record = work.run(stage)
        kept = ", kept from before" if record.reused else ""
        say(f"{stage.name}: done in {record.seconds:.1f} s{kept}: {record.note}")
        return record.to_dict()

    return run


TASKS = {stage.name: _stage_task(stage) for stage in STAGES}


@told_flow("model")
def retrain(
    model: str,
    promote: bool = False,
    force: bool = False,
    changes: list[str] | None = None,
    engine: str = "local",
    scheduler: str = "",
    tls_ca: str = "",
    tls_cert: str = "",
    tls_key: str = "",
    plain_scheduler: bool = False,
) -> Summary:
    """Bring MODEL up to date with its data: version, check, extract, fit, export, prove, evaluate, register, gate.

    Args:
        model: a recipe's name.
        promote: make the new version champion if the gate lets it; that raises `drillcore.promotion`.
        force: train although data and recipe are unchanged.
        changes: of the recipe for this run, FIELD=VALUE, for instance head.params.n_estimators=100.
        engine: "local", or "dask": features are computed on the workers of a Dask cluster, to which drillcore speaks
            itself, without prefect-dask: the store knows what is done.
        scheduler: its address, for "dask"; "": workers are started here.
        tls_ca: certificate of the authority, PEM; with the next two, or Dask's own configuration.
        tls_cert: own certificate.
        tls_key: its key.
        plain_scheduler: allow a scheduler beyond this machine without TLS.

    Returns:
        what happened, as JSON: `status` is "registered", "promoted", "refused", "unchanged" or, where a schedule's
        tick finds the model being retrained, "skipped".

    Raises:
        LeaseHeldError: somebody else retrains the model, and this is no tick of a schedule.
        InputError: an engine that is not known, or a scheduler that is not allowed.
        DrillcoreError: a stage failed; the last good state stays, and the next run goes on from the last good stage.
    """
    settings = prepared()
    cluster = Cluster.of_parameters(scheduler, tls_ca, tls_cert, tls_key, plain_scheduler).of_engine(engine)
    work = Retrain(settings, model, promote=promote, force=force, changes=changes or (), cluster=cluster)
    if (last := work.peek()) is not None:
        summary = last.to_dict()
    else:
        try:
            summary = _stages(settings, work)
        except LeaseHeldError as error:
            return end(skipped({"model": model}, error))
        if summary["status"] == "promoted":
            raise_promotion(summary)
    show_retrain(settings, summary)
    return end(summary)


def _stages(settings: Settings, work: Retrain) -> Summary:
    # The lease first: a tick that has to skip must not wait for a GPU before it knows.
    with work, gpu_slot(settings):
        for stage in work.stages():
            TASKS[stage.name](work)
        return work.summary().to_dict()
