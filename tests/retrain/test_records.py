"""Records are frozen and typed, and those that earlier revisions kept are read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from drillcore.retrain.records import (
    BackboneDone,
    Done,
    Evaluated,
    Exported,
    Fitted,
    Proven,
    RunFolder,
)
from drillcore.retrain.retraining import Summary

# As revision 471cddf wrote them, without the digests of files.
KEPT: list[tuple[type[Done], dict[str, Any]]] = [
    (
        BackboneDone,
        {"weights": "seed:3", "weights_sha256": "a" * 64, "note": "as it comes", "trained": False, "curve": []},
    ),
    (Fitted, {"arrays_sha256": "b" * 64, "rows": 57, "note": "forest on 57 rows"}),
    (
        Fitted,
        {
            "arrays_sha256": "b" * 64,
            "rows": 900,
            "curve": [{"epoch": 1, "loss": 0.5}],
            "first_stage": {"folds": 2, "accuracy": 0.7},
            "answers": {"window": 3, "limit": 6, "bias": [0.0, 1.5]},
            "held_out": {"bias": [0.0, 1.5], "overlap": 0.4, "unbiased": 0.3, "images": 4, "folds": 2},
            "note": "dbn",
        },
    ),
    (Exported, {"sha256": "c" * 64, "bytes": 10, "metadata": {"task": "classification"}, "note": "0.0 MB"}),
    (Proven, {"images": 9, "rows": 27, "batches": [1, 3], "max_difference": 1e-6, "note": "27 answers"}),
    (Proven, {"pixels": 900, "max_difference": 1e-6, "label_agreement": None, "note": "900 pixels"}),
    (Evaluated, {"figures": {"accuracy": 1.0}, "images": 15, "ms": 0.3, "mb": 0.5, "pictures": [], "note": "good"}),
]


@pytest.mark.parametrize(("kind", "values"), KEPT, ids=lambda value: getattr(value, "stage", ""))
def test_kept_records_are_read_and_written_alike(kind: type[Done], values: dict[str, Any], tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "fingerprint")
    kept = {**values, "seconds": 1.25, "files": {}}
    (tmp_path / f"{kind.stage}.json").write_text(json.dumps(kept))
    found = folder.once(kind, lambda: pytest.fail("it is there"))
    assert isinstance(found, kind)
    assert (found.seconds, found.reused, found.note) == (1.25, True, values["note"])
    told = found.to_dict()
    assert told.pop("reused") is True
    assert told | {"files": {}} == {name: value for name, value in kept.items() if value is not None or kind is Proven}
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.note = "another"  # type: ignore[misc]


def test_a_record_that_lacks_what_is_needed_is_made_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "fingerprint")
    (tmp_path / "export.json").write_text(json.dumps({"sha256": "c", "files": {}}))
    assert folder.read(Exported) is None
    made = folder.once(Exported, lambda: (Exported(sha256="d", bytes=1, metadata={}), []))
    assert (made.reused, made.sha256) == (False, "d")
    assert "reused" not in json.loads((tmp_path / "export.json").read_text())


def test_a_summary_is_what_it_was_written_as() -> None:
    row = {"stage": "fit", "seconds": 1.5, "reused": False, "note": "forest"}
    values: dict[str, Any] = {field.name: field.name for field in dataclasses.fields(Summary)} | {
        "version": 3,
        "figures": {"accuracy": 0.5},
        "verdict": None,
        "stages": [row],
    }
    assert Summary.from_dict(values).to_dict() == values
