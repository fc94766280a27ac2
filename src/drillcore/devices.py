"""Which device computes, with how many threads, and how exactly."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator

import torch

from drillcore.errors import DeviceError


def resolve_device(device: str) -> torch.device:
    """Return the torch device for "auto", "cpu" or "cuda".

    Raises:
        DeviceError: cuda is asked for and not there.
    """
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise DeviceError("cuda was asked for and torch finds no CUDA device; use auto or cpu")
    return torch.device("cuda" if there and device in ("auto", "cuda") else "cpu")


_WORTH = 0.9  # of one thread's time: what several have to stay below, for the cores they take
_TRIALS, _TRIAL_SECONDS = 5, 2.0


def fastest_threads(work: Callable[[], object], most: int) -> int:
    """Return how many of torch's threads `work` is done with soonest: 1, or `most` where these are worth it.

    On a busy machine the threads of a small network wait for each other at every layer, and two can take many times
    as long as one. Both are tried in turn, at most five times and for about two seconds. torch's number of threads is
    left as it was.

    Args:
        work: a step of what is to be computed; it leaves nothing behind.
        most: threads that there may be.
    """
    if most <= 1:
        return 1
    before, started = torch.get_num_threads(), time.perf_counter()
    times: dict[int, list[float]] = {1: [], most: []}
    try:
        for number in times:
            torch.set_num_threads(number)
            work()  # the first call makes room and chooses algorithms
        while len(times[most]) < _TRIALS and (not times[most] or time.perf_counter() - started < _TRIAL_SECONDS):
            for number, taken in times.items():
                torch.set_num_threads(number)
                begun = time.perf_counter()
                work()
                taken.append(time.perf_counter() - begun)
    finally:
        torch.set_num_threads(before)
    alone, together = (statistics.median(taken) for taken in times.values())
    return most if together < _WORTH * alone else 1


@contextlib.contextmanager
def exact_computing(threads: int) -> Iterator[None]:
    """Within: `threads` CPU threads (0: as they are), no TF32, no algorithms that differ from run to run."""
    before = torch.get_num_threads()
    cudnn = torch.backends.cudnn
    flags = (cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)
    try:
        if threads:
            torch.set_num_threads(threads)
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32 = True, False, False
        torch.backends.cuda.matmul.allow_tf32 = False
        yield
    finally:
        torch.set_num_threads(before)
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = flags
