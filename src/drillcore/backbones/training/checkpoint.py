"""Where a training stands: one safetensors file, replaced atomically, so that kill -9 costs one epoch at most."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from drillcore.json_types import Json
from drillcore.trained_state import read_state, write_state


@dataclass(kw_only=True)
class Checkpoint:
    """State after a whole epoch. Nothing random is in it: what is drawn in an epoch follows from seed and epoch.

    Attributes:
        identity: digest of all that decides the run; a checkpoint of another run is not continued.
        epoch: epochs done.
        weights, momentum, second, average, best: tensors by parameter name; second moments of AdamW and the running
            average only where the plan has them.
        best_epoch: 1 for the first; 0: none yet.
        best_score: validation loss of the best epoch.
        stale: epochs since then.
        curve: one record per epoch.
        seconds: spent on training so far.
        threads: of the CPU it computes with, which decide the last bits; 0: not known.
    """

    identity: str
    epoch: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)
    momentum: dict[str, Tensor] = field(default_factory=dict)
    second: dict[str, Tensor] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    best_score: float = float("inf")
    stale: int = 0
    curve: list[Json] = field(default_factory=list)
    seconds: float = 0.0
    threads: int = 0


_SCALARS = ("identity", "epoch", "best_epoch", "best_score", "stale", "curve", "seconds", "threads")
_GROUPS = ("weights", "momentum", "second", "average", "best")


def write_checkpoint(path: Path, state: Checkpoint) -> None:
    """Replace the checkpoint at `path`; raises OSError when it cannot be written."""
    tensors = {f"{group}/{name}": tensor for group in _GROUPS for name, tensor in getattr(state, group).items()}
    write_state(path, {name: getattr(state, name) for name in _SCALARS}, tensors)


def read_checkpoint(path: Path, identity: str) -> Checkpoint | None:
    """Return the checkpoint at `path`, on the CPU; None where there is none, it is of another run, or damaged."""
    found = read_state(path, identity)
    if found is None:
        return None
    scalars, tensors = found
    try:
        state = Checkpoint(**scalars)
    except TypeError:
        return None
    for key, tensor in tensors.items():
        group, _, name = key.partition("/")
        if group not in _GROUPS:
            return None
        getattr(state, group)[name] = tensor
    return state
