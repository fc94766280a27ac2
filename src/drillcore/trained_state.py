"""The state of a training on disk: tensors, and JSON beside them, in one safetensors file that is replaced atomically.

A CRC-32 over all of it stands in the header: a training must not go on from a flipped bit.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from drillcore.files import write_bytes
from drillcore.json_types import Json, Values

_SCHEMA = 1


def write_state(path: Path, scalars: Values, tensors: Mapping[str, Tensor]) -> None:
    """Replace the file at `path`.

    Args:
        path: of the file.
        scalars: JSON values; `identity` is the digest of all that decides the training.
        tensors: by name, on any device.

    Raises:
        OSError: it cannot be written.
    """
    text = json.dumps({"schema": _SCHEMA, **scalars})
    # safetensors refuses tensors that share memory
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_bytes(path, save(copies, metadata={"state": text, "crc32": _checksum(text, copies)}))


def read_state(path: Path, identity: str) -> tuple[Json, dict[str, Tensor]] | None:
    """Return scalars and tensors, on the CPU; None where there is no file, it is of another training, or damaged."""
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
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None
    return scalars, tensors


def _checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    crc = zlib.crc32(text.encode())
    for name in sorted(tensors):
        crc = zlib.crc32(f"{name} {tensors[name].dtype} {list(tensors[name].shape)}".encode(), crc)
        crc = zlib.crc32(tensors[name].contiguous().numpy().tobytes(), crc)
    return str(crc)
