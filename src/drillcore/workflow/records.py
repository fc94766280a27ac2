"""What a retrain has finished: one JSON record per stage in the run's folder, so that a killed run goes on.

A run is named by what it is made of (recipe and data), so the same command finds it again. A record is written last,
atomically, with the digests of the files its stage made; where a file is gone or changed, the stage runs again.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drillcore.digests import sha256_file, sha256_json
from drillcore.files import read_object, write_json
from drillcore.settings import Settings

Record = dict[str, Any]
_FILES = "files"
SUMMARY = "summary"  # the record of a whole run


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
    def of(cls, settings: Settings, model: str, parts: dict[str, str]) -> RunFolder:
        """Return the folder of the run that is made of `parts`; nothing is created."""
        fingerprint = sha256_json({"model": model, **parts})
        return cls(settings.state / "runs" / model / fingerprint[:16], fingerprint)

    def read(self, stage: str) -> Record | None:
        """Return a stage's record if it is there and its files are as it left them."""
        try:
            record: Record = read_object(self._record(stage))
        except (OSError, ValueError):
            return None
        files = record.get(_FILES)
        if not isinstance(files, dict):
            return None
        for name, digest in files.items():
            file = self.path / name
            if not file.is_file() or sha256_file(file) != digest:
                return None
        return record

    def write(self, stage: str, values: Record, files: list[str] | None = None) -> Record:
        """Record that a stage is done; `files` are names in the folder that it made."""
        record = {**values, _FILES: {name: sha256_file(self.path / name) for name in files or []}}
        write_json(self._record(stage), record)
        return record

    def once(self, stage: str, work: Callable[[], tuple[Record, list[str]]]) -> Record:
        """Return the stage's record, doing the work only where there is none; adds `seconds` and `reused`."""
        if (record := self.read(stage)) is not None:
            return {**record, "reused": True}
        self.path.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        values, files = work()
        return self.write(stage, {**values, "seconds": round(time.monotonic() - started, 3)}, files)

    def forget(self) -> None:
        """Remove the folder and all records."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _record(self, stage: str) -> Path:
        return self.path / f"{stage}.json"


def last_summaries(settings: Settings) -> list[dict[str, Any]]:
    """Return the summary of the newest version of each model retrained in this checkout; damaged ones are left out."""
    newest: dict[str, dict[str, Any]] = {}
    for path in sorted((settings.state / "runs").glob(f"*/*/{SUMMARY}.json")):
        try:
            summary = read_object(path)[SUMMARY]
            key = str(summary["model"])
            if int(summary["version"]) > int(newest.get(key, {}).get("version", 0)) and str(summary["model_sha256"]):
                newest[key] = summary
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return list(newest.values())
