"""The words and tables of `bench cross-pooling`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.pooling.features import NETWORKS
from benchmarks.pooling.kernels import paired
from benchmarks.report import table

# By method the network passes of an image.
PASSES = {
    "CNN-Global": 1, "CNN-Jitter": 10, "CL-45": 1, "CL-45F": 4, "CL-45C": 5, "CL-45 + CNN-Global": 1,
    "CL-45C + CNN-Global": 5, "CL-45C + CNN-Jitter": 15,
    "CL-34": 1, "CL-34F": 4, "CL-34C": 5,
    "direct max": 1, "direct sum-sqrt": 1, "spatial pyramid": 1,
    "CL-45, clipped": 1, "CL-45, no power": 1, "CL-45, 1x1": 1, "CL-45, signs": 1,
    "CL-45, 50 components": 1, "CL-45, 100 components": 1, "CL-45, 200 components": 1, "CL-45, 1000 components": 1,
}  # fmt: skip
_TABLES = {
    "Classification (tables 1 and 2)": ("CNN-Global", "CNN-Jitter", "CL-45", "CL-45F", "CL-45C", "CL-45 + CNN-Global",
                                        "CL-45C + CNN-Global", "CL-45C + CNN-Jitter"),
    "Other layers (table 6)": ("CL-34", "CL-34F", "CL-34C", "CL-45", "CL-45C"),
    "Ways to pool, the whole image alone (table 7)": ("direct max", "direct sum-sqrt", "spatial pyramid", "CL-45"),
    "Signs (table 8), forms and sizes": ("CL-45", "CL-45, signs", "CL-45, clipped", "CL-45, no power", "CL-45, 1x1",
                                         "CL-45, 50 components", "CL-45, 100 components", "CL-45, 200 components",
                                         "CL-45, 1000 components"),
}  # fmt: skip
# (what is claimed, ours, theirs): ours - theirs in points, the mean over the data sets, with its interval.
CLAIMS = (
    ("CL-45C above CNN-Global", "CL-45C", "CNN-Global"),
    ("CL-45 above CNN-Global", "CL-45", "CNN-Global"),
    ("two resolutions above one", "CL-45C", "CL-45"),
    ("with CNN-Global beside above CNN-Global alone", "CL-45C + CNN-Global", "CNN-Global"),
    ("layers 4-5 above 3-4", "CL-45", "CL-34"),
    ("above direct max pooling", "CL-45", "direct max"),
    ("above direct sum pooling", "CL-45", "direct sum-sqrt"),
    ("above a spatial pyramid", "CL-45", "spatial pyramid"),
    ("signs cost little", "CL-45, signs", "CL-45"),
    ("signed maps against clipped ones", "CL-45", "CL-45, clipped"),
    ("3x3 above 1x1", "CL-45", "CL-45, 1x1"),
    ("more than 500 components gain little", "CL-45, 1000 components", "CL-45"),
)


def written(
    found: Mapping[str, Mapping[str, Mapping[str, Any]]],
    gains: Mapping[str, tuple[float, float, float]],
    pooling: Mapping[str, float],
    products: Mapping[str, float],
    counts: Mapping[str, Mapping[str, int]],
) -> str:
    """Return the report's text."""
    sets = list(next(iter(found.values())))
    about = "; ".join(
        f"{name}: {count['train']} train, {count['val']} val, {count['test']} test" for name, count in counts.items()
    )
    parts = [
        f"Pictures: {about}.\nStand-ins: scene15 for MIT-67, flowers17 for Birds-200; two of the networks' last stages "
        "of one resolution for conv 4 and 5, two below for conv 3 and 4; the mean of the last map for fc7. Accuracy on "
        "test; C chosen on rows held out of train and val. 3x3 subarrays, 500 components, signed maps, power and one "
        "length of every part, unless it says otherwise."
    ]
    columns = [(key, name) for key in found for name in sets]
    head = ("method", "network passes", *(f"{name}, {NETWORKS[key].title}" for key, name in columns))
    for title, names in _TABLES.items():
        rows = [
            [name, PASSES[name], *(_score(found[key][data].get(name)) for key, data in columns)]
            for name in names
            if any(name in found[key][data] for key, data in columns)
        ]
        parts.append(f"## {title}\n\n{table(head, rows)}")
    parts.append(f"## Claims\n\n{_claims(found)}")
    low = min(gain[1] for gain in gains.values())
    share = pooling["pooling"] / pooling["backbone"]
    rate = products["matmul"] / products["gram"]
    parts.append(
        "## Targets\n\n"
        + table(
            ("target", "found", "held"),
            [
                [
                    "CL-45C at least 3 points above CNN-Global",
                    f"{min(gains.values())[0]:.1f}",
                    _held(min(gains.values())[0] >= 3),
                ],
                ["its 95 % interval above 0", f"{low:.1f}", _held(low > 0)],
                ["pooling at most 20 % of a forward pass", f"{share:.1%}", _held(share <= 0.2)],
                ["kernels at 70 % of the bare product's rate", f"{rate:.0%}", _held(rate >= 0.7)],
            ],
        )
        + f"\n\nOf the processor, one thread: a forward pass {1000 * pooling['backbone']:.0f} ms, pooling "
        f"{1000 * pooling['pooling']:.1f} ms (paper: 450 and 140 ms); a kernel {products['gram']:.1f} s, "
        f"the bare product {products['matmul']:.1f} s. A kernel's half is computed, the other half is the same."
    )
    parts.append(
        "Not remade: region methods (R-CNN SCFV), sparse-coding Fisher vectors, a fine-tuned network, Pascal VOC and "
        "plankton, overlays of figure 4. The stand-in for fc7 is the mean over cells of the network's own last layer, "
        "trained to be averaged; the paper's fc7 is no mean, which leaves pooled maps more to gain there."
    )
    return "\n\n".join(parts)


def _claims(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    rows = []
    for key, sets in found.items():
        for claim, ours, theirs in CLAIMS:
            if all(ours in one and theirs in one for one in sets.values()):
                gain = paired([one[ours].right for one in sets.values()], [one[theirs].right for one in sets.values()])
                rows.append([claim, NETWORKS[key].title, f"{gain[0]:+.1f}", f"{gain[1]:+.1f} to {gain[2]:+.1f}"])
    return table(("claim", "network", "points", "95 % interval"), rows)


def _score(one: Any) -> str:
    return "" if one is None else f"{100 * one.score:.1f}"


def _held(held: bool) -> str:
    return "yes" if held else "no"
