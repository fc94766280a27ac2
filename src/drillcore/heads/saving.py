"""How a fitted head is kept: arrays in safetensors, the rest in JSON, never a pickle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from drillcore.digests import sha256_bytes
from drillcore.errors import InputError, IntegrityError
from drillcore.files import atomic_folder, read_object, recover_folder, write_bytes, write_json
from drillcore.heads.base import Classifier, Head, Regressor
from drillcore.heads.catalogue import head_class

ARRAYS_FILE, META_FILE = "head.safetensors", "head.json"
_SCHEMA = 1


def save_head(folder: Path, head: Head) -> str:
    """Keep a fitted head in `folder`, replacing what is there, whole or not at all.

    Returns:
        the SHA-256 of its arrays.

    Raises:
        OSError: the folder cannot be written.
    """
    arrays, meta = head.state()
    data = save({name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())})
    digest = sha256_bytes(data)
    with atomic_folder(folder) as partial:
        write_bytes(partial / ARRAYS_FILE, data)
        write_json(partial / META_FILE, {"schema": _SCHEMA, "head": head.name, "arrays_sha256": digest, "meta": meta})
    return digest


def load_head(folder: Path) -> Classifier:
    """Read a classifier that `save_head` wrote.

    Raises:
        InputError: no head is there, or a regressor.
        IntegrityError: the arrays do not match their digest, or the description does not fit.
        UnknownNameError: a head this version does not have.
    """
    head = load_any_head(folder)
    if not isinstance(head, Classifier):
        raise InputError(f"{folder} holds a regressor ({head.name}); a classifier is expected")
    return head


def load_regressor(folder: Path) -> Regressor:
    """Read a regressor that `save_head` wrote; raises as `load_head`, for a classifier too."""
    head = load_any_head(folder)
    if not isinstance(head, Regressor):
        raise InputError(f"{folder} holds a classifier ({head.name}); a regressor is expected")
    return head


def load_any_head(folder: Path) -> Head:
    """Read a head that `save_head` wrote; raises as `load_head`."""
    recover_folder(folder)
    try:
        described = read_object(folder / META_FILE)
        name, digest, meta = str(described["head"]), described["arrays_sha256"], described["meta"]
        data = (folder / ARRAYS_FILE).read_bytes()
    except FileNotFoundError:
        raise InputError(f"no fitted head in {folder}; fit and save one first") from None
    except (ValueError, KeyError):
        raise IntegrityError(f"{folder / META_FILE} does not describe a head; fit it again") from None
    found = sha256_bytes(data)
    if found != digest:
        raise IntegrityError(
            f"{folder / ARRAYS_FILE} has digest {found[:12]}, {str(digest)[:12]} is expected; fit it again"
        )
    try:
        arrays = load(data)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise IntegrityError(
            f"{folder / ARRAYS_FILE} is not a safetensors file ({error}); fit the head again"
        ) from None
    return head_class(name).from_state(arrays, meta)
