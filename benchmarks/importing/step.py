"""One command of `drillcore` in a process of its own, with the seconds of its parts: `bench import` starts it.

Arguments: a file for what was measured, then the command. A part's seconds are its own, without those of parts in it.
Processor seconds are those of all threads, and do not depend on what else the machine does.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

# part: the functions that do it, as module:attribute.
PARTS = {
    "list the folders": [
        "drillcore.datasets.layouts.classes:ClassesLayout.items",
        "drillcore.versions.tree:stats",
        "drillcore.versions.tree:trusted_landing",
        "drillcore.versions.bringing:stats",
        "drillcore.versions.mirroring:stats",
        "drillcore.versions:stats",
    ],
    "copy to the landing zone": ["drillcore.datasets.landing:bring"],
    "link what is there": ["drillcore.datasets.landing:link_all", "drillcore.datasets.landing:swap_in"],
    "decode and hash": ["drillcore.datasets.manifest:probe_folder"],
    "sort out": ["drillcore.datasets.manifest:sort_out"],
    "splits": ["drillcore.datasets.manifest:_split"],
    "manifest": ["drillcore.datasets.ingest:build_manifest"],
    "read the manifest before": ["drillcore.datasets.pointers:read_manifest"],
    "write the manifest": ["drillcore.datasets.ingest:write_manifest"],
    "near duplicates": ["drillcore.quality.validation:near_splits"],
    "checks": ["drillcore.datasets.ingest:validate_manifest"],
    "hand edits": ["drillcore.versions:refuse_hand_edits", "drillcore.versions.bringing:refuse_hand_edits"],
    "copy to data": ["drillcore.versions.bringing:mirror"],
    "snapshot": ["drillcore.versions.bringing:take_snapshot"],
    "versions: keep the files": ["drillcore.versions.bringing:_kept"],
    "versions: their list": ["drillcore.versions.bringing:write_tree"],
    "versions: read lists": ["drillcore.versions.bringing:tree_of", "drillcore.datasets.ingest:_tree"],
    "versions: push": ["drillcore.versions:push"],
    "DVC: open": ["dvc.repo:Repo.__init__"],
    "DVC: add": ["dvc.output:Output.add"],
    "DVC: push": ["dvc.repo:Repo.push"],
    "DVC: data.dvc": ["drillcore.versions.dvc_repository:Repository.describe"],
}


class Clock:
    """Seconds and processor seconds by part; a part that calls another one stands still meanwhile."""

    def __init__(self) -> None:
        self.parts: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._running: list[str] = []
        self._since = _now()

    def _switch(self) -> None:
        now = _now()
        if self._running:
            part = self.parts[self._running[-1]]
            for place, (late, early) in enumerate(zip(now, self._since, strict=True)):
                part[place] += late - early
        self._since = now

    def wrap(self, part: str, place: str) -> None:
        """Let a function's time count for a part."""
        module, _, path = place.partition(":")
        owner: Any = importlib.import_module(module)
        *above, name = path.split(".")
        for attribute in above:
            owner = getattr(owner, attribute)
        function = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            self._switch()
            self._running.append(part)
            try:
                return function(*args, **kwargs)
            finally:
                self._switch()
                self._running.pop()

        setattr(owner, name, timed)


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def main(report: Path, command: list[str]) -> None:
    """Run the command, then write its seconds and the most memory this process has had."""
    from drillcore.cli.root import cli

    clock = Clock()
    for part, places in PARTS.items():
        for place in places:
            clock.wrap(part, place)
    started = _now()
    cli.main(args=command, standalone_mode=False)
    seconds, cpu_seconds = (late - early for late, early in zip(_now(), started, strict=True))
    # Not ru_maxrss: a child takes that over from the process that started it.
    peak = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    parts = {part: {"seconds": wall, "cpu_seconds": cpu} for part, (wall, cpu) in clock.parts.items()}
    peak_bytes = int(peak[0].split()[1]) * 1024
    found = {"seconds": seconds, "cpu_seconds": cpu_seconds, "parts": parts, "peak_bytes": peak_bytes}
    report.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
