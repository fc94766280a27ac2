"""Data sets as a whole: which there are and how they stand, one taken out, and the last import taken back."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass

from drillcore import versions
from drillcore.datasets.description import read_description
from drillcore.datasets.ingest import landed_datasets, take_over
from drillcore.datasets.manifest import Manifest
from drillcore.datasets.pointers import (
    Pointer,
    forget,
    forget_last,
    known_datasets,
    read_history,
    read_pointer,
    read_refusal,
    recovered_pointer,
)
from drillcore.datasets.staging import scratch, staging_folder, swap_in, told_in_one_line
from drillcore.errors import DataError, DrillcoreError, UnknownNameError
from drillcore.json_types import Json
from drillcore.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetState:
    """How a data set stands.

    Attributes:
        name: its name.
        lineage: of the last good version, else of the landing zone.
        files: of the last good version; 0 where there is none.
        versions: how many good versions are known.
        state: "good", "new" (never checked), "changed" (since the last good version), "refused", "lost" (the landing
            zone is empty) or "damaged".
        reason: why it was refused or is damaged; "" otherwise.
    """

    name: str
    lineage: str
    files: int
    versions: int
    state: str
    reason: str = ""

    def to_dict(self) -> Json:
        """Return plain values for JSON."""
        return asdict(self)


def list_datasets(settings: Settings) -> list[DatasetState]:
    """Return every data set of the landing zone or with a good version, by name; one that is damaged stops no other."""
    landed = landed_datasets(settings)
    return [_state(settings, name, name in landed) for name in sorted({*landed, *known_datasets(settings)})]


def _state(settings: Settings, name: str, landed: bool) -> DatasetState:
    try:
        pointer = read_pointer(settings, name)
        lineage = pointer["lineage"] if pointer else read_description(settings.landing / name).lineage
    except DrillcoreError as error:
        return DatasetState(name=name, lineage="", files=0, versions=0, state="damaged", reason=str(error))
    count = 0 if pointer is None else 1 + len(read_history(settings, name))
    refusal = read_refusal(settings, name)
    if not landed:
        state = "lost"
    elif refusal:
        state = "refused"
    elif pointer is None:
        state = "new"
    else:
        state = "good" if _is_accepted(settings, name) else "changed"
    files = 0 if pointer is None else int(pointer["files"])
    return DatasetState(name=name, lineage=lineage, files=files, versions=count, state=state, reason=refusal)


def remove_dataset(settings: Settings, name: str) -> None:
    """Take a data set out of the landing zone, `data/` and data.dvc.

    Its versions stay in the DVC cache and remote, and its manifests where registered models name them.

    Raises:
        UnknownNameError: there is none of that name.
        DataError: DVC fails.
    """
    known = sorted({*landed_datasets(settings), *known_datasets(settings)})
    if name not in known:
        raise UnknownNameError("data set", name, known)
    with told_in_one_line(settings, name):
        versions.remove(settings, name)
        forget(settings, name)
        for folder in (settings.landing / name, settings.state / "data-docs" / name):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (
            settings.state / "probed" / f"{name}.parquet",
            settings.state / "thumbnails" / f"{name}.npz",
        ):
            file.unlink(missing_ok=True)


def undo_import(settings: Settings, name: str) -> Manifest:
    """Make a data set's landing zone what the last good version was; where it is that, what the version before was.

    Raises:
        UnknownNameError: there is none of that name.
        DataError: there is no version to go back to, or neither DVC's cache nor its remote has it.
    """
    known = sorted({*landed_datasets(settings), *known_datasets(settings)})
    if name not in known:
        raise UnknownNameError("data set", name, known)
    pointer, history = recovered_pointer(settings, name), read_history(settings, name)
    back = pointer is not None and _is_accepted(settings, name)
    target: Pointer | None = (history[-1] if history else None) if back else pointer
    if target is None:
        raise DataError(
            f"data set {name} has no good version before this one to go back to; to be rid of it: drillcore data "
            f"remove {name}"
        )
    with told_in_one_line(settings, name), scratch(settings) as folder:
        versions.write_out(settings, name, target["dvc_md5"], folder / name)
        ready = staging_folder(settings) / name
        shutil.rmtree(ready, ignore_errors=True)
        (folder / name).rename(ready)
        swap_in(settings, name)
    manifest = take_over(settings, name, target)
    if back:
        forget_last(settings, name)
    return manifest


def _is_accepted(settings: Settings, name: str) -> bool:
    """Return whether the landing zone holds what `data/` does, by names, sizes and times."""
    landing, data = versions.stats(settings.landing, name), versions.stats(settings.data, name)
    return {path: stat[:2] for path, stat in landing.items()} == {path: stat[:2] for path, stat in data.items()}
