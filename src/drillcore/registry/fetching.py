"""Bringing a registered file to this machine: verified by digest, and only from where artifacts are kept."""

from __future__ import annotations

import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from drillcore.digests import sha256_file
from drillcore.errors import InputError, IntegrityError, RegistryError, SignatureError, UnknownNameError
from drillcore.files import atomic_path
from drillcore.registry.alias_moves import CHAMPION, aliases, mlflow_aliases, reconcile
from drillcore.registry.model_versions import MODEL_FILE, ModelVersion, get_version, model_names
from drillcore.runtime.model.reference import ModelReference, parse_reference
from drillcore.runtime.model.served import Pointer, blob_path, put_blob, read_pointer, write_pointer
from drillcore.runtime.model.signatures import TAG, Signed, keep, require, verify
from drillcore.settings import Settings
from drillcore.state import moves, open_state
from drillcore.tracking.connection import artifact_location, mlflow_client, mlflow_library


def resolve_version(settings: Settings, reference: str | ModelReference) -> int:
    """Return the version a reference stands for.

    Raises:
        UnknownNameError: no such model, alias or version; names the known ones.
        InputError: the model has versions but no champion yet.
        RegistryError: MLflow cannot be reached.
        StateError: the state database cannot be read.
    """
    wanted = parse_reference(reference) if isinstance(reference, str) else reference
    if wanted.version is not None:
        return get_version(settings, wanted.name, wanted.version).version
    # Where the state database was lost, what MLflow still knows goes on being served.
    found = aliases(settings, wanted.name) or mlflow_aliases(settings, wanted.name)
    if wanted.key in found:
        return found[wanted.key]
    if not found and wanted.name not in (known := model_names(settings)):
        raise UnknownNameError("registered model", wanted.name, known, _first_version(settings, wanted.name))
    if wanted.key == CHAMPION:
        raise InputError(f"{wanted.name} has no champion yet: `drillcore promote {wanted.name}` makes one")
    raise UnknownNameError(f"alias of {wanted.name}", wanted.key, found)


def fetch(settings: Settings, reference: str | ModelReference) -> Pointer:
    """Bring the file of a reference among the served models and point at it; both verified and atomic.

    Where the alias has not moved since the last time, MLflow is not asked.

    Raises:
        UnknownNameError: no such model, alias or version.
        IntegrityError: the stored file does not match its digest, or MLflow has another file under the number that the
            history names; the pointer stays as it was.
        SignatureError: no trusted key has signed the version, where the settings name some; the pointer stays too.
        RegistryError: MLflow cannot be reached.
    """
    wanted = parse_reference(reference) if isinstance(reference, str) else reference
    reconcile(settings, wanted.name, pending_only=True)
    present = _present(settings, wanted)
    if present is not None and _is_named(settings, wanted, present) and _is_signed(settings, present):
        return present
    row = get_version(settings, wanted.name, resolve_version(settings, wanted))
    if not _is_blob(settings, row.sha256):
        with tempfile.TemporaryDirectory() as temporary:
            file = download(settings, wanted.name, row.version, Path(temporary) / MODEL_FILE)
            put_blob(settings, file)
    _bring_signature(settings, row)
    return write_pointer(settings, wanted.name, row.version, row.sha256, wanted.key)


def download(settings: Settings, name: str, version: int, target: Path) -> Path:
    """Write the file of a version to `target`, atomically, and return it.

    Raises:
        UnknownNameError: no such model or version.
        IntegrityError: the stored file does not match the digest in the registry, or lies outside the artifact root.
        RegistryError: MLflow cannot be reached, or the file is gone.
    """
    row = get_version(settings, name, version)
    with mlflow_client(settings) as client, tempfile.TemporaryDirectory() as temporary:
        location = f"{client.get_model_version_download_uri(name, str(version)).rstrip('/')}/{MODEL_FILE}"
        stored = _inside(settings, name, location)
        if stored is None:
            found_at = mlflow_library().artifacts.download_artifacts(artifact_uri=location, dst_path=temporary)
            stored = Path(found_at)
        if not stored.is_file():
            raise RegistryError(f"the file of {name} version {version} is gone from the artifacts; rebuild it")
        with atomic_path(target) as partial:
            shutil.copyfile(stored, partial)
            found = sha256_file(partial)
            if found != row.sha256:
                raise IntegrityError(
                    f"the stored file of {name} version {version} has digest {found[:12]}, the registry says "
                    f"{row.sha256[:12]}; it is not used: restore it from a backup or rebuild it"
                )
    return target


