"""Things against stuff: paper 002 says that what has a shape of its own is found better than what has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

# Of MSRC's classes: building, grass, tree, sky, mountain, water, road. All others are things.
STUFF = (1, 2, 3, 7, 8, 10, 19)


def things_against_stuff(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the mean best IoU of true segments of each kind, of ours at the level of the best covering.

    Args:
        rows: of MSRC's images; those whose segments are not all known to have a class are left out.
    """
    known = [row for row in rows if len(row["classes"]) == len(row["ours"]["area"])]
    if not known:
        return {}
    covered = np.sum([np.array(row["ours"]["best"]) @ np.array(row["ours"]["area"]) for row in known], axis=0)
    best = np.concatenate([row["ours"]["best"][int(covered.argmax())] for row in known])
    area = np.concatenate([row["ours"]["area"] for row in known])
    stuff = np.isin(np.concatenate([row["classes"] for row in known]), STUFF)
    found: dict[str, float] = {}
    for name, chosen in (("things", ~stuff), ("stuff", stuff)):
        if chosen.any():
            found |= {
                f"{name}_iou": float(best[chosen].mean()),
                f"{name}_covering": float((best * area)[chosen].sum() / area[chosen].sum()),
                f"{name}_segments": int(chosen.sum()),
            }
    return found


def said_of_things(figures: dict[str, Any]) -> str:
    """Return the figures in a sentence."""
    if "things_iou" not in figures or "stuff_iou" not in figures:
        return "No classes of segments are known here."
    better = figures["things_iou"] > figures["stuff_iou"]
    said = [
        f"{name} {100 * figures[f'{name}_iou']:.1f} (covering {figures[f'{name}_covering']:.3f}, "
        f"{figures[f'{name}_segments']} true segments)"
        for name in ("things", "stuff")
    ]
    return (
        f"MSRC, ours at the level that covers best, mean best IoU: {'; '.join(said)}. The paper's claim that things do "
        f"better {'holds' if better else 'does not hold'} here."
    )
