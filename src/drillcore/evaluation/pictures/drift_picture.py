"""A picture of drift: the classes whose shares have changed most, and how sure the answers are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from drillcore.arrays import Ints
from drillcore.evaluation.pictures.plots import _BLUE, _ORANGE, _figure, _png, _short

_CLASSES = 20  # that are drawn


def drift_png(classes: Sequence[tuple[str, float, float]], reference: Ints, current: Ints, *, title: str = "") -> bytes:
    """Draw shares and confidence, the reference's in blue, those of now in orange.

    Args:
        classes: name, share in the reference and share now, those that have changed most first.
        reference: counts int64 [B] by top probability, in equal bins from 0 to 1.
        current: the same now.
        title: of the picture.
    """
    shown = list(classes[:_CLASSES])[::-1]
    figure = _figure(12, max(3.5, 1.4 + 0.28 * len(shown)))
    left, right = figure.subplots(1, 2)
    places = np.arange(len(shown))
    for offset, column, colour, label in ((0.2, 1, _BLUE, "evaluation"), (-0.2, 2, _ORANGE, "now")):
        left.barh(places + offset, [float(row[column]) for row in shown], height=0.38, color=colour, label=label)
    left.set_yticks(places, [_short(name) for name, _, _ in shown], fontsize=9)
    more = f", of {len(classes)}" if len(classes) > len(shown) else ""
    left.set(xlabel=f"share of the answers (classes that have changed most{more})")
    edges = np.linspace(0, 1, len(reference) + 1)
    for counts, colour, label in ((reference, _BLUE, "evaluation"), (current, _ORANGE, "now")):
        right.stairs(counts / max(int(counts.sum()), 1), edges, color=colour, lw=2, label=label)
    right.set(xlabel="top probability", ylabel="share of the answers", xlim=(0, 1), ylim=(0, None))
    right.legend(frameon=False)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return _png(figure)
