"""A client of a scheduler, or of workers that are started here and end with it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from drillcore.cluster.address import Cluster, nobody
from drillcore.settings import Settings

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

CONNECT_SECONDS = 30


@contextlib.contextmanager
def connected(settings: Settings, cluster: Cluster, name: str) -> Iterator[Client]:
    """Yield a client of the scheduler, or of a cluster of processes with one thread each that lives as long as it.

    Args:
        settings: how many processes.
        cluster: where the scheduler is.
        name: of the client, for the scheduler's log.

    Raises:
        InputError: no scheduler answers.
    """
    from distributed import Client

    for logger in ("distributed", "distributed.client", "tornado.application"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)  # a lost worker is expected; the rest is said at the end
    with contextlib.ExitStack() as stack:
        if cluster.scheduler:
            try:
                client = Client(
                    cluster.address,
                    security=cluster.security(),
                    timeout=CONNECT_SECONDS,
                    set_as_default=False,
                    name=name,
                )
            except (OSError, ValueError, TypeError, RuntimeError) as error:
                raise nobody(cluster.address, error) from None
        else:
            local = stack.enter_context(local_workers(settings.cpu_threads))
            client = Client(local, set_as_default=False)
        stack.enter_context(client)
        yield client


@contextlib.contextmanager
def local_workers(count: int) -> Iterator[LocalCluster]:
    """Start a `LocalCluster` on loopback, of so many processes with one thread each."""
    import dask
    from distributed import LocalCluster

    # It would look at every thread a hundred times a second.
    with (
        dask.config.set({"distributed.worker.profile.enabled": False}),
        LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            # None would still listen, and on all interfaces.
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        yield cluster
