"""A data set's check as it is shown: the quality suites' report, and the manifest in a few lines."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from drillcore.datasets.manifest import Manifest
from drillcore.datasets.probe import values_seen
from drillcore.errors import QualityError
from drillcore.json_types import Json
from drillcore.quality.frames import Facts
from drillcore.quality.outcome import QualityReport
from drillcore.quality.validation import validate
from drillcore.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetCheck:
    """What `drillcore data check` shows.

    Attributes:
        report: of the quality suites.
        manifest: what was checked, accepted or not.
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
        for reason, rows in manifest.quarantine.groupby("reason"):
            first = rows.iloc[0]
            lines.append(f"set aside, {reason}: {len(rows):,}, for instance {first['path']}: {first['detail']}")
        if manifest.train_only:
            few = ", ".join(name or "images without a label" for name in manifest.train_only[:8])
            lines.append(f"too few images to be judged, trained on only: {few}")
        if manifest.bridging:
            lines.append(f"images in no split, since they belong to two: {len(manifest.bridging):,}")
        return "\n".join(lines)

    def to_dict(self) -> Json:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LandingCheck:
    """Whether a retrain would take what is in the landing zone.

    Attributes:
        takes: it would.
        reason: why it would not, and what to do; "" where it would.
        summary: the data set in a few lines; "" where it cannot be read.
        warnings: what is odd about it, a line each.
    """

    takes: bool
    reason: str = ""
    summary: str = ""
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> Json:
        """Return plain values for JSON."""
        return asdict(self)


def validate_manifest(
    settings: Settings,
    manifest: Manifest,
    previous: Manifest | None = None,
    *,
    folder: Path | None = None,
    accept_change: bool = False,
    quick: bool = False,
) -> QualityReport:
    """Run the quality suites over a manifest.

    Args:
        settings: limits, and where Data Docs go.
        manifest: what is judged.
        previous: the lineage's last good version, which class shares are compared with.
        folder: where the images are; None: where the manifest says.
        accept_change: class shares that have moved are only warned about.
        quick: see `quality.validate`.
    """
    facts = Facts(
        dataset=manifest.dataset,
        layout=manifest.layout,
        task=manifest.task,
        classes=manifest.classes,
        table=manifest.table,
        quarantine=manifest.quarantine,
        previous=None if previous is None else previous.table,
        folder=folder or manifest.folder,
        painted=manifest.painted,
        values=manifest.values or values_seen(settings, manifest.dataset),
        accept_change=accept_change,
    )
    return validate(settings, facts, quick=quick)


def refusal(report: QualityReport, hint: str) -> QualityError:
    """Return the error of a data set that is not fit; `hint` says what to do."""
    docs = f"; all checks: {report.docs}" if report.docs else ""
    return QualityError(f"data set {report.dataset} is refused: {report.reason}; {hint}{docs}")
