"""How good segments are that have no names: against one or several people's segmentations of the same image.

Everything follows from the table of how many pixels each segment shares with each true one, so that segments which are
unions of smaller ones are scored from the smaller ones' table, whatever the size of the image.

Sources: IoU as paper 002 states it (section 4, equation 2); covering, probabilistic Rand index and variation of
information as Arbelaez, Maire, Fowlkes and Malik (2011) define them and the BSDS500 benchmark computes them, at one
parameter for all images (ODS) and at each image's own (OIS).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.integer]
Table = npt.NDArray[np.int64]


def shared_pixels(segments: Labels, truth: Labels) -> Table:
    """Return how many pixels segment s shares with true segment g, int64 [S, G + 1].

    The last column counts pixels of which nothing is known: a segment that spreads over them pays for it where it is
    compared with a true one, and they count nowhere else.

    Args:
        segments: ids from 0, integers [H, W].
        truth: ids from 0, -1 where nothing is known, integers [H, W].

    Raises:
        ValueError: maps of different sizes.
    """
    if segments.shape != truth.shape:
        raise ValueError(f"segments are {segments.shape}, the truth is {truth.shape}")
    rows, columns = int(segments.max()) + 1, int(truth.max()) + 2
    places = segments.astype(np.int64) * columns + np.where(truth < 0, columns - 1, truth)
    return np.bincount(places.ravel(), minlength=rows * columns).reshape(rows, columns)


def merged(table: Table, groups: Labels) -> Table:
    """Return the table of unions of segments.

    Args:
        table: of the segments, int64 [S, G + 1].
        groups: union each segment belongs to, ids from 0, [S].
    """
    found = np.zeros((int(groups.max()) + 1, table.shape[1]), np.int64)
    np.add.at(found, groups, table)
    return found


def intersection_over_union(table: Table) -> npt.NDArray[np.float64]:
    """Return the IoU of each segment with each true one, float64 [S, G], from 0 to 1."""
    known = table[:, :-1]
    either = table.sum(axis=1)[:, None] + known.sum(axis=0)[None] - known
    found: npt.NDArray[np.float64] = known / np.maximum(either, 1)
    return found


def rand_index(table: Table) -> float:
    """Return the share of pairs of pixels on which two segmentations agree: together in both, or apart in both."""
    counts = table[:, :-1].astype(np.float64)
    total = float(counts.sum())
    pairs = total * (total - 1) / 2
    if pairs == 0:
        return 1.0
    apart = ((counts.sum(axis=0) ** 2).sum() + (counts.sum(axis=1) ** 2).sum()) / 2 - (counts**2).sum()
    return float(1 - apart / pairs)


def variation_of_information(table: Table) -> float:
    """Return the information that two segmentations do not share, in bits; 0 where they are the same."""
    shares = table[:, :-1] / max(1, int(table[:, :-1].sum()))
    return 2 * _entropy(shares) - _entropy(shares.sum(axis=0)) - _entropy(shares.sum(axis=1))


def _entropy(shares: npt.NDArray[np.float64]) -> float:
    found = shares[shares > 0]
    return float(-(found * np.log2(found)).sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageScores:
    """What one image's segments amount to against all of its truths, at each parameter that was tried.

    Attributes:
        segments: how many there are, int64 [T].
        best: best IoU of each true segment of every person, float64 [T, R].
        area: pixels of each true segment, int64 [R].
        people: whose each true segment is, int64 [R].
        rand: mean over the people, float64 [T].
        information: mean over the people, bits, float64 [T].
    """

    segments: npt.NDArray[np.int64]
    best: npt.NDArray[np.float64]
    area: npt.NDArray[np.int64]
    people: npt.NDArray[np.int64]
    rand: npt.NDArray[np.float64]
    information: npt.NDArray[np.float64]

    def at(self, index: int) -> ImageScores:
        """Return the scores at one parameter alone."""
        one = slice(index, index + 1) if index != -1 else slice(index, None)
        return ImageScores(
            segments=self.segments[one],
            best=self.best[one],
            area=self.area,
            people=self.people,
            rand=self.rand[one],
            information=self.information[one],
        )

    @property
    def covered(self) -> npt.NDArray[np.float64]:
        """Pixels of all people's segments, each weighed with its best IoU, float64 [T]."""
        found: npt.NDArray[np.float64] = self.best @ self.area.astype(np.float64)
        return found

    @property
    def best_person(self) -> npt.NDArray[np.float64]:
        """Mean IoU of the true segments of the person whose segments are met best, float64 [T]."""
        means = [self.best[:, self.people == one].mean(axis=1) for one in np.unique(self.people)]
        found: npt.NDArray[np.float64] = np.max(means, axis=0)
        return found


def score_tables(tables: Sequence[Sequence[Table]]) -> ImageScores:
    """Return the scores of one image.

    Args:
        tables: at each parameter, for each person, [S, G + 1]; a true segment without pixels is left out.
    """
    areas = [table[:, :-1].sum(axis=0) for table in tables[0]]
    best = [
        [intersection_over_union(table).max(axis=0)[area > 0] for table, area in zip(row, areas, strict=True)]
        for row in tables
    ]
    return ImageScores(
        segments=np.array([int((row[0].sum(axis=1) > 0).sum()) for row in tables], np.int64),
        best=np.array([np.concatenate(row) for row in best]),
        area=np.concatenate([area[area > 0] for area in areas]),
        people=np.concatenate([np.full((area > 0).sum(), number) for number, area in enumerate(areas)]),
        rand=np.array([np.mean([rand_index(table) for table in row]) for row in tables]),
        information=np.array([np.mean([variation_of_information(table) for table in row]) for row in tables]),
    )


def segment_figures(images: Sequence[ImageScores], chosen: int = 0) -> dict[str, float]:
    """Return the figures of all images.

    Args:
        images: each tried at the same parameters.
        chosen: number of the parameter whose IoU is reported; ODS and OIS look at all of them.

    Returns:
        `segmentation_iou`: mean over all true segments of all people and images, at the chosen parameter
            (`segmentation_iou_best_person`: of the person who is met best in each image, mean over images);
        `covering`, `probabilistic_rand`, `variation_of_information`: at the chosen parameter;
        the same with `_ods` and `_ois`, `covering_best`: with each true segment's best of all parameters;
        `segments`: mean number of segments at the chosen parameter.
    """
    pixels = np.array([image.area.sum() for image in images], np.float64)
    covered = np.array([image.covered for image in images])
    rand, information = (np.array([getattr(image, name) for image in images]) for name in ("rand", "information"))
    every = np.concatenate([image.best[chosen] for image in images])
    whole = float(pixels.sum())
    return {
        "segmentation_iou": float(every.mean()),
        "segmentation_iou_best_person": float(np.mean([image.best_person[chosen] for image in images])),
        "covering": float(covered[:, chosen].sum() / whole),
        "covering_ods": float(covered.sum(axis=0).max() / whole),
        "covering_ois": float(covered.max(axis=1).sum() / whole),
        "covering_best": float(sum((image.best.max(axis=0) * image.area).sum() for image in images) / whole),
        "probabilistic_rand": float(rand[:, chosen].mean()),
        "probabilistic_rand_ods": float(rand.mean(axis=0).max()),
        "probabilistic_rand_ois": float(rand.max(axis=1).mean()),
        "variation_of_information": float(information[:, chosen].mean()),
        "variation_of_information_ods": float(information.mean(axis=0).min()),
        "variation_of_information_ois": float(information.min(axis=1).mean()),
        "segments": float(np.mean([image.segments[chosen] for image in images])),
    }
