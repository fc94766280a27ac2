"""The two ways to compute: threads of this process, and Dask workers."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from threadpoolctl import threadpool_limits

from drillcore.ahead import run_ahead, threads
from drillcore.devices import exact_computing, resolve_device
from drillcore.representations.computing.work import Made, Part, Work
from drillcore.settings import Settings

if TYPE_CHECKING:
    from drillcore.cluster.address import Cluster

_AHEAD = 2  # parts per thread that may wait: they bound the memory, and a kill loses them


def computed(
    work: Work[Part, Made],
    parts: Sequence[Part],
    settings: Settings,
    cluster: Cluster | None = None,
    *,
    beside_gpu: int = 1,
) -> Generator[Made]:
    """Yield what is made of each part, in their order; to be closed by whoever leaves it early.

    Args:
        work: what is computed.
        parts: of the images.
        settings: device and threads.
        cluster: whose workers compute; None: threads here.
        beside_gpu: threads here that prepare what a GPU computes.

    Raises:
        DeviceError: cuda is asked for and not there.
        DrillcoreError: as the work; and those of `cluster.dispatch`.
    """
    if cluster is None:
        yield from _here(work, parts, settings, beside_gpu)
        return
    from drillcore.representations.computing.on_workers import on_workers

    yield from on_workers(work, parts, settings, cluster)


def _here(work: Work[Part, Made], parts: Sequence[Part], settings: Settings, beside_gpu: int) -> Generator[Made]:
    device = resolve_device(settings.device)
    # On a CPU whole parts are computed side by side by one thread each: the threads of one network wait for each other
    # at every layer, and spin while a decoder has their core. The resize is a matrix product: with threads of its own
    # in every worker it takes half as long again.
    on_cpu = device.type == "cpu"
    count = max(1, settings.cpu_threads if on_cpu else beside_gpu)
    one = partial(torch.set_num_threads, 1)
    with (
        work.opened(device),
        exact_computing(1 if on_cpu else settings.cpu_threads),
        threadpool_limits(1 if on_cpu else None, "blas"),
        threads(count, "compute", one) as pool,
    ):
        yield from run_ahead(lambda part: pool.submit(work, part).result, parts, _AHEAD * count)
