"""What paper 003 claims, in points with an interval, for `bench cross-pooling`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.pooling.answers import Answers, paired

Found = Mapping[str, Mapping[str, Mapping[str, Answers]]]  # by network, data set and method

# (what is claimed, ours, theirs): ours - theirs in points, the mean over the data sets that have both.
CLAIMS = (
    ("CL-45C above CNN-Global", "CL-45C", "CNN-Global"),
    ("CL-45 above CNN-Global", "CL-45", "CNN-Global"),
    ("CL-45C above CNN-Jitter", "CL-45C", "CNN-Jitter"),
    ("two resolutions above one", "CL-45C", "CL-45"),
    ("with CNN-Global beside above CL-45C alone", "CL-45C + CNN-Global", "CL-45C"),
    ("with CNN-Jitter beside above CL-45C alone", "CL-45C + CNN-Jitter", "CL-45C"),
    ("layers 4-5 above 3-4", "CL-45", "CL-34"),
    ("the same of both resolutions", "CL-45C", "CL-34C"),
    ("above direct max pooling", "CL-45", "direct max"),
    ("above direct sum pooling", "CL-45", "direct sum-sqrt"),
    ("above a spatial pyramid", "CL-45", "spatial pyramid"),
    ("above sparse-coding Fisher vectors", "CL-45", "SCFV"),
    ("signs cost little", "CL-45, signs", "CL-45"),
    ("signed maps above clipped ones", "CL-45", "CL-45, clipped"),
    ("power normalisation gains", "CL-45", "CL-45, no power"),
    ("3x3 above 1x1", "CL-45", "CL-45, 1x1"),
    ("twice the components gain little", "CL-45, twice", "CL-45"),
)


def claimed(found: Found) -> list[dict[str, Any]]:
    """Return a record of each claim and network.

    `claim, network`; `points, low, high`: the mean over the sets that have both methods, and its 95 % interval; `by`:
    the points of each set.
    """
    rows = []
    for claim, ours, theirs in CLAIMS:
        for key, sets in found.items():
            both = {name: one for name, one in sets.items() if ours in one and theirs in one}
            if both:
                points, low, high = paired([one[ours] for one in both.values()], [one[theirs] for one in both.values()])
                by = {name: 100 * (one[ours].score - one[theirs].score) for name, one in both.items()}
                rows.append({"claim": claim, "network": key, "points": points, "low": low, "high": high, "by": by})
    return rows
