"""What a retrain has finished: one JSON record per stage in the run's folder, so that a killed run goes on.

A run is named by what it is made of (recipe and data), so the same command finds it again. A record is written last,
atomically, with the digests of the files its stage made; where a file is gone or changed, the stage runs again.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self, TypeVar

from drillcore.digests import sha256_file, sha256_json
from drillcore.files import read_object, write_json
from drillcore.json_types import Json, Values
from drillcore.settings import Settings

Figures = dict[str, object]  # by the names they have everywhere: numbers, `per_class` and the like
_FILES = "files"
SUMMARY = "summary"  # the record of a whole run
TUNING = "tuning"  # folder of the trials of a tuning, and tag of the run in MLflow that holds theirs


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a finished stage leaves.

    Attributes:
        stage: its name.
        note: what it did, in one line.
        seconds: it took.
        reused: its work had been done before.
    """

    stage: ClassVar[str]
    note: str = ""
    seconds: float = 0.0
    reused: bool = False

    @classmethod
    def from_dict(cls, values: Values) -> Self:
        """Read a kept record; what it says beyond the fields is left out. Raises TypeError: it lacks one."""
        known = {item.name for item in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})

    def to_dict(self) -> Json:
        """Return plain values, without fields that are None."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Ingested(Done):
    """The data: its digest and lineage, images that can be used and images set aside."""

    stage = "ingest"
    data_digest: str
    lineage: str
    images: int
    set_aside: int


@dataclass(frozen=True, kw_only=True)
class BackboneDone(Done):
    """The backbone: weights in a form `build_backbone` reads, their digest, and how they were learnt.

    `threads` of the CPU they were learnt with; the last bits depend on it, and on it alone of the machine's load.
    """

    stage = "backbone"
    weights: str
    weights_sha256: str
    trained: bool = False
    curve: list[dict[str, object]] = field(default_factory=list)
    threads: int | None = None


@dataclass(frozen=True, kw_only=True)
class Filled(Done):
    """The features: rows, their width, and what passed the backbone for them."""

    stage = "features"
    rows: int
    width: int
    passed: int


@dataclass(frozen=True, kw_only=True)
class Fitted(Done):
    """The head: digest of its arrays, rows it learnt from, its curve; a first stage and a fitted bias, where asked for.

    `state_sha256` is of what the representation has learnt without labels. Without a head there is no digest. `threads`
    of the CPU, where the last bits depend on it.
    """

    stage = "fit"
    arrays_sha256: str | None = None
    rows: int = 0
    curve: list[dict[str, object]] | None = None
    first_stage: dict[str, object] | None = None
    answers: Json | None = None
    held_out: dict[str, object] | None = None
    state_sha256: str | None = None
    threads: int | None = None


@dataclass(frozen=True, kw_only=True)
class Exported(Done):
    """The file: digest, bytes, and its metadata."""

    stage = "export"
    sha256: str
    bytes: int
    metadata: Json


@dataclass(frozen=True, kw_only=True)
class Proven(Done):
    """Parity: what was compared (`export.parity.ParityReport` or its dense sister), beside the others in the JSON."""

    stage = "parity"
    report: Json

    @classmethod
    def from_dict(cls, values: Values) -> Self:
        """Read a kept record: what is no field of every record is the report."""
        common = {item.name for item in dataclasses.fields(Done)}
        report = {name: value for name, value in values.items() if name not in common and name != _FILES}
        return cls(report=report, **{name: value for name, value in values.items() if name in common})

    def to_dict(self) -> Json:
        """Return plain values."""
        values = super().to_dict()
        return {**values.pop("report"), **values}


@dataclass(frozen=True, kw_only=True)
class Evaluated(Done):
    """The figures, on how many images, milliseconds for one, megabytes of the file, pictures drawn."""

    stage = "evaluate"
    figures: Figures
    images: int
    ms: float
    mb: float
    pictures: list[str]


@dataclass(frozen=True, kw_only=True)
class Registered(Done):
    """The version, and the run it was logged with."""

    stage = "register"
    version: int
    run_id: str


@dataclass(frozen=True, kw_only=True)
class Judged(Done):
    """The gate's verdict as plain values, None for a champion; `seq`: the champion's last move it is about."""

    stage = "gate"
    passed: bool
    standing: str
    seq: int | None
    verdict: Json | None


@dataclass(frozen=True, kw_only=True)
class Promoted(Done):
    """Whether the champion was moved, and why or why not."""

    stage = "promote"
    promoted: bool
    reason: str


D = TypeVar("D", bound=Done)


@dataclass(frozen=True)
class RunFolder:
    """The folder of one retrain, `.drillcore/runs/<model>/<fingerprint>`.

    Attributes:
        path: the folder.
        fingerprint: SHA-256 of recipe and data.
    """

    path: Path
    fingerprint: str

    @classmethod
    def of(cls, settings: Settings, model: str, recipe_sha256: str, data_digest: str) -> RunFolder:
        """Return the folder of the run of a recipe on data; nothing is created."""
        fingerprint = sha256_json({"model": model, "recipe": recipe_sha256, "data": data_digest})
        return cls(settings.state / "runs" / model / fingerprint[:16], fingerprint)

    def read(self, kind: type[D]) -> D | None:
        """Return a stage's record if it is there and its files are as it left them."""
        try:
            values = self.read_plain(kind.stage)
            return None if values is None else kind.from_dict(values)
        except TypeError:  # of another version of the program, without what is needed now
            return None

    def read_plain(self, name: str) -> Json | None:
        """Return a record as plain values if it is there and its files are as it left them."""
        try:
            record = read_object(self._record(name))
        except (OSError, ValueError):
            return None
        files = record.get(_FILES)
        if not isinstance(files, dict):
            return None
        for file, digest in files.items():
            path = self.path / file
            if not path.is_file() or sha256_file(path) != digest:
                return None
        return record

    def write_plain(self, name: str, values: Mapping[str, object], files: list[str] | None = None) -> None:
        """Keep a record; `files` are names in the folder that its stage made."""
        kept = {file: sha256_file(self.path / file) for file in files or []}
        write_json(self._record(name), {**values, _FILES: kept})

    def once(self, kind: type[D], work: Callable[[], tuple[D, list[str]]]) -> D:
        """Return the stage's record, doing the work only where there is none; it knows `seconds` and `reused`."""
        if (record := self.read(kind)) is not None:
            return dataclasses.replace(record, reused=True)
        self.path.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        made, files = work()
        made = dataclasses.replace(made, seconds=round(time.monotonic() - started, 3))
        values = made.to_dict()
        del values["reused"]
        self.write_plain(kind.stage, values, files)
        return made

    def forget(self) -> None:
        """Remove the folder and all records."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _record(self, name: str) -> Path:
        return self.path / f"{name}.json"


def last_summaries(settings: Settings) -> list[Json]:
    """Return the summary of the newest version of each model retrained in this checkout; damaged ones are left out."""
    newest: Json = {}
    for path in sorted((settings.state / "runs").glob(f"*/*/{SUMMARY}.json")):
        try:
            summary = read_object(path)[SUMMARY]
            key = str(summary["model"])
            if int(summary["version"]) > int(newest.get(key, {}).get("version", 0)) and str(summary["model_sha256"]):
                newest[key] = summary
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return list(newest.values())