def _inside(settings: Settings, name: str, location: str) -> Path | None:
    """Return the file where it is on this machine, None where MLflow must bring it.

    A source in the registry is text that anybody who may write there chooses: it is followed only inside the folder or
    bucket that these settings name (CVE-2023-1177 and its kin).

    Raises:
        IntegrityError: the location is anywhere else, symbolic links followed.
    """
    allowed = artifact_location(settings, name)
    parts = urlsplit(location)
    if allowed is None:
        if parts.scheme == "mlflow-artifacts":
            return None
    elif parts.scheme in ("", "file") and allowed.startswith("file://"):
        root = Path(unquote(urlsplit(allowed).path)).parent.resolve()
        path = Path(unquote(parts.path)).resolve()
        if path.is_relative_to(root) and parts.netloc in ("", "localhost"):
            return path
    elif ".." not in parts.path and location.startswith(allowed.rpartition("/")[0] + "/"):
        return None
    raise IntegrityError(
        f"the registry names a file of {name} outside the artifact root: it is not opened; is DRILLCORE_ARTIFACT_ROOT "
        "the one it was registered with?"
    )


def _is_signed(settings: Settings, present: Pointer) -> bool:
    """Whether the signature that is here holds, where one is asked for."""
    try:
        require(settings, present.model, present.sha256, blob_path(settings, present.sha256))
    except SignatureError:
        return False
    return True


def require_signed(settings: Settings, row: ModelVersion, file: Path | None) -> Signed | None:
    """Refuse a version that no trusted key has signed; where no key is trusted, ask nothing and return None.

    Args:
        settings: the trusted keys.
        row: the version.
        file: of it, whose digest is the version's; None: it is lost.

    Raises:
        InputError: a trusted key cannot be read.
        SignatureError: it is not signed, or its signature does not hold.
    """
    if not settings.public_keys:
        return None
    text = row.tags.get(TAG)
    if not text:
        raise SignatureError(
            f"{row.model} version {row.version} is refused: it is not signed, and `trusted_keys` asks for that; "
            f"`drillcore sign {row.model}@{row.version}` signs it, where the key is"
        )
    signed = verify(settings, text, file, row.model)
    if signed.sha256 != row.sha256:
        raise SignatureError(
            f"{row.model} version {row.version} is refused: its signature is of the file {signed.sha256[:12]}, the "
            f"registry says {row.sha256[:12]}; restore the registry from a backup"
        )
    return signed


def _bring_signature(settings: Settings, row: ModelVersion) -> None:
    """Bring a version's signature; verified first where the settings name trusted keys. Raises SignatureError."""
    require_signed(settings, row, blob_path(settings, row.sha256))
    if text := row.tags.get(TAG):
        keep(settings, row.sha256, text)


def _is_named(settings: Settings, wanted: ModelReference, present: Pointer) -> bool:
    """Whether the history still means the number and the file that are here."""
    past = moves(open_state(settings), wanted.name)
    if wanted.version is None:
        past = [move for move in past if move.alias == wanted.key][-1:]
        return [(move.version, move.sha256) for move in past] == [(present.version, present.sha256)]
    files = {move.sha256 for move in past if move.version == present.version}
    return not files or present.sha256 in files


def _first_version(settings: Settings, name: str) -> str:
    is_recipe = (settings.models / f"{name}.yaml").is_file()
    return f"`drillcore retrain {name}` makes a first version" if is_recipe else ""


def _present(settings: Settings, wanted: ModelReference) -> Pointer | None:
    try:
        pointer = read_pointer(settings, wanted.name, wanted.key)
    except (InputError, IntegrityError):  # not fetched yet, or damaged: fetched anew
        return None
    return pointer if _is_blob(settings, pointer.sha256) else None


def _is_blob(settings: Settings, sha256: str) -> bool:
    path = blob_path(settings, sha256)
    try:
        facts = path.stat()
    except OSError:
        return False
    return _digest(path, facts.st_size, facts.st_mtime_ns, facts.st_ino) == sha256


@lru_cache(maxsize=64)
def _digest(path: Path, _size: int, _changed: int, _inode: int) -> str:
    """Remember digests of unchanged files: a watcher looks every few seconds."""
    return sha256_file(path)
