"""What `drillcore fetch` brought: one pointer per model, replaced atomically, and blobs named by their digest.

.drillcore/served/<model>.json            the champion: {"sha256": ..., "version": ...}
.drillcore/served/<model>@<alias>.json    any other alias or version that was fetched
.drillcore/served/blobs/<sha256>.onnx
.drillcore/served/signed/<sha256>.json    its signature, where it has one: see `signatures`
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from drillcore.digests import sha256_file
from drillcore.errors import InputError, IntegrityError, UnknownNameError
from drillcore.files import atomic_path, read_object, write_json
from drillcore.runtime.model.reference import DEFAULT_ALIAS, ModelReference, parse_reference
from drillcore.runtime.model.signatures import require
from drillcore.settings import Settings

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Pointer:
    """Which version and which bytes a reference stands for."""

    model: str
    alias: str
    version: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model file on this machine whose bytes match its digest."""

    model: str
    version: int
    sha256: str
    path: Path

    def __str__(self) -> str:
        return f"{self.model} version {self.version}" if self.version else f"{self.model} of {self.path.name}"


def pointer_path(settings: Settings, model: str, alias: str = DEFAULT_ALIAS) -> Path:
    """Return where the pointer of a model's alias (or version, as text) stands."""
    name = model if alias == DEFAULT_ALIAS else f"{model}@{alias}"
    return settings.served / f"{name}.json"


def blob_path(settings: Settings, sha256: str) -> Path:
    """Return where the model file of a digest stands."""
    return settings.served / "blobs" / f"{sha256}.onnx"


def put_blob(settings: Settings, source: Path) -> str:
    """Copy a model file among the blobs, atomically, and return its digest.

    Raises:
        OSError: it cannot be read or the copy cannot be written.
        IntegrityError: it changed while it was copied.
    """
    sha256 = sha256_file(source)
    target = blob_path(settings, sha256)
    if not target.is_file() or sha256_file(target) != sha256:
        with atomic_path(target) as partial:
            shutil.copyfile(source, partial)
            if sha256_file(partial) != sha256:
                raise IntegrityError(f"{source} changed while it was copied; fetch again")
    return sha256


def write_pointer(settings: Settings, model: str, version: int, sha256: str, alias: str = DEFAULT_ALIAS) -> Pointer:
    """Point an alias (or a version, as text) at a blob that is already here, atomically.

    Raises:
        IntegrityError: the blob is not here; the pointer stays as it was.
        OSError: the pointer cannot be written.
    """
    if not blob_path(settings, sha256).is_file():
        raise IntegrityError(f"no file of digest {sha256[:12]} among the served models; it must be put there first")
    write_json(pointer_path(settings, model, alias), {"version": version, "sha256": sha256})
    return Pointer(model, alias, version, sha256)


def read_pointer(settings: Settings, model: str, alias: str = DEFAULT_ALIAS) -> Pointer:
    """Return what an alias (or a version, as text) points at.

    Raises:
        UnknownNameError: there is neither a pointer nor a recipe of that name.
        InputError: nothing was fetched yet.
        IntegrityError: the pointer file is damaged.
    """
    path = pointer_path(settings, model, alias)
    wanted = model if alias == DEFAULT_ALIAS else f"{model}@{alias}"
    try:
        value = read_object(path)
        version, sha256 = value["version"], value["sha256"]
        if type(version) is not int or type(sha256) is not str or not _SHA256.fullmatch(sha256):
            raise ValueError("a version and a SHA-256 digest are expected")
    except FileNotFoundError:
        known = known_models(settings)
        if model not in known:
            raise UnknownNameError("model", model, known) from None
        raise InputError(
            f"{wanted} was not fetched to this machine yet: run `drillcore fetch {wanted}` "
            f"(after a first `drillcore retrain {model} --promote`)"
        ) from None
    except (ValueError, KeyError) as error:
        raise IntegrityError(f"{path} is damaged ({error}): run `drillcore fetch {wanted}`") from None
    return Pointer(model, alias, version, sha256)


def known_models(settings: Settings) -> set[str]:
    """Return the names of all recipes and all fetched models."""
    fetched = {path.stem.partition("@")[0] for path in settings.served.glob("*.json")}
    return fetched | {path.stem for path in settings.models.glob("*.yaml")}


def resolve(settings: Settings, reference: str | ModelReference) -> ServedModel:
    """Find the model file of a reference and verify its digest; the registry is not asked.

    Raises:
        InputError: no such reference, or nothing was fetched.
        IntegrityError: the file does not match its digest.
        SignatureError: no trusted key has signed it, where the settings name some.
    """
    wanted = parse_reference(reference) if isinstance(reference, str) else reference
    pointer = read_pointer(settings, wanted.name, wanted.key)
    path = blob_path(settings, pointer.sha256)
    if not path.is_file():
        raise IntegrityError(f"the file of {wanted} version {pointer.version} is gone: run `drillcore fetch {wanted}`")
    found = sha256_file(path)
    if found != pointer.sha256:
        raise IntegrityError(
            f"the file of {wanted} version {pointer.version} is damaged: digest {pointer.sha256[:12]} is expected, "
            f"{found[:12]} came; run `drillcore fetch {wanted}`"
        )
    require(settings, wanted.name, pointer.sha256, path)
    return ServedModel(wanted.name, pointer.version, pointer.sha256, path)
