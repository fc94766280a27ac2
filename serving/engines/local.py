"""The local engine: this process scores, decoding in others; a part is written while the next shard is scored."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from drillcore.ahead import run_ahead
from drillcore.progress import progress
from drillcore.runtime.batch.scoring import IN_PROCESS
from drillcore.runtime.images.decode_pool import DecodePool
from drillcore.settings import Settings
from drillcore_serving.batch.committed import commit
from drillcore_serving.batch.journal import Entry, Journal
from drillcore_serving.batch.shard_scorer import ShardScorer
from drillcore_serving.batch.writing.part_tables import Shard


def execute(
    settings: Settings, scorer: ShardScorer, journal: Journal, pending: list[int], entries: dict[int, Entry]
) -> tuple[int, str]:
    """Score the pending shards, commit them one by one and add their entries.

    Args:
        settings: processes that decode, and limits.
        scorer: the plan and all that is needed for its shards.
        journal: of the output, started.
        pending: shards to do, ascending.
        entries: of the shards that are done; filled.

    Returns:
        How many images have values that look like something they are not read as, and the note of the first.

    Raises:
        DrillcoreError: the output cannot be written; what was committed stays.
    """
    plan, metadata = scorer.plan, scorer.session.metadata
    workers = settings.decode_workers if plan.rows(pending) > IN_PROCESS else 0

    def finish(shard: Shard) -> Entry:
        ready = scorer.ready(shard)
        commit(scorer.output, journal, ready.entry, ready.data)
        return ready.entry

    with (
        progress("score", plan.inputs) as advance,
        ThreadPoolExecutor(1, thread_name_prefix="write") as disk,
        DecodePool(metadata.channels, workers=workers, **settings.decoding(metadata.value_range)) as pool,
    ):
        advance(plan.rows(entries))
        shards = scorer.answers(pool, pending, advance)
        for entry in run_ahead(lambda shard: disk.submit(finish, shard).result, shards, 2):
            entries[entry.shard] = entry
    return pool.odd, pool.first_odd
