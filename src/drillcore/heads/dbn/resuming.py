"""Where the training of a deep belief network stands: one safetensors file, replaced atomically."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from drillcore.digests import sha256_bytes, sha256_json
from drillcore.heads.dbn.fine_tuning import Targets
from drillcore.heads.dbn.params import DbnPlan
from drillcore.heads.row_source import RowSource, moments
from drillcore.json_types import Json
from drillcore.trained_state import read_state, write_state

_PRETRAINING = 2  # raised when pretraining changes, so that no state of another one is continued


@dataclass(kw_only=True)
class DbnCheckpoint:
    """State between two blocks of rows. Nothing random is in it: draws follow from seed, stage, epoch and block.

    Attributes:
        identity: digest of all that decides the training; a checkpoint of another one is not continued.
        stage: number of the stage; layers are pretrained one after the other, fine-tuning comes last.
        epoch, block: whole ones done in this stage.
        scalars: of the stages so far, JSON values.
        tensors: by name.
    """

    identity: str
    stage: int = 0
    epoch: int = 0
    block: int = 0
    scalars: Json = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)


def identity_of(
    plan: DbnPlan,
    rows: list[str],
    targets: Targets,
    validation: tuple[RowSource, Targets] | None,
    device: torch.device,
) -> str:
    """Return the digest of all that decides a training.

    Args:
        plan: hyper-parameters.
        rows: digests of the rows learnt from.
        targets: of them.
        validation: rows, read once for this, and their targets.
        device: whose arithmetic it is.
    """
    parts = [*rows, *_digests(targets)]
    if validation:
        parts += [moments(validation[0], digest=True).digest, *_digests(validation[1])]
    about = {"plan": plan.to_dict(), "outputs": targets.outputs, "torch": torch.__version__}
    if plan.pretrain_epochs:
        about["pretraining"] = _PRETRAINING
    return sha256_json({"data": parts, "device": device.type, **about})


def _digests(targets: Targets) -> list[str]:
    arrays = [targets.values] if targets.weights is None else [targets.values, targets.weights]
    return [sha256_bytes(np.ascontiguousarray(array).data.cast("B")) for array in arrays]


def checkpoint_path(folder: Path, identity: str) -> Path:
    """Return the file in `folder` that the training of this identity goes on from."""
    return folder / f"{identity[:24]}.dbn"


def write_checkpoint(folder: Path, state: DbnCheckpoint) -> None:
    """Replace the checkpoint of `state.identity`; raises OSError when it cannot be written."""
    about = {"identity": state.identity, "stage": state.stage, "epoch": state.epoch, "block": state.block}
    write_state(checkpoint_path(folder, state.identity), {**about, "scalars": state.scalars}, state.tensors)


def read_checkpoint(folder: Path, identity: str) -> DbnCheckpoint | None:
    """Return the checkpoint of `identity`, on the CPU; None where there is none, or it is damaged."""
    found = read_state(checkpoint_path(folder, identity), identity)
    if found is None:
        return None
    scalars, tensors = found
    try:
        return DbnCheckpoint(**scalars, tensors=tensors)
    except TypeError:
        return None
