"""The score flow: what waits in a folder is scored with the champion, each image once."""

from __future__ import annotations

from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from drillcore.errors import InputError, LeaseHeldError
from drillcore.remote import AnyPath, place
from drillcore.settings import Settings
from pipelines.reporting import show_score
from pipelines.running import RETRY_SECONDS, Summary, end, may_pass, prepared, say, skipped

INBOX = "inbox"  # in the state folder, one folder per model
_NAMED = 12  # digits of the input list's digest in the output's name


@task(
    name="fetch",
    description="bring the promoted file here, verified by its digest",
    retries=2,
    retry_delay_seconds=list(RETRY_SECONDS[:2]),
    retry_condition_fn=may_pass,
    timeout_seconds=3600,
    cache_policy=NO_CACHE,  # the alias may have moved; a file that is here already is not brought again
    persist_result=False,
)
def fetch(settings: Settings, reference: str) -> int:
    """Bring the file and return its version."""
    from drillcore import registry

    pointer = registry.fetch(settings, reference)
    say(f"fetch: {pointer.model} version {pointer.version}, sha256 {pointer.sha256[:12]}")
    return pointer.version


@task(
    name="score-images",
    description="score or set aside each image, once; a run that was killed goes on",
    retries=1,
    retry_delay_seconds=RETRY_SECONDS[0],
    retry_condition_fn=may_pass,
    timeout_seconds=24 * 3600,
    cache_policy=NO_CACHE,  # the output's journal and receipt know, by digest, what is done: a cache would be a rumour
    persist_result=False,
)
def score_images(
    settings: Settings, reference: str, source: AnyPath, output: AnyPath, engine: str = "local", scheduler: str = ""
) -> dict[str, Any]:
    """Return the counts and where the results are."""
    from drillcore.runtime.served import resolve
    from serving.batch import score as run
    from serving.engines.cluster import Cluster

    served = resolve(settings, reference)
    cluster = Cluster(scheduler) if engine == "dask" else None
    result = run(settings, served, source, output, device=settings.device, engine=engine, cluster=cluster)
    say(
        f"score-images: {result.scored:,} scored, {result.set_aside:,} set aside, {result.resumed:,} from before, "
        f"{result.seconds:.1f} s"
    )
    return {
        "model": served.model,
        "version": served.version,
        "model_sha256": served.sha256,
        "inputs": result.inputs,
        "scored": result.scored,
        "set_aside": result.set_aside,
        "resumed": result.resumed,
        "seconds": round(result.seconds, 3),
        "output": str(result.output),
    }


@task(
    name="verify",
    description="check the output against its receipt",
    timeout_seconds=3600,
    cache_policy=NO_CACHE,  # it is there to look at the files
    persist_result=False,
)
def verify(output: AnyPath) -> None:
    """Raise ReceiptError where a row or part is changed, missing or doubled."""
    from drillcore.runtime.receipt import verify as look

    look(output)
    say(f"verify: {output.name} is as its receipt says")


@flow(name="score", flow_run_name="score-{model}", persist_result=True, result_serializer="json")
def score(model: str, source: str = "", output: str = "", engine: str = "local", scheduler: str = "") -> Summary:
    """Score SOURCE with MODEL[@ALIAS|@VERSION] into OUTPUT.

    Args:
        model: a model's name or reference.
        source: a folder, a `.txt` list or a Parquet file with a column `path`; "": what waits in
            `.drillcore/inbox/<model>`.
        output: a new, empty or unfinished folder; "": one below `.drillcore/scored`, named by model, version and the
            list of the inputs' names, so that a tick with no new name finds its work done. Both may be URLs.
        engine: "local", or "dask": on the workers of a Dask cluster, which `serving` speaks to itself, without
            prefect-dask: the shards are no tasks of Prefect's, their journal and receipt know what is done.
        scheduler: its address, for "dask"; TLS as Dask's own configuration says. "": workers are started here.

    Returns:
        as JSON: `status` is "scored", "unchanged" or, where a schedule's tick finds it being done, "skipped".

    Raises:
        InputError: there is nothing to score in a source that was named.
        DrillcoreError: the model cannot be fetched, or the output not be written.
    """
    from drillcore.runtime.reference import parse_reference
    from drillcore.state.leases import hold_lease

    settings = prepared()
    name = parse_reference(model).name
    subject = {"model": name}
    folder = place(source) if source else settings.state / INBOX / name
    if not source and _is_empty(folder):
        return end({**subject, "status": "unchanged", "reason": f"nothing waits in {folder}"})
    try:
        with hold_lease(settings, f"score:{name}"):
            version = fetch(settings, model)
            target = place(output) if output else _output(settings, name, version, folder)
            summary = score_images(settings, model, folder, target, engine, scheduler)
            verify(target)
    except LeaseHeldError as error:
        return end(skipped(subject, error))
    new = summary["resumed"] < summary["inputs"]
    summary["status"] = "scored" if new else "unchanged"
    counts = f"{summary['scored']:,} scored, {summary['set_aside']:,} set aside"
    summary["reason"] = f"{counts}, in {target}" if new else f"nothing new: {counts} before, in {target}"
    show_score(summary)
    return end(summary)


def _is_empty(inbox: AnyPath) -> bool:
    from serving.inputs import list_inputs

    try:
        return not list_inputs(inbox)
    except InputError:  # no folder yet, or no image in it
        return True


def _output(settings: Settings, name: str, version: int, folder: AnyPath) -> AnyPath:
    """Return where the results of an input list go."""
    from serving.inputs import list_inputs

    return settings.state / "scored" / f"{name}-{version}-{list_inputs(folder).digest()[:_NAMED]}"
