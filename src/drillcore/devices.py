"""Which device computes, and how exactly."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

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
