"""The score flow: what comes into a folder is scored with the champion, each content once."""

from __future__ import annotations

import time
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from drillcore import registry
from drillcore.cluster.address import Cluster
from drillcore.digests import sha256_bytes
from drillcore.errors import LeaseHeldError
from drillcore.remote import AnyPath, place
from drillcore.runtime.batch.receipt import verify as look
from drillcore.runtime.model.reference import parse_reference
from drillcore.runtime.model.served import resolve
from drillcore.settings import Settings
from drillcore.state.leases import hold_lease
from drillcore_pipelines.failing import step, told_flow
from drillcore_pipelines.prefect_artifacts import show_score
from drillcore_pipelines.running import RETRY_SECONDS, Summary, end, may_pass, prepared, say, skipped
from drillcore_serving.batch.inbox import Inbox
from drillcore_serving.batch.inputs.input_list import is_table, list_inputs
from drillcore_serving.batch.score_batch import score as run

INBOX = "inbox"  # in the state folder, one folder per model
_DIGITS = 12  # of a digest in an output's name
_VERSION = "{version}"  # in an output: so that each champion has one of its own
_NAMED = 12  # files that wait, in the log


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
@step
def fetch(settings: Settings, reference: str) -> int:
    """Bring the file and return its version."""
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
@step
def score_images(
    settings: Settings, reference: str, source: AnyPath, output: AnyPath, engine: str = "local", scheduler: str = ""
) -> dict[str, object]:
    """Return the counts and where the results are."""
    served = resolve(settings, reference)
    cluster = Cluster(scheduler).of_engine(engine)
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
@step
def verify(output: AnyPath) -> None:
    """Raise ReceiptError where a row or part is changed, missing or doubled."""
    look(output)
    say(f"verify: {output.name} is as its receipt says")


@task(
    name="score-inbox",
    description="score what is new in a folder, each content once; a tick that was killed goes on",
    retries=1,
    retry_delay_seconds=RETRY_SECONDS[0],
    retry_condition_fn=may_pass,
    timeout_seconds=24 * 3600,
    cache_policy=NO_CACHE,  # the output's ledger knows, by digest, what is done
    persist_result=False,
)
@step
def score_inbox(
    settings: Settings, reference: str, inbox: AnyPath, output: Path, engine: str = "local", scheduler: str = ""
) -> dict[str, object]:
    """Return the counts of this tick, what waits, and where the results are; each batch is verified."""
    served = resolve(settings, reference)
    cluster = Cluster(scheduler).of_engine(engine)
    began = time.monotonic()
    done = Inbox(settings, served, inbox, output, engine=engine, cluster=cluster).tick()
    for path, reason in list(done.waiting.items())[:_NAMED]:
        say(f"score-inbox: {path} waits: {reason}")
    say(
        f"score-inbox: {done.scored:,} scored, {done.set_aside:,} set aside, {done.known:,} of known content, "
        f"{len(done.waiting):,} waiting"
    )
    return {
        "model": served.model,
        "version": served.version,
        "model_sha256": served.sha256,
        "inputs": done.scored + done.set_aside,
        "scored": done.scored,
        "set_aside": done.set_aside,
        "known": done.known,
        "waiting": len(done.waiting),
        "resumed": done.resumed,
        "seconds": round(time.monotonic() - began, 3),
        "output": str(output),
        "batches": done.batches,
    }


@told_flow("model")
def score(model: str, source: str = "", output: str = "", engine: str = "local", scheduler: str = "") -> Summary:
    """Score SOURCE with MODEL[@ALIAS|@VERSION] into OUTPUT.

    Args:
        model: a model's name or reference.
        source: a folder, a `.txt` list or a Parquet file with a column `path`; "": what waits in
            `.drillcore/inbox/<model>`.
        output: a new, empty or unfinished folder, `{version}` in it standing for the model's; "": one below
            `.drillcore/scored` that grows by what is new in the folder, each content once; of a list, one named by it.
            Both may be URLs.
        engine: "local", or "dask": on the workers of a Dask cluster, which `serving` speaks to itself, without
            prefect-dask: the shards are no tasks of Prefect's, their journal and receipt know what is done.
        scheduler: its address, for "dask"; TLS as Dask's own configuration says. "": workers are started here.

    Returns:
        as JSON: `status` is "scored", "unchanged" or, where a schedule's tick finds it being done, "skipped".

    Raises:
        InputError: there is nothing to score in a source that was named.
        DrillcoreError: the model cannot be fetched, or the output not be written.
    """
    settings = prepared()
    name = parse_reference(model).name
    subject = {"model": name}
    folder = place(source) if source else settings.state / INBOX / name
    if not source and not folder.is_dir():
        return end({**subject, "status": "unchanged", "reason": f"nothing waits in {folder}"})
    grows = not output and folder.is_dir() and not is_table(folder)
    try:
        with hold_lease(settings, f"score:{name}"):
            version = fetch(settings, model)
            if grows:
                summary = score_inbox(settings, model, folder, _growing(settings, name, source), engine, scheduler)
            else:
                target = _output(settings, output, name, version, folder)
                summary = score_images(settings, model, folder, target, engine, scheduler)
                verify(target)
    except LeaseHeldError as error:
        return end(skipped(subject, error))
    _conclude(summary, folder)
    if summary["status"] == "scored":
        show_score(summary)
    return end(summary)


def _conclude(summary: Summary, folder: AnyPath) -> None:
    """Add status and reason."""
    new = summary["resumed"] < summary["inputs"]
    summary["status"] = "scored" if new else "unchanged"
    counts = f"{summary['scored']:,} scored, {summary['set_aside']:,} set aside"
    if "waiting" not in summary:
        where = f"in {summary['output']}"
        summary["reason"] = f"{counts}, {where}" if new else f"nothing new: {counts} before, {where}"
        return
    waits = f"{summary['waiting']:,} not finished" if summary["waiting"] else "nothing waits"
    summary["reason"] = f"{counts}, in {summary['output']}; {waits} in {folder}" if new else f"{waits} in {folder}"


def _growing(settings: Settings, name: str, source: str) -> Path:
    """Return the output that grows by what comes into a folder."""
    own = f"{name}-{sha256_bytes(source.encode())[:_DIGITS]}" if source else name
    return settings.state / "scored" / own


def _output(settings: Settings, output: str, name: str, version: int, folder: AnyPath) -> AnyPath:
    """Return where the results of one version go."""
    if output:
        return place(output.replace(_VERSION, str(version)))
    return settings.state / "scored" / f"{name}-{version}-{list_inputs(folder).digest()[:_DIGITS]}"
