"""Where the training of a deep belief network stands: one safetensors file, replaced atomically."""

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
    scalars: dict[str, Json] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)


def checkpoint_path(folder: Path, identity: str) -> Path:
    """Return the file in `folder` that the training of this identity goes on from."""
    return folder / f"{identity[:24]}.dbn"


def write_checkpoint(folder: Path, state: DbnCheckpoint) -> None:
    """Replace the checkpoint of `state.identity`; raises OSError when it cannot be written."""
    from safetensors.torch import save

    about = {"identity": state.identity, "stage": state.stage, "epoch": state.epoch, "block": state.block}
    text = json.dumps({"schema": _SCHEMA, **about, "scalars": state.scalars})
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.tensors.items()}
    data = save(tensors, metadata={"state": text, "crc32": _checksum(text, tensors)})
    write_bytes(checkpoint_path(folder, state.identity), data)


def read_checkpoint(folder: Path, identity: str) -> DbnCheckpoint | None:
    """Return the checkpoint of `identity`, on the CPU; None where there is none, or it is damaged."""
    from safetensors import SafetensorError, safe_open

    path = checkpoint_path(folder, identity)
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
        return DbnCheckpoint(**scalars, tensors=tensors)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None


def _checksum(text: str, tensors: dict[str, Tensor]) -> str:
    """Return a CRC-32 of everything: a training must not go on from a flipped bit."""
    crc = zlib.crc32(text.encode())
    for name in sorted(tensors):
        crc = zlib.crc32(f"{name} {tensors[name].dtype} {list(tensors[name].shape)}".encode(), crc)
        crc = zlib.crc32(tensors[name].numpy().tobytes(), crc)
    return str(crc)
