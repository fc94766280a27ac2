"""Synthetic samples in the published layouts: drawn from a seed, the same bytes on every machine."""

from __future__ import annotations

from pathlib import Path

from drillcore.digests import sha256_bytes, sha256_file
from drillcore.errors import UnknownNameError

SAMPLES: tuple[str, ...] = ("plankton", "camvid", "baeri")
FURTHER = ("voc", "bsds500", "msrc")  # drawn where they are asked for by name


def write_sample(name: str, folder: Path, seed: int = 0) -> int:
    """Write a sample data set, laid out as its users download it, under `folder`.

    Args:
        name: one of SAMPLES or FURTHER.
        folder: created where it is missing; what it holds is left alone.
        seed: another seed draws another set.

    Returns:
        The number of images.

    Raises:
        UnknownNameError: there is no such sample.
        OSError: the folder cannot be written.
    """
    if name == "plankton":
        from drillcore.datasets.synthetic.plankton import write_plankton

        return write_plankton(folder, seed)
    if name == "camvid":
        from drillcore.datasets.synthetic.camvid import write_camvid

        return write_camvid(folder, seed)
    if name == "baeri":
        from drillcore.datasets.synthetic.baeri import write_baeri

        return write_baeri(folder, seed)
    if name == "voc":
        from drillcore.datasets.synthetic.voc import write_voc

        return write_voc(folder, seed)
    if name == "bsds500":
        from drillcore.datasets.synthetic.segments import write_bsds500

        return write_bsds500(folder, seed)
    if name == "msrc":
        from drillcore.datasets.synthetic.segments import write_msrc

        return write_msrc(folder, seed)
    raise UnknownNameError("sample", name, (*SAMPLES, *FURTHER))


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 over the sorted (path, sha256) of every file in `folder`."""
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    return sha256_bytes("".join(f"{name} {sha256_file(path)}\n" for name, path in files).encode())
