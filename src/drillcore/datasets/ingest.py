"""From the landing zone to a data set that may be trained on: checked, versioned, listed, pushed; each for itself.

What is in the landing zone is checked where it is. Only what passes is brought to `data/` and into data.dvc, so that a
data set that is refused changes nothing, neither of itself nor of others.
"""

from __future__ import annotations

from dataclasses import dataclass

from drillcore import versions
from drillcore.datasets.catalogue import DATASETS
from drillcore.datasets.checking import DatasetCheck, LandingCheck, refusal, validate_manifest
from drillcore.datasets.description import FILE_NAME, read_description
from drillcore.datasets.manifest import Manifest, build_manifest, write_manifest
from drillcore.datasets.pointers import (
    Pointer,
    count_files,
    has_version,
    known_datasets,
    manifest_of,
    read_pointer,
    recovered_pointer,
    write_pointer,
    write_refusal,
)
from drillcore.datasets.staging import recover_imports
from drillcore.datasets.synthetic import SAMPLES
from drillcore.errors import DataError, DrillcoreError, UnknownNameError
from drillcore.quality.outcome import QualityReport
from drillcore.settings import Settings


def ingest(settings: Settings, dataset: str) -> Manifest:
    """Bring a data set of the landing zone under version control and return its manifest.

    What is unchanged is not looked at.

    Raises:
        DataError: `data/` was edited by hand, the landing zone was emptied or shrank, or DVC fails.
        QualityError: the data set is not fit; the last good version stays.
    """
    outcome = _bring(settings, dataset)
    if outcome.report is not None and not outcome.report.ok:
        raise refusal(outcome.report, way_on(settings, outcome.report))
    return outcome.manifest


def is_unchanged(settings: Settings, dataset: str) -> bool:
    """Whether `ingest` would find nothing to do; DVC is not asked. Raises as `ingest` does for a lost landing zone."""
    pointer = read_pointer(settings, dataset)
    if pointer is None:
        return False
    landing = _landing(settings, dataset)
    _refuse_losses(settings, dataset, landing, pointer)
    return not versions.hand_edits(settings, dataset) and _is_as_brought(settings, dataset, landing, pointer)


def current_manifest(settings: Settings, dataset: str) -> Manifest:
    """Return the manifest of the last good version.

    Raises:
        DataError: there is none; says which command makes one.
        IntegrityError: it has been changed, and cannot be built anew.
    """
    pointer = read_pointer(settings, dataset)
    if pointer is None:
        check = f"`drillcore data check {dataset}`"
        way = check if dataset in landed_datasets(settings) else f"{_ways_in(dataset)}, then {check}"
        raise DataError(f"there is no checked version of data set {dataset!r} yet; run {way}")
    return manifest_of(settings, dataset, pointer)


def _ways_in(dataset: str) -> str:
    own = "" if dataset in DATASETS else "--layout classes "
    sample = "`drillcore data sample` or " if dataset in SAMPLES else ""
    return f"{sample}`drillcore data import {own}{dataset} SOURCE`"


def landed_datasets(settings: Settings) -> list[str]:
    """Return the names of the data sets in the landing zone, sorted."""
    recover_imports(settings)
    return sorted(path.parent.name for path in settings.landing.glob(f"*/{FILE_NAME}"))


def check_dataset(settings: Settings, dataset: str, *, accept_change: bool = False) -> DatasetCheck:
    """Version and check a data set as `ingest` does; a failure of the suites is in the result.

    Args:
        settings: where things are.
        dataset: its name.
        accept_change: class shares that moved and images that went are meant.

    Raises:
        DataError: as `ingest`.
    """
    outcome = _bring(settings, dataset, accept_change=accept_change)
    report = outcome.report or validate_manifest(settings, outcome.manifest)
    return DatasetCheck(report=report, manifest=outcome.manifest)


def would_take(settings: Settings, dataset: str) -> LandingCheck:
    """Check what is in the landing zone as `ingest` would, and bring it nowhere: neither DVC nor Great Expectations.

    Images that were looked at are remembered, so that `ingest` looks at what has changed since.
    """
    try:
        outcome, _ = _look(settings, dataset, quick=True)
        report = outcome.report or validate_manifest(settings, outcome.manifest, quick=True)
    except DrillcoreError as error:
        return LandingCheck(takes=False, reason=str(error))
    return LandingCheck(
        takes=report.ok,
        reason="" if report.ok else f"{report.reason}; {way_on(settings, report)}",
        summary=DatasetCheck(report=report, manifest=outcome.manifest).summary,
        warnings=tuple(row.text for row in report.warnings),
    )


def take_over(settings: Settings, dataset: str, target: Pointer) -> Manifest:
    """Accept the landing zone of a data set as an earlier good version that it was made to be again."""
    try:
        carried = manifest_of(settings, dataset, target)
    except DataError:
        carried = None
    outcome = _bring(settings, dataset, accept_change=True, carried=carried)
    if outcome.report is not None and not outcome.report.ok:
        raise refusal(outcome.report, way_on(settings, outcome.report))
    return outcome.manifest


