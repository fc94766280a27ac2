"""A .pth file to safetensors, in a process of its own: `python -m [this module] SOURCE TARGET`.

A .pth file is a pickle. torch reads it with `weights_only`, which allows tensors and plain containers and calls
nothing; that has had holes (CVE-2025-32434), so the process that does it has no settings and no secrets in its
environment, and ends with the file. What it leaves is read as safetensors.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save_file

from drillcore.errors import InputError

_SECONDS = 900
_KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "LANG", "OMP_NUM_THREADS", "VIRTUAL_ENV")
# Files of DenseNet are older than torch's rule that a module's name holds no dot.
_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..+)$")


def convert_pth(source: Path, target: Path, names: Sequence[str] = ()) -> None:
    """Write the tensors of a .pth file to the safetensors file `target`; what runs here reads no pickle.

    Args:
        source: the .pth file.
        target: what is written.
        names: what the tensors are called, in their order, counters of batches left out; none: as in the file.

    Raises:
        InputError: the file is damaged, holds anything but tensors by name, or another number of them than names.
    """
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    command = [sys.executable, "-I", "-m", __name__, str(source.resolve()), str(target.resolve())]
    told = json.dumps(list(names))
    try:
        done = subprocess.run(
            command, env=environment, input=told, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{source.name} was not converted within {_SECONDS} s; give it as safetensors") from None
    if done.returncode != 0 or not target.is_file():
        reason = (done.stderr.strip().splitlines() or [f"the conversion ended with {done.returncode}"])[-1]
        raise InputError(f"{source.name} cannot be taken as weights: {reason[:300]}")


def _convert(source: str, target: str, names: list[str]) -> None:
    import torch

    values = torch.load(source, map_location="cpu", weights_only=True)
    if not isinstance(values, dict) or not values:
        raise ValueError(f"tensors by name are expected, {type(values).__name__} came")
    tensors = {}
    for name, value in values.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise TypeError(f"tensors by name are expected, {str(name)[:60]!r} is {type(value).__name__}")
        tensors[_DENSENET.sub(r"\1\2", name)] = value.detach().contiguous().clone()
    if names:
        kept = [value for name, value in tensors.items() if not name.endswith(".num_batches_tracked")]
        if len(kept) != len(names):
            raise ValueError(f"{len(names)} tensors are expected, {len(kept)} came")
        tensors = dict(zip(names, kept, strict=True))
    save_file(tensors, target)


def main() -> int:
    """Convert argv[1] to argv[2], names as JSON on standard input.

    The exit code says whether it was done, the last line on standard error why not.
    """
    try:
        _convert(sys.argv[1], sys.argv[2], json.loads(sys.stdin.read() or "[]"))
    except Exception as error:  # noqa: BLE001 - whatever a hostile file provokes is said in one line
        if type(error).__name__ == "UnpicklingError":
            return _say("it is damaged, or a pickle that holds more than tensors; nothing in it was run")
        return _say(" ".join(f"{type(error).__name__}: {error}".split())[:300])
    return 0


def _say(reason: str) -> int:
    sys.stderr.write(f"{reason}\n")
    return 3


if __name__ == "__main__":
    sys.exit(main())
