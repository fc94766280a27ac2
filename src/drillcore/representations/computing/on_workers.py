"""Parts go to Dask workers, and what is made of them comes back in order; the driver alone writes it into the store.

A worker computes each part with one thread, as a thread of the driver would. It gets network and weights once in a run,
and keeps them for as long as it lives or until two later runs have come.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from drillcore.cluster.address import Cluster
from drillcore.cluster.client import connected
from drillcore.cluster.dispatch import Dispatch
from drillcore.cluster.on_worker import Likeness, Refusal, seen_size, versions
from drillcore.devices import exact_computing, resolve_device
from drillcore.errors import DrillcoreError
from drillcore.representations.computing.work import Made, Part, Work
from drillcore.settings import Settings

_PACKAGES = ("drillcore", "numpy", "onnxruntime", "pillow", "scipy", "timm", "torch", "torchvision")
_KEPT = 2  # runs whose network a worker keeps


@dataclass(frozen=True, slots=True)
class Errand:
    """What the parts of a run have in common.

    Attributes:
        device: auto, cpu or cuda.
        likeness: what the worker must see and have as the driver does.
    """

    device: str
    likeness: Likeness


def on_workers(work: Work[Part, Made], parts: Sequence[Part], settings: Settings, cluster: Cluster) -> Generator[Made]:
    """Yield what is made of each part, in their order; arguments as `engines.computed`.

    Raises:
        InputError: no scheduler or worker answers, or workers do not see what the driver sees.
        DeviceError: no worker offers a GPU, or has none.
        DrillcoreError: the scheduler went away, or a part ends its workers again and again.
    """
    from distributed.protocol import serialize_bytes

    cluster.check()
    work.network.to("cpu")
    sent: bytes = serialize_bytes(work)
    likeness = Likeness(uuid.uuid4().hex, tuple(_to_be_seen(work, parts)), versions(_PACKAGES))
    errand = Errand(settings.device, likeness)

    def called(number: int) -> str:
        image = work.first(parts[number])
        return f"the part of the features that begins with {work.path(image) or f'image {image}'}"

    with connected(settings, cluster, "drillcore-features") as client:
        dispatch = Dispatch[Any](
            client=client,
            name="drillcore-features",
            task=compute,
            arguments=lambda number: (errand, parts[number]),
            load=lambda: sent,
            called=called,
            device=settings.device,
            at_once=True,
        )
        with contextlib.closing(dispatch.in_order(len(parts))) as made:
            yield from made


def compute(errand: Errand, part: Any, sent: bytes) -> Any:
    """Compute one part, on a worker; return what is made of it, or a `Refusal`."""
    try:
        errand.likeness.check()
        work, device = _open(errand, sent)
        if device.type == "cpu":
            torch.set_num_threads(1)  # of this thread
        return work(part)
    except DrillcoreError as error:
        return Refusal.of(error)


def _to_be_seen(work: Work[Part, Any], parts: Sequence[Part]) -> list[tuple[str, int]]:
    """Return the first image, which a worker must see as this process does; that each is the same is seen as it is."""
    path = work.path(work.first(parts[0])) if len(parts) else None
    size = None if path is None else seen_size(str(path))
    return [] if size is None else [(str(path), size)]


def _open(errand: Errand, sent: bytes) -> tuple[Work[Any, Any], torch.device]:
    """Return a run's work, opened once in this process. Raises DeviceError."""
    with _OPENING:
        device = resolve_device(errand.device)
        if errand.likeness.run not in _OPENED:
            from distributed.protocol import deserialize_bytes

            work: Work[Any, Any] = deserialize_bytes(sent)
            if device.type not in _EXACT:
                _EXACT[device.type] = _one_thread(device)
            opening = work.opened(device)
            opening.__enter__()
            _OPENED[errand.likeness.run] = work, opening
            while len(_OPENED) > _KEPT:
                del _OPENED[next(iter(_OPENED))]
        return _OPENED[errand.likeness.run][0], device


def _one_thread(device: torch.device) -> contextlib.ExitStack:
    """Compute exactly, on a CPU with one thread, as long as the process lives: parts run beside each other."""
    stack = contextlib.ExitStack()
    stack.enter_context(exact_computing(1 if device.type == "cpu" else 0))
    stack.enter_context(threadpool_limits(1 if device.type == "cpu" else None, "blas"))
    return stack


_OPENED: dict[str, tuple[Work[Any, Any], contextlib.AbstractContextManager[None]]] = {}
_EXACT: dict[str, contextlib.ExitStack] = {}
_OPENING = threading.Lock()
