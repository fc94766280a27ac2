"""Which manifest of a data set was last found good, and those before it.

.drillcore/manifests/<dataset>/current.json   digest, lineage, files, tree, dvc_md5, landing
.drillcore/manifests/<dataset>/history.json   the same of the versions before, the oldest first
.drillcore/manifests/<dataset>/refused.json   why the landing zone's content was refused, where it was

What is damaged of them is built anew from `data/`, which is what the manifest describes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from drillcore import versions
from drillcore.datasets.description import FILE_NAME, read_description
from drillcore.datasets.left_out import FILE_NAME as LEFT_OUT
from drillcore.datasets.manifest import Manifest, build_manifest, read_manifest, write_manifest
from drillcore.errors import DataError, IntegrityError
from drillcore.files import read_object, write_json
from drillcore.json_types import Json
from drillcore.settings import Settings

# digest: of the manifest; lineage; files: how many, the description left out; tree: digest of paths and contents, as
# `versions.dataset_digests` gives it; dvc_md5: a version that data.dvc named and that has these files; landing: digest
# of names, sizes and times in the landing zone when it was brought ("" where not known).
Pointer = Json
_KEPT = 100

log = logging.getLogger(__name__)


def read_pointer(settings: Settings, dataset: str) -> Pointer | None:
    """Return what names the last good version, None where there is none.

    Raises:
        DataError: it is damaged.
    """
    path = _path(settings, dataset, "current")
    try:
        return _checked(read_object(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); it is built anew by: drillcore data check {dataset}"
        ) from None


def write_pointer(settings: Settings, dataset: str, pointer: Pointer) -> None:
    """Make `pointer` the last good version; the one before goes to the history."""
    try:
        before = read_pointer(settings, dataset)
    except DataError:
        before = None
    if before is not None and before["tree"] != pointer["tree"]:
        _write_history(settings, dataset, [*read_history(settings, dataset), before])
    write_json(_path(settings, dataset, "current"), pointer)
    clear_refusal(settings, dataset)


def read_history(settings: Settings, dataset: str) -> list[Pointer]:
    """Return the good versions before the last one, the oldest first; none where they are not known."""
    try:
        found = read_object(_path(settings, dataset, "history"))["versions"]
        return [_checked(pointer) for pointer in found]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def forget_last(settings: Settings, dataset: str) -> None:
    """Take the two youngest entries out of the history: the version that was undone and the one gone back to."""
    _write_history(settings, dataset, read_history(settings, dataset)[:-2])


def _write_history(settings: Settings, dataset: str, history: list[Pointer]) -> None:
    write_json(_path(settings, dataset, "history"), {"versions": history[-_KEPT:]})


def write_refusal(settings: Settings, dataset: str, reason: str) -> None:
    """Remember why the landing zone's content was refused."""
    write_json(_path(settings, dataset, "refused"), {"reason": reason})


def read_refusal(settings: Settings, dataset: str) -> str:
    """Return why the landing zone's content was refused the last time, "" where it was not."""
    try:
        return str(read_object(_path(settings, dataset, "refused"))["reason"])
    except (OSError, ValueError, KeyError):
        return ""


def clear_refusal(settings: Settings, dataset: str) -> None:
    """Forget it: the content is accepted, or another."""
    _path(settings, dataset, "refused").unlink(missing_ok=True)


def forget(settings: Settings, dataset: str) -> None:
    """Forget that there was a good version; manifests stay, since registered models name them."""
    for name in ("current", "history", "refused"):
        _path(settings, dataset, name).unlink(missing_ok=True)


def has_version(settings: Settings, dataset: str) -> bool:
    """Return whether a data set has a good version, to which what is refused can be taken back."""
    return _path(settings, dataset, "current").is_file()


def known_datasets(settings: Settings) -> list[str]:
    """Return the names of data sets that have a good version, sorted."""
    return sorted(path.parent.name for path in settings.manifests.glob("*/current.json"))


def manifest_of(settings: Settings, dataset: str, pointer: Pointer) -> Manifest:
    """Return the manifest that a pointer names; where it or its quarantine is damaged, it is built anew from `data/`.

    Raises:
        DataError, IntegrityError: it is damaged, and `data/` or the splits of its rows are no longer what they were.
    """
    try:
        return read_manifest(settings, dataset, pointer["digest"])
    except (DataError, IntegrityError) as error:
        found = _rebuilt(settings, dataset, pointer)
        if found is None:
            raise type(error)(
                f"{error}; that fails, since data/{dataset} or its splits are not known as they were: bring the data "
                f"in as a new lineage: drillcore data import {dataset} SOURCE"
            ) from None
        log.warning("%s; built anew from data/%s", error, dataset)
        return found


def recovered_pointer(settings: Settings, dataset: str) -> Pointer | None:
    """Return the pointer; a damaged one is built anew from `data/` and the youngest manifest that describes it."""
    try:
        return read_pointer(settings, dataset)
    except DataError as error:
        found = _reconstructed(settings, dataset)
        log.warning("%s%s", error, "; built anew" if found else "; the data set is checked as a new one")
        return found


def _reconstructed(settings: Settings, dataset: str) -> Pointer | None:
    folder = settings.data / dataset
    tree = versions.dataset_digests(versions.current_tree(settings) or []).get(dataset)
    if tree is None or not folder.is_dir():
        return None
    paths = (settings.manifests / dataset).glob("*.parquet")
    names = [path for path in paths if not path.name.endswith(".quarantine.parquet")]
    for path in sorted(names, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            manifest = read_manifest(settings, dataset, path.stem)
            if build_manifest(settings, dataset, manifest).digest != manifest.digest:
                continue
        except (DataError, IntegrityError):
            continue
        md5 = versions.outs_md5(versions.data_dvc_text(settings))
        return {
            "digest": manifest.digest,
            "lineage": manifest.lineage,
            "files": count_files(versions.stats(folder)),
            "tree": tree,
            "dvc_md5": str(md5),
            "landing": "",
        }
    return None


def count_files(paths: Iterable[str]) -> int:
    """Return how many paths are neither the description nor the list of what was left out."""
    return sum(1 for path in paths if path.rpartition("/")[2] not in (FILE_NAME, LEFT_OUT))


def _rebuilt(settings: Settings, dataset: str, pointer: Pointer) -> Manifest | None:
    """Build the manifest of the last good version from what lies under `data/`, with its own splits or those it had."""
    digests = [pointer["digest"], *(entry["digest"] for entry in reversed(read_history(settings, dataset)))]
    try:
        if read_description(settings.data / dataset).lineage != pointer["lineage"]:
            return None
        for digest in (*digests, None):
            carried = None if digest is None else _readable(settings, dataset, digest)
            if digest is not None and carried is None:
                continue
            found = build_manifest(settings, dataset, carried)
            if found.digest == pointer["digest"]:
                write_manifest(settings, found)
                return found
    except DataError:
        return None
    return None


def _readable(settings: Settings, dataset: str, digest: str) -> Manifest | None:
    try:
        return read_manifest(settings, dataset, digest, quarantine=False)
    except (DataError, IntegrityError):
        return None


def _checked(found: Json) -> Pointer:
    if not all(isinstance(found.get(name), str) for name in ("digest", "lineage", "tree", "dvc_md5")):
        raise ValueError("fields are missing")
    if type(found.get("files")) is not int or found["files"] < 1:
        raise ValueError("files is no count")
    return {"landing": "", **found}


def _path(settings: Settings, dataset: str, name: str) -> Path:
    return settings.manifests / dataset / f"{name}.json"
