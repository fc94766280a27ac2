"""Clusters of Dask workers that have a core each, to compare few workers with more."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from drillcore.cluster.address import Cluster
from drillcore.cluster.client import local_workers


@contextmanager
def pinned_clusters(counts: Sequence[int]) -> Iterator[dict[int, Cluster]]:
    """Yield a cluster by its number of workers, each a process of one thread on one core, whatever it starts too."""
    from distributed import Client

    cores = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        clusters: dict[int, Cluster] = {}
        for workers in counts:
            local = stack.enter_context(local_workers(workers))
            client = stack.enter_context(Client(local, set_as_default=False))
            client.wait_for_workers(workers, timeout=120)
            for number, address in enumerate(sorted(client.scheduler_info(n_workers=-1)["workers"])):
                client.run(_pin, cores[number % len(cores)], workers=[address])
            clusters[workers] = Cluster(local.scheduler_address)
        yield clusters


def _pin(core: int) -> None:
    """Keep all threads of a worker, and those they start, on one core."""
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})
