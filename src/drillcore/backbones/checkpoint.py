"""Where a training stands: one safetensors file, replaced atomically, so that kill -9 costs one epoch at most."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from drillcore.digests import Json
from drillcore.files import write_bytes

_SCHEMA = 1


@dataclass(kw_only=True)
class Checkpoint:
    """State after a whole epoch. Nothing random is in it: what is drawn in an epoch follows from seed and epoch.

    Attributes:
        identity: digest of all that decides the run; a checkpoint of another run is not continued.
        epoch: epochs done.
        weights, momentum, best: tensors by parameter name.
        best_epoch: 1 for the first; 0: none yet.
        best_score: validation loss of the best epoch.
        stale: epochs since then.
        curve: one record per epoch.
        seconds: spent on training so far.
    """

    identity: str
    epoch: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)
    momentum: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    best_score: float = float("inf")
    stale: int = 0
    curve: list[dict[str, Json]] = field(default_factory=list)
    seconds: float = 0.0


_SCALARS = ("identity", "epoch", "best_epoch", "best_score", "stale", "curve", "seconds")
_GROUPS = ("weights", "momentum", "best")


def write_checkpoint(path: Path, state: Checkpoint) -> None:
    """Replace the checkpoint at `path`; raises OSError when it cannot be written."""
    from safetensors.torch import save

    scalars = {"schema": _SCHEMA} | {name: getattr(state, name) for name in _SCALARS}
    tensors = {
        f"{group}/{name}": tensor.detach().cpu().clone()  # safetensors refuses tensors that share memory
        for group in _GROUPS
        for name, tensor in getattr(state, group).items()
    }
    text = json.dumps(scalars)
    write_bytes(path, save(tensors, metadata={"state": text, "crc32": _checksum(text, tensors)}))


def read_checkpoint(path: Path, identity: str) -> Checkpoint | None:
    """Return the checkpoint at `path`, on the CPU; None where there is none, it is of another run, or damaged."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as stream:
            about = stream.metadata() or {}
            tensors = {key: stream.get_tensor(key).clone() for key in stream.keys()}  # noqa: SIM118 - no dict
            if about["crc32"] != _checksum(about["state"], tensors):
                return None
            scalars = json.loads(about["state"])
            if scalars.pop("schema") != _SCHEMA or scalars["identity"] != identity:
                return None
            state = Checkpoint(**scalars)
            for key, tensor in tensors.items():
                group, _, name = key.partition("/")
                if group not in _GROUPS:
                    return None
                getattr(state, group)[name] = tensor
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None
    return state


def _checksum(text: str, tensors: dict[str, Tensor]) -> str:
    """Return a CRC-32 of everything: a training must not go on from a flipped bit."""
    crc = zlib.crc32(text.encode())
    for name in sorted(tensors):
        crc = zlib.crc32(f"{name} {tensors[name].dtype} {list(tensors[name].shape)}".encode(), crc)
        crc = zlib.crc32(tensors[name].contiguous().numpy().tobytes(), crc)
    return str(crc)
