"""What gc keeps where a pointer is damaged or the clock has stepped."""

from __future__ import annotations

import os
import time

import pytest

from drillcore.files import write_json
from drillcore.settings import Settings
from drillcore.upkeep.gc import collect, collectables, damaged


@pytest.mark.parametrize("content", ['{"a":' + "[" * 100_000, "{", "[]", "null", '{"sha256": 1}', "{}", "\x00"])
def test_a_damaged_pointer_keeps_every_fetched_file(settings: Settings, content: str) -> None:
    blobs = [settings.served / "blobs" / f"{digit * 64}.onnx" for digit in "01"]
    write_json(settings.served / "good.json", {"version": 1, "sha256": "0" * 64})
    for blob in blobs:
        blob.parent.mkdir(exist_ok=True)
        blob.write_bytes(b"model")
    assert [item.path for item in collectables(settings)] == [blobs[1]]
    (settings.served / "m.json").write_text(content)
    assert damaged(settings) == [settings.served / "m.json"]
    assert collect(settings) == []
    assert all(blob.exists() for blob in blobs)


def test_the_newest_run_is_that_of_the_highest_version(settings: Settings) -> None:
    runs = settings.state / "runs" / "m"
    runs_of = [("first", 1, 0), ("second", 2, 5000), ("left", 0, 9000), ("begun", 0, 10)]
    for name, version, age in [*runs_of, ("tuned-before", 0, 8000), ("tuned", 0, 6000)]:
        (runs / name / ("tuning" if "tuned" in name else "")).mkdir(parents=True)
        if version:
            write_json(runs / name / "summary.json", {"summary": {"version": version}})
        at = time.time() - age
        os.utime(runs / name, (at, at))
    assert {item.path.name for item in collectables(settings)} == {"first", "left", "tuned-before"}
