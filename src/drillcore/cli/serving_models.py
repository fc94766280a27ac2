"""Models for scoring: read what `fetch` brought; fetch first where nothing, or something older, is here.

The scoring process never imports MLflow: fetching is a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from drillcore.errors import InputError, RegistryError, SignatureError
from drillcore.runtime.model.reference import is_model_file, parse_reference
from drillcore.runtime.model.served import ServedModel
from drillcore.settings import Settings

if TYPE_CHECKING:
    from drillcore.runtime.model.signatures import Signed


def bring(settings: Settings, reference: str) -> ServedModel:
    """Return the file of MODEL[@ALIAS|@VERSION], its digest verified; or an exported file, where one is named.

    Raises:
        InputError: no such file.
        UnsafeModelError: a file that is refused.
        UnknownNameError: no such model, alias or version.
        RegistryError: it cannot be fetched.
        IntegrityError: the file is not the one that was registered.
    """
    if is_model_file(reference):
        from drillcore.runtime.model.exported_file import read_exported

        return read_exported(Path(reference), settings)
    from drillcore.registry.known import brought

    return brought(settings, parse_reference(reference), lambda: _fetch(settings, reference))


def signature_of(settings: Settings, model: str, version: int, sha256: str) -> Signed:
    """Return what the signature of a model file vouches for; file and signature are fetched where they are not here.

    Raises:
        InputError: the settings name no trusted keys, or one that cannot be read.
        SignatureError: no trusted key has signed the file, or its signature is nowhere.
        RegistryError: it cannot be fetched.
    """
    from drillcore.runtime.model.served import blob_path
    from drillcore.runtime.model.signatures import require, signed_path

    if not settings.public_keys:
        raise InputError("there are no `trusted_keys` in the settings: nobody's signature is known to be right")
    path = blob_path(settings, sha256)
    if version and not (path.is_file() and signed_path(settings, sha256).is_file()):
        _fetch(settings, f"{model}@{version}")
    if not path.is_file():
        raise SignatureError(
            f"the file {sha256[:12]} that this was scored with is no version of {model}: none is signed"
        )
    signed = require(settings, model, sha256, path)
    assert signed is not None  # noqa: S101 - there are keys
    return signed


def _fetch(settings: Settings, reference: str) -> None:
    command = [sys.executable, "-m", "drillcore", "--quiet", "fetch", reference]
    done = subprocess.run(command, capture_output=True, text=True, cwd=settings.root, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"fetch ended with code {done.returncode}"]
        error = RegistryError(lines[-1].removeprefix("drillcore: "))
        error.exit_code = done.returncode
        raise error
