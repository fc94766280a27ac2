"""From the landing zone to a data set that may be trained on: versioned, listed, checked, pushed.

The data sets share one data.dvc, so an update is accepted as a whole: every data set that changed is checked, and where
one fails the last good version of all stays. What is "unchanged" is judged per data set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drillcore import versions
from drillcore.datasets.description import FILE_NAME
from drillcore.datasets.manifest import Manifest, build_manifest, read_manifest, write_manifest
from drillcore.datasets.staging import recover_imports
from drillcore.errors import DataError, QualityError, UnknownNameError
from drillcore.files import read_object, write_json
from drillcore.quality.report import QualityReport
from drillcore.settings import Settings

Pointer = dict[str, Any]  # digest, lineage, images, tree, dvc_md5


def ingest(settings: Settings, dataset: str) -> Manifest:
    """Bring the landing zone under version control and return the data set's manifest; unchanged data is not looked at.

    Raises:
        DataError: `data/` was edited by hand, the landing zone was emptied or shrank, or DVC fails.
        QualityError: a data set that changed is not fit; the last good version stays.
    """
    outcome = _bring(settings, dataset)
    for report in outcome.reports.values():
        if not report.ok:
            raise _refusal(report)
    return outcome.manifest_of(settings, dataset)


def is_unchanged(settings: Settings, dataset: str) -> bool:
    """Whether `ingest` would find nothing to do; DVC is not asked. Raises as `ingest` does for a lost landing zone."""
    pointers = _pointers(settings)
    if dataset not in pointers:
        return False
    landing = versions.stats(settings.landing)
    _refuse_losses(settings, landing, pointers)
    return not versions.hand_edits(settings) and _is_as_seen(settings, versions.stats_digests(landing), pointers)


def current_manifest(settings: Settings, dataset: str) -> Manifest:
    """Return the manifest of the last good version.

    Raises:
        DataError: there is none; says which command makes one.
        IntegrityError: it has been changed.
    """
    pointer = _read_pointer(settings, dataset)
    if pointer is None:
        raise DataError(
            f"there is no checked version of data set {dataset!r} yet; run `drillcore data sample` or `drillcore data "
            f"import {dataset} SOURCE`, then `drillcore data check {dataset}`"
        )
    return read_manifest(settings, dataset, str(pointer["digest"]))


def landed_datasets(settings: Settings) -> list[str]:
    """Return the names of the data sets in the landing zone, sorted."""
    recover_imports(settings)
    return sorted(path.parent.name for path in settings.landing.glob(f"*/{FILE_NAME}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetCheck:
    """What `drillcore data check` shows.

    Attributes:
        report: of the quality suites.
        manifest: what was checked; None where another data set's failure kept it from being accepted.
    """

    report: QualityReport
    manifest: Manifest

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self.report.dataset

    @property
    def ok(self) -> bool:
        """Whether it may be used."""
        return self.report.ok

    @property
    def docs(self) -> Path | None:
        """First page of the Data Docs."""
        return self.report.docs

    @property
    def title(self) -> str:
        """Heading of the table."""
        return f"{self.dataset} ({self.manifest.lineage})"

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return (check, column, passed, observed)."""
        return self.report.rows()

    @property
    def summary(self) -> str:
        """The data set in a few lines: images, splits, what was set aside."""
        manifest = self.manifest
        counts = manifest.table["split"].value_counts()
        splits = ", ".join(f"{int(counts.get(name, 0)):,} {name}" for name in ("train", "val", "test", "none"))
        lines = [
            f"{len(manifest.table):,} images of {len(manifest.classes)} classes: {splits}; "
            f"{len(manifest.quarantine):,} set aside; digest {manifest.digest[:12]}"
        ]
        reasons = manifest.quarantine["reason"].value_counts()
        lines += [f"set aside, {reason}: {count:,}" for reason, count in reasons.items()]
        if manifest.train_only:
            lines.append(f"too few images to be judged, trained on only: {', '.join(manifest.train_only[:8])}")
        if manifest.bridging:
            lines.append(f"images in no split, since they belong to two: {len(manifest.bridging):,}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        manifest = self.manifest
        return {
            **self.report.to_dict(),
            "images": len(manifest.table),
            "set_aside": len(manifest.quarantine),
            "splits": {str(name): int(count) for name, count in manifest.table["split"].value_counts().items()},
            "lineage": manifest.lineage,
            "data_digest": manifest.digest,
        }


def check_dataset(settings: Settings, dataset: str) -> DatasetCheck:
    """Version and check a data set as `ingest` does; a failure is in the result.

    Raises:
        DataError: as `ingest`.
        QualityError: another data set that changed is not fit.
    """
    outcome = _bring(settings, dataset)
    for name, report in outcome.reports.items():
        if not report.ok and name != dataset:
            raise _refusal(report)
    manifest = outcome.manifest_of(settings, dataset)
    report = outcome.reports.get(dataset) or _validate(settings, manifest, None)
    return DatasetCheck(report=report, manifest=manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """Manifests and reports of the data sets that changed, accepted or not."""

    manifests: Mapping[str, Manifest]
    reports: Mapping[str, QualityReport]

    def manifest_of(self, settings: Settings, dataset: str) -> Manifest:
        return self.manifests.get(dataset) or current_manifest(settings, dataset)


def _bring(settings: Settings, dataset: str) -> _Outcome:
    names = landed_datasets(settings)
    pointers = _pointers(settings)
    if dataset not in names and dataset not in pointers:
        raise UnknownNameError("data set", dataset, names, "drillcore data sample, or: drillcore data import")
    versions.refuse_hand_edits(settings)
    landing = versions.stats(settings.landing)
    _refuse_losses(settings, landing, pointers)
    now = versions.stats_digests(landing)
    if _is_as_seen(settings, now, pointers):
        return _Outcome(manifests={}, reports={})
    before = versions.data_dvc_text(settings) if (settings.root / "data.dvc").is_file() else None
    version = versions.update(settings)
    trees = versions.dataset_digests(versions.current_tree(settings) or [])
    changed = [name for name in names if trees.get(name) != pointers.get(name, {}).get("tree")]
    try:
        manifests, reports = _look(settings, changed, pointers)
    except BaseException:
        versions.roll_back(settings, before)
        raise
    if not all(report.ok for report in reports.values()):
        versions.roll_back(settings, before)
        return _Outcome(manifests=manifests, reports=reports)
    versions.push(settings)
    for name, manifest in manifests.items():
        write_manifest(settings, manifest)
        _write_pointer(settings, manifest, tree=trees[name], dvc_md5=version.md5)
    _write_seen(settings, now, version.md5)
    return _Outcome(manifests=manifests, reports=reports)


def _look(
    settings: Settings, names: list[str], pointers: Mapping[str, Pointer]
) -> tuple[dict[str, Manifest], dict[str, QualityReport]]:
    manifests, reports = {}, {}
    for name in names:
        previous = read_manifest(settings, name, pointers[name]["digest"]) if name in pointers else None
        manifest = build_manifest(settings, name, previous)
        if previous is not None and previous.lineage != manifest.lineage:
            previous = None
        manifests[name], reports[name] = manifest, _validate(settings, manifest, previous)
    return manifests, reports


def _validate(settings: Settings, manifest: Manifest, previous: Manifest | None) -> QualityReport:
    from drillcore.datasets.probe import values_seen
    from drillcore.quality.frames import Facts
    from drillcore.quality.validation import validate

    facts = Facts(
        dataset=manifest.dataset,
        layout=manifest.layout,
        task=manifest.task,
        classes=manifest.classes,
        table=manifest.table,
        quarantine=manifest.quarantine,
        previous=None if previous is None else previous.table,
        values=manifest.values or values_seen(settings, manifest.dataset),
    )
    return validate(settings, facts)


def _refusal(report: QualityReport) -> QualityError:
    docs = f"; all checks: {report.docs}" if report.docs else ""
    return QualityError(
        f"data set {report.dataset} is refused, the last good version stays: {report.reason}; mend the source and "
        f"import it again{docs}"
    )


def _refuse_losses(settings: Settings, landing: Mapping[str, Any], pointers: Mapping[str, Pointer]) -> None:
    """Refuse a landing zone that lost what a good version had, before DVC makes a version of the loss."""
    counts: dict[str, int] = {}
    for path in landing:
        name, _, rest = path.partition("/")
        counts[name] = counts.get(name, 0) + (rest not in ("", FILE_NAME))
    for name, pointer in pointers.items():
        had, has = int(pointer["files"]), counts.get(name, 0)
        hint = (
            f"the last good version stays; bring the images back, or start a new lineage: drillcore data import {name} "
            "SOURCE"
        )
        if has == 0:
            raise DataError(f"the landing zone of data set {name} was emptied ({had:,} files before); {hint}")
        lost = 1 - has / had
        if lost > settings.shrink_limit and _lineage(settings, name) == pointer["lineage"]:
            raise DataError(
                f"the landing zone of data set {name} shrank from {had:,} to {has:,} files, more than "
                f"{settings.shrink_limit:.0%} (DRILLCORE_SHRINK_LIMIT); {hint}"
            )


def _lineage(settings: Settings, name: str) -> str:
    from drillcore.datasets.description import read_description

    return read_description(settings.landing / name).lineage


def _pointers(settings: Settings) -> dict[str, Pointer]:
    names = sorted(path.parent.name for path in settings.manifests.glob("*/current.json"))
    found = {name: _read_pointer(settings, name) for name in names}
    return {name: pointer for name, pointer in found.items() if pointer is not None}


def _pointer_path(settings: Settings, dataset: str) -> Path:
    return settings.manifests / dataset / "current.json"


def _read_pointer(settings: Settings, dataset: str) -> Pointer | None:
    path = _pointer_path(settings, dataset)
    try:
        found = read_object(path)
        if not all(isinstance(found.get(name), str) for name in ("digest", "lineage", "tree", "dvc_md5")):
            raise ValueError("fields are missing")
        if type(found.get("files")) is not int or found["files"] < 1:
            raise ValueError("files is no count")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); remove it, then: drillcore data check {dataset}") from None
    return found


def _write_pointer(settings: Settings, manifest: Manifest, *, tree: str, dvc_md5: str) -> None:
    folder = settings.landing / manifest.dataset
    files = sum(1 for path in versions.stats(folder) if path != FILE_NAME)
    value = {"digest": manifest.digest, "lineage": manifest.lineage, "files": files, "tree": tree, "dvc_md5": dvc_md5}
    write_json(_pointer_path(settings, manifest.dataset), value)


def _seen_path(settings: Settings) -> Path:
    return settings.state / "dvc" / "landing-seen.json"


def _write_seen(settings: Settings, digests: Mapping[str, str], md5: str) -> None:
    write_json(_seen_path(settings), {"landing": dict(digests), "dvc_md5": md5})


def _is_as_seen(settings: Settings, now: Mapping[str, str], pointers: Mapping[str, Pointer]) -> bool:
    """Return whether landing zone and data.dvc are as the last accepted update left them; nothing is hashed."""
    try:
        seen = read_object(_seen_path(settings))
        text = versions.data_dvc_text(settings)
    except (FileNotFoundError, ValueError, DataError):
        return False
    return (
        seen.get("landing") == dict(now)
        and seen.get("dvc_md5") == versions.outs_md5(text)
        and set(now) <= set(pointers)
        and all((settings.data / name).is_dir() for name in now)
    )
