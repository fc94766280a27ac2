"""Weights from a file: safetensors only, digest checked, every tensor at its place."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from drillcore.backbones.base import Backbone, weights_digest
from drillcore.digests import sha256_bytes
from drillcore.errors import InputError, IntegrityError


def load_weights_file(backbone: Backbone, path: Path, sha256: str) -> Backbone:
    """Give `backbone` the weights of a safetensors file and return it.

    Tensors the network has no place for (a classifier that was left out) are passed over; `weights_sha256` is that of
    what is used.

    Raises:
        InputError: no such file, or one that does not fit the network.
        IntegrityError: its digest is not `sha256`.
    """
    load_state(backbone.module, path, sha256)
    backbone.weights_sha256 = weights_digest(backbone.module)
    return backbone


def load_state(module: nn.Module, path: Path, sha256: str) -> None:
    """Read the tensors of `module` from a safetensors file; errors as `load_weights_file`."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    if not path.is_file():
        raise InputError(f"no weights file {path.name}; put it at the place the recipe names")
    data = path.read_bytes()
    found = sha256_bytes(data)
    if found != sha256:
        raise IntegrityError(f"{path.name} has sha256 {found}, expected {sha256}; bring the file again")
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise IntegrityError(f"{path.name} is not a safetensors file: {error}") from None
    wanted = module.state_dict()
    missing = sorted(
        name for name, value in wanted.items() if name not in tensors or tensors[name].shape != value.shape
    )
    if missing:
        raise InputError(f"{path.name} does not fit the network: {len(missing)} tensors differ, first {missing[0]}")
    module.load_state_dict({name: tensors[name] for name in wanted})
