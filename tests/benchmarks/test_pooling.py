"""`bench cross-pooling`: what stays of a report when some pieces are measured anew, and how pictures are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.pooling.pictures import drawn_evenly
from benchmarks.pooling.tables import merged


def told(date: str, sets: list[str], claim: str = "CL-45 above CNN-Global") -> dict[str, Any]:
    pieces = [f"{name}, lite0" for name in sets]
    return {
        "accuracy": {"lite0": {name: {"CL-45": [0.5, 1.0, date]} for name in sets}},
        "claims": [{"claim": claim, "network": "lite0", "by": dict.fromkeys(sets, 1.0), "date": date}],
        "gains": {},
        **{name: dict.fromkeys(pieces, date) for name in ("finer", "sparsity", "measured")},
        "counts": dict.fromkeys(sets, date),
    }


def test_pieces_measured_here_take_their_own_place_alone() -> None:
    earlier = {**told("old", ["flowers17", "plankton"]), "seconds": "old"}
    found = merged(earlier, told("new", ["plankton"]))
    assert found["measured"] == {"flowers17, lite0": "old", "plankton, lite0": "new"}
    assert {name: rows["CL-45"][2] for name, rows in found["accuracy"]["lite0"].items()} == {
        "flowers17": "old",
        "plankton": "new",
    }
    assert [one["date"] for one in found["claims"]] == ["old", "new"], "flowers17 is in the earlier row alone"
    assert found["seconds"] == "old"
    whole = merged(found, told("newer", ["flowers17", "plankton"]))
    assert [one["date"] for one in whole["claims"]] == ["newer"]
    assert merged({}, told("first", ["plankton"]))["claims"][0]["date"] == "first"


def test_each_class_gives_the_same_share_and_two_pictures_at_least() -> None:
    names = ["many"] * 1000 + ["some"] * 303 + ["few"] * 5
    chosen = drawn_evenly(names, 200)
    assert len(set(chosen)) == len(chosen) == 200
    assert (np.diff(chosen) > 0).all()
    counts = {name: sum(names[number] == name for number in chosen) for name in ("many", "some", "few")}
    assert counts["few"] == 2
    assert abs(counts["many"] - 153) <= 1
    assert (drawn_evenly(names, 200) == chosen).all()
