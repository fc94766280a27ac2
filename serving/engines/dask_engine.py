"""The Dask engine: shards go to workers, few at a time; this process alone commits what comes back.

A lost worker's shard is scored by another one; a lost driver's run is begun again and finds in the journal what it has
done.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from drillcore.cluster.address import Cluster
from drillcore.cluster.client import connected
from drillcore.cluster.dispatch import Dispatch
from drillcore.cluster.on_worker import Likeness, everywhere, seen_size, versions
from drillcore.progress import progress
from drillcore.settings import Settings
from drillcore_serving.batch.committed import commit
from drillcore_serving.batch.journal import Entry, Journal
from drillcore_serving.batch.shard_scorer import ScoredShard, ShardScorer
from drillcore_serving.engines.worker import PACKAGES, Errand, score_shard

_LOOKED_AT = 50  # first inputs of which one must be seen by the workers


def execute(
    settings: Settings,
    scorer: ShardScorer,
    journal: Journal,
    pending: list[int],
    entries: dict[int, Entry],
    cluster: Cluster,
    device: str,
) -> None:
    """Score the pending shards on workers, commit them one by one and add their entries.

    Args:
        settings: limits, and processes of a cluster that is started here.
        scorer: the plan and the inputs; its session is not run.
        journal: of the output, started.
        pending: shards to do.
        entries: of the shards that are done; filled.
        cluster: where the workers are.
        device: auto, cpu or cuda, on the workers; each shard takes one slot of the resource GPU for cuda.

    Raises:
        InputError: no scheduler or worker answers, or workers do not see what the driver sees.
        DeviceError: no worker offers a GPU.
        DrillcoreError: the scheduler went away, a shard ends its workers again and again, or the output cannot be
            written; what was committed stays.
    """
    errand = Errand(
        replace(scorer.model, path=scorer.model.path.absolute()),
        scorer.plan,
        scorer.options,
        scorer.output.absolute(),
        device,
        settings.max_pixels,
        settings.max_side,
        scorer.hosts,
        Likeness(uuid.uuid4().hex, tuple(_to_be_seen(scorer, journal)), versions(PACKAGES)),
    )

    def arguments(shard: int) -> tuple[Any, ...]:
        start, stop = scorer.plan.span(shard)
        recorded, files = scorer.source.paths(start, stop), scorer.source.files(start, stop)
        return errand, shard, list(recorded), list(map(everywhere, files))

    def called(shard: int) -> str:
        start, stop = scorer.plan.span(shard)
        return f"shard {shard} (inputs {start} to {stop - 1})"

    with connected(settings, cluster, "drillcore-score") as client, progress("score", scorer.plan.inputs) as advance:
        advance(scorer.plan.rows(entries))
        work = Dispatch[ScoredShard](
            client=client,
            name="drillcore-score",
            task=score_shard,
            arguments=arguments,
            load=errand.model.path.read_bytes,
            called=called,
            device=device,
        )
        for number, shard in work.results(pending):
            commit(scorer.output, journal, shard.entry, shard.data)
            entries[number] = shard.entry
            advance(scorer.plan.rows([number]))


def _to_be_seen(scorer: ShardScorer, journal: Journal) -> Iterator[tuple[str, int]]:
    """Yield what a worker must see as this process does: one of the first inputs, and the output of a dense model."""
    for path in map(everywhere, scorer.source.files(0, min(_LOOKED_AT, scorer.plan.inputs))):
        size = seen_size(path)
        if size is not None:
            yield path, size
            break
    if scorer.writer.keep is not None and isinstance(scorer.output, Path):
        yield everywhere(str(journal.path)), -1
