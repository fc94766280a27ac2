"""Weights from a file: safetensors only, digest checked, every tensor at its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from drillcore.backbones.base import Backbone, weights_digest
from drillcore.digests import sha256_bytes
from drillcore.errors import InputError, IntegrityError

_COUNTER = ".num_batches_tracked"  # missing from older files; frozen batch normalisation does not read it


Fit = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def load_weights_file(backbone: Backbone, path: Path, sha256: str, fit: Fit | None = None) -> Backbone:
    """Give `backbone` the weights of a safetensors file and return it.

    Tensors the network has no place for (a classifier that was left out) are passed over; `weights_sha256` is that of
    what is used. `fit` brings older forms of a file to the network's, before they are compared.

    Raises:
        InputError: no such file, or one that does not fit the network.
        IntegrityError: its digest is not `sha256`.
    """
    load_state(backbone.module, path, sha256, fit)
    backbone.weights_sha256 = weights_digest(backbone.module)
    return backbone


def load_state(module: nn.Module, path: Path, sha256: str, fit: Fit | None = None) -> None:
    """Read the tensors of `module` from a safetensors file; errors as `load_weights_file`."""
    if not path.is_file():
        raise InputError(f"no weights file {path.name}; put it at the place the recipe names")
    data = path.read_bytes()
    found = sha256_bytes(data)
    if found != sha256:
        raise IntegrityError(f"{path.name} has sha256 {found}, expected {sha256}; bring the file again")
    tensors = parse_tensors(data, path.name)
    module.load_state_dict(fitting_tensors(module, fit(tensors) if fit else tensors, path.name))


def parse_tensors(data: bytes, name: str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file's bytes; raises IntegrityError where they are none."""
    try:
        found: dict[str, Tensor] = load(data)
        return found
    except SafetensorError as error:
        raise IntegrityError(f"{name} is not a safetensors file, or not a whole one: {error}") from None


def fitting_tensors(module: nn.Module, tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return the tensors a network takes from a file.

    Args:
        module: the network.
        tensors: of the file.
        name: of the file, for the error.

    Raises:
        InputError: a tensor is missing or has another shape.
    """
    wanted = module.state_dict()
    result: dict[str, Tensor] = {}
    wrong: list[str] = []
    for key, value in wanted.items():
        given = tensors.get(key)
        if given is None and key.endswith(_COUNTER):
            result[key] = value
        elif given is None or given.shape != value.shape or given.is_floating_point() != value.is_floating_point():
            came = f"{list(given.shape)} {str(given.dtype).removeprefix('torch.')}" if given is not None else "none"
            wrong.append(f"{key} ({list(value.shape)} is expected, {came} came)")
        else:
            result[key] = given
    if wrong:
        raise InputError(f"{name} does not fit the network: {len(wrong)} of {len(wanted)} tensors differ, {wrong[0]}")
    return result
