"""What a patch shows, by its overlap with the boxes of objects (paper 001, section 3.2).

A patch P is a positive example of class o if there is a box B of it with

    (i)   |P and B| >= 0.2 |P|     the object is large enough in the patch,
    (ii)  |P and B| >= 0.6 |B|     most of the object is in the patch,
    (iii) P overlaps with no more than one object.

A patch that overlaps with none is background. What becomes of the others the paper does not say: they are left out.
Difficult boxes are objects for (iii), so that what they are in is no background, and never a positive example.

With several labels, the remedy that the paper names in its failure modes, (iii) falls away: a patch has every class of
which a box fulfils (i) and (ii), and is left out where it shows a part of an object whose class it does not have.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from drillcore.json_types import Values

LEAST_OF_PATCH, LEAST_OF_OBJECT = 0.2, 0.6
_ROUNDING = 1e-9
Boxes = npt.NDArray[np.float64]


def common_areas(patches: Boxes, boxes: Boxes) -> npt.NDArray[np.float64]:
    """Return the areas patches [P, 4] and boxes [B, 4] have in common, float64 [P, B]; sides are x0, y0, x1, y1."""
    low = np.maximum(patches[:, None, :2], boxes[None, :, :2])
    high = np.minimum(patches[:, None, 2:], boxes[None, :, 2:])
    area: npt.NDArray[np.float64] = np.maximum(high - low, 0).prod(axis=2)
    return area


def label_patches(
    patches: Boxes, boxes: Sequence[Values], classes: Sequence[str], *, several: bool = False
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Return which classes patches show, 0 and 1, uint8 [P, K], and which of them may be learnt from, bool [P].

    A patch to be learnt from that shows nothing is background.

    Args:
        patches: float64 [P, 4].
        boxes: of an image: x0, y0, x1, y1, label, difficult, as a manifest has them.
        classes: K names.
        several: whether a patch may have several labels.
    """
    place = {name: column for column, name in enumerate(classes)}
    found = np.zeros((len(patches), len(classes)), np.uint8)
    if not boxes:
        return found, np.ones(len(patches), bool)
    sides = np.array([[box[name] for name in ("x0", "y0", "x1", "y1")] for box in boxes], np.float64)
    common = common_areas(patches, sides)
    own, theirs = ((one[:, 2:] - one[:, :2]).prod(axis=1) for one in (patches, sides))
    touched = common > _ROUNDING
    large = common >= LEAST_OF_PATCH * own[:, None] - _ROUNDING
    whole = common >= LEAST_OF_OBJECT * theirs - _ROUNDING
    easy = np.array([not box["difficult"] and box["label"] in place for box in boxes])
    shown = large & whole & easy
    if not several:
        shown &= (touched.sum(axis=1) == 1)[:, None]
    column = np.array([place.get(box["label"], -1) for box in boxes])
    for number in np.flatnonzero(easy):
        found[shown[:, number], column[number]] = 1
    if not several:
        return found, np.asarray(found.any(axis=1) | ~touched.any(axis=1))
    # Every object that is touched, difficult ones too, is of a class that the patch has.
    of_known = np.stack([found[:, one] == 1 if one >= 0 else np.zeros(len(found), bool) for one in column], axis=1)
    return found, np.asarray((of_known | ~touched).all(axis=1))


def thinned(background: npt.NDArray[np.bool_], share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Return which patches are kept where a random share of the background is, bool [N].

    Args:
        background: which patches are background.
        share: from 0 to 1; at least one is kept where there is one.
        seed: of the draw.
    """
    numbers = np.flatnonzero(background)
    kept = ~background
    count = max(1, round(share * len(numbers))) if len(numbers) else 0
    kept[np.random.default_rng(seed).permutation(numbers)[:count]] = True
    return kept
