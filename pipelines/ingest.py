"""The ingest flow: new images from the landing zone become a checked version of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from drillcore.datasets.ingest import check_dataset, current_manifest, is_unchanged
from drillcore.datasets.ingest import ingest as accept
from drillcore.errors import DataError, LeaseHeldError
from drillcore.json_types import Json
from drillcore.settings import Settings
from drillcore_pipelines.events import raise_data
from drillcore_pipelines.failing import step, told_flow
from drillcore_pipelines.prefect_artifacts import show_ingest
from drillcore_pipelines.running import RETRY_SECONDS, Summary, data_lease, end, may_pass, prepared, say, skipped


@task(
    name="bring",
    description="bring the landing zone under version control and check what is new",
    retries=1,
    retry_delay_seconds=RETRY_SECONDS[0],
    retry_condition_fn=may_pass,
    timeout_seconds=6 * 3600,
    cache_policy=NO_CACHE,  # the landing zone is what is asked; nothing of it is known beforehand
    persist_result=False,
)
@step
def bring(settings: Settings, dataset: str) -> Json:
    """Return `data_digest`, `lineage`, `images`, `set_aside`, `splits` of the accepted version."""
    with data_lease(settings):
        manifest = accept(settings, dataset)
    splits = {str(name): int(count) for name, count in manifest.table["split"].value_counts().items()}
    facts = {
        "data_digest": manifest.digest,
        "lineage": manifest.lineage,
        "images": len(manifest.table),
        "set_aside": len(manifest.quarantine),
        "splits": splits,
    }
    say(f"bring: {facts['images']:,} images, {facts['set_aside']:,} set aside, digest {manifest.digest[:12]}")
    return facts


def _by_digest(_context: Any, parameters: dict[str, object]) -> str:
    return f"quality-{parameters['dataset']}-{parameters['digest']}"


@task(
    name="check",
    description="what Great Expectations says of the version",
    retries=1,
    retry_delay_seconds=RETRY_SECONDS[0],
    retry_condition_fn=may_pass,
    timeout_seconds=3600,
    cache_key_fn=_by_digest,
    persist_result=True,
    result_serializer="json",
)
@step
def check(settings: Settings, dataset: str, digest: str) -> Json:
    """Return the report as plain values, with `docs`, the first page of the Data Docs.

    Cached by the data's digest: Great Expectations takes ten seconds to import, and the answer is a function of the
    manifest. Only the report is cached; whether a version is accepted was decided, uncached, by `bring`.
    """
    with data_lease(settings):
        found = check_dataset(settings, dataset)
    if found.manifest.digest != digest:
        raise DataError(f"data set {dataset} changed again while it was checked; the next run looks at it")
    say(f"check: {len(found.report.results)} expectations, {len(found.report.failed)} failed (digest {digest[:12]})")
    return found.report.to_dict()


def checked(settings: Settings, dataset: str, digest: str) -> Json:
    """Return the report, from the cache if the pages it names are still there; else it is made again."""
    report = check(settings, dataset, digest)
    if report["docs"] is None or Path(report["docs"]).is_file():
        return report
    say(f"check: the cached report's pages are gone ({report['docs']}): made again")
    return check.with_options(refresh_cache=True)(settings, dataset, digest)


@told_flow("dataset")
def ingest(dataset: str) -> Summary:
    """Make a checked version of what is new in DATASET's landing zone; where nothing is, say so at once.

    A new version raises the event `drillcore.data`.

    Args:
        dataset: its name in the landing zone.

    Returns:
        as JSON: `status` is "accepted", "unchanged" or, where a schedule's tick finds others at it, "skipped"; else
        what `bring` and `check` returned.

    Raises:
        DataError, QualityError: the new images are refused; the last good version stays.
    """
    settings = prepared()
    subject = {"dataset": dataset}
    if is_unchanged(settings, dataset):
        digest = current_manifest(settings, dataset).digest
        reason = f"nothing new in the landing zone; digest {digest[:12]}"
        return end({**subject, "status": "unchanged", "reason": reason, "data_digest": digest})
    try:
        facts = bring(settings, dataset)
        report = checked(settings, dataset, facts["data_digest"])
    except LeaseHeldError as error:
        return end(skipped(subject, error))
    reason = f"{facts['images']:,} images, {facts['set_aside']:,} set aside; digest {facts['data_digest'][:12]}"
    summary = {**subject, "status": "accepted", "reason": reason, **facts, "quality": report}
    raise_data(summary)
    show_ingest(summary)
    return end(summary)
