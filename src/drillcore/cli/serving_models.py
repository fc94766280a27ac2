"""Models for scoring: read what `fetch` brought; fetch first where nothing, or something older, is here.

The scoring process never imports MLflow: fetching is a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from drillcore.errors import RegistryError
from drillcore.runtime.model.reference import is_model_file, parse_reference
from drillcore.runtime.model.served import ServedModel
from drillcore.settings import Settings


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

        return read_exported(Path(reference))
    from drillcore.registry.known import brought

    return brought(settings, parse_reference(reference), lambda: _fetch(settings, reference))


def _fetch(settings: Settings, reference: str) -> None:
    command = [sys.executable, "-m", "drillcore", "--quiet", "fetch", reference]
    done = subprocess.run(command, capture_output=True, text=True, cwd=settings.root, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"fetch ended with code {done.returncode}"]
        error = RegistryError(lines[-1].removeprefix("drillcore: "))
        error.exit_code = done.returncode
        raise error