def way_on(settings: Settings, report: QualityReport) -> str:
    """Return what to do about a data set that is refused, and that its last good version stays, where it has one."""
    name, before = report.dataset, has_version(settings, report.dataset)
    back = "take the import back: drillcore data undo" if before else "take it out: drillcore data remove"
    ways = ["mend the source and import it again", f"{back} {name}"]
    if any(row.column == "share_change" for row in report.failed):
        ways.insert(0, f"where the change is meant: drillcore data check {name} --accept-change")
    if report.layout == "masks" and any(row.column == "train" for row in report.failed):
        ways.insert(
            0,
            "255 in a grey mask is void unless classes.txt gives it to a class: write there background 0 0 0, "
            "then ship 255 255 255",
        )
    return ("the last good version stays; " if before else "") + ", or ".join(ways)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """The manifest of what was looked at, accepted or not; the report is None where nothing had changed."""

    manifest: Manifest
    report: QualityReport | None


@dataclass(frozen=True, slots=True)
class _Landing:
    """The landing zone of a data set at one moment: how many files, and a digest of their names, sizes and times."""

    files: int
    digest: str


def _landing(settings: Settings, dataset: str) -> _Landing:
    found = versions.stats(settings.landing, dataset)
    return _Landing(count_files(found), versions.stats_digest(found))


def _bring(
    settings: Settings, dataset: str, *, accept_change: bool = False, carried: Manifest | None = None
) -> _Outcome:
    outcome, landing = _look(settings, dataset, accept_change=accept_change, carried=carried)
    if outcome.report is not None and outcome.report.ok:
        _accept(settings, dataset, outcome.manifest, landing)
    return outcome


def _look(
    settings: Settings,
    dataset: str,
    *,
    accept_change: bool = False,
    carried: Manifest | None = None,
    quick: bool = False,
) -> tuple[_Outcome, _Landing]:
    """Judge what is in the landing zone, and return how it was then; a refusal is remembered."""
    names = landed_datasets(settings)
    pointer = recovered_pointer(settings, dataset)
    if dataset not in names and pointer is None:
        raise UnknownNameError("data set", dataset, sorted({*names, *known_datasets(settings)}), _ways_in(dataset))
    versions.refuse_hand_edits(settings, dataset)
    landing = _landing(settings, dataset)
    if pointer is not None:
        _refuse_losses(settings, dataset, landing, pointer, accept_change=accept_change)
        if _is_as_brought(settings, dataset, landing, pointer):
            return _Outcome(manifest=manifest_of(settings, dataset, pointer), report=None), landing
    folder = settings.landing / dataset
    previous = None
    if pointer is not None and pointer["lineage"] == read_description(folder).lineage:
        previous = manifest_of(settings, dataset, pointer)
    try:
        manifest = build_manifest(settings, dataset, carried or previous, folder=folder)
    except DataError as error:
        write_refusal(settings, dataset, str(error))
        raise
    report = validate_manifest(settings, manifest, previous, folder=folder, accept_change=accept_change, quick=quick)
    if not report.ok:
        write_refusal(settings, dataset, report.reason)
    return _Outcome(manifest=manifest, report=report), landing


def _accept(settings: Settings, dataset: str, manifest: Manifest, landing: _Landing) -> None:
    version = versions.update(settings, dataset, seen=landing.digest)
    versions.push(settings)
    write_manifest(settings, manifest)
    pointer = {
        "digest": manifest.digest,
        "lineage": manifest.lineage,
        "files": landing.files,
        "tree": _tree(settings, dataset),
        "dvc_md5": version.md5,
        "landing": landing.digest,
    }
    write_pointer(settings, dataset, pointer)


def _refuse_losses(
    settings: Settings, dataset: str, landing: _Landing, pointer: Pointer, *, accept_change: bool = False
) -> None:
    """Refuse a landing zone that lost what the good version had, before DVC makes a version of the loss."""
    had, has = int(pointer["files"]), landing.files
    hint = (
        f"the last good version stays; bring it back to the landing zone: drillcore data undo {dataset}, or start a "
        f"new lineage: drillcore data import {dataset} SOURCE"
    )
    if has == 0:
        raise DataError(f"the landing zone of data set {dataset} was emptied ({had:,} files before); {hint}")
    lost = 1 - has / had
    same = read_description(settings.landing / dataset).lineage == pointer["lineage"]
    if lost > settings.shrink_limit and same and not accept_change:
        raise DataError(
            f"the landing zone of data set {dataset} shrank from {had:,} to {has:,} files, more than "
            f"{settings.shrink_limit:.0%} (DRILLCORE_SHRINK_LIMIT); {hint}, or where it is meant: drillcore data check "
            f"{dataset} --accept-change"
        )


def _is_as_brought(settings: Settings, dataset: str, landing: _Landing, pointer: Pointer) -> bool:
    """Return whether landing zone and data.dvc are as the last accepted update left them; nothing is hashed."""
    if pointer["landing"] != landing.digest or not (settings.data / dataset).is_dir():
        return False
    try:
        md5 = versions.outs_md5(versions.data_dvc_text(settings))
    except DataError:
        return False
    found: bool = md5 == pointer["dvc_md5"] or _tree(settings, dataset) == pointer["tree"]
    return found


def _tree(settings: Settings, dataset: str) -> str:
    files = versions.files_of(versions.current_tree(settings) or [], dataset)
    return versions.dataset_digests(files).get(dataset, "")
