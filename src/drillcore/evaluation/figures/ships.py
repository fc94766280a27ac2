"""Figures of ship detection, where ships are 0.03 to 0.35 % of the pixels and an all-sea answer scores 0.9987.

Accuracy and mean squared error as in table I of the core sampling paper (000_c10470ee293d3599); its .0115 is not that
of hard labels (a share of 0.0076 was wrong), so it is the mean of (p - y)^2 over all pixels. What its figure 5 shows is
counted: small ships missed, false blobs, and false pixels around true ships. The all-sea answer stands beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from drillcore.arrays import Array, Doubles, Ints
from drillcore.errors import InputError
from drillcore.evaluation.figures.dense_metrics import ImageConfusions, dense_figures, pooled_figure
from drillcore.evaluation.figures.precision_recall import ProbabilityHistogram, average_precision
from drillcore.json_types import Json

CLASSES = ("background", "ship")
FIGURES = ("accuracy", "ship_iou", "ship_f1", "average_precision", "mean_squared_error")
SMALL_SHIP = 200  # pixels: a quarter of the stand-in's 58 ships are smaller (69 to 1,039 pixels)
_BLOCK = 2**22  # pixels at a time
HALO = 5  # pixels from a true ship, in the larger of rows and columns


@dataclass(frozen=True, slots=True)
class ShipObjects:
    """Ships and blobs of images; pixels that touch at a side or a corner are one object.

    Attributes:
        ships: true ships.
        ships_missed: those without any answered pixel.
        small_ships: true ships of at most SMALL_SHIP pixels.
        small_ships_missed: those without any answered pixel.
        blobs: answered objects.
        false_blobs: those without any pixel of a true ship.
        false_pixels: answered pixels that are no ship.
        halo_pixels: those within HALO pixels of a true ship.
    """

    ships: int = 0
    ships_missed: int = 0
    small_ships: int = 0
    small_ships_missed: int = 0
    blobs: int = 0
    false_blobs: int = 0
    false_pixels: int = 0
    halo_pixels: int = 0

    def __add__(self, other: ShipObjects) -> ShipObjects:
        return ShipObjects(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))

    def as_dict(self) -> dict[str, object]:
        """Return plain values, and `halo_share`: of the false pixels, those in the halo (0 where there are none)."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return values | {"halo_share": self.halo_pixels / max(self.false_pixels, 1)}


class ShipScores:
    """Gathers figures of ships image by image, in the memory of one image.

    Args:
        small: largest area of a small ship, pixels.
        halo: width of the halo, pixels.
    """

    def __init__(self, *, small: int = SMALL_SHIP, halo: int = HALO) -> None:
        self.small, self.halo = small, halo
        self.histogram = ProbabilityHistogram()
        self.objects = ShipObjects()
        self._confusions = ImageConfusions(CLASSES)
        self._squared_errors: list[float] = []

    def add(self, truth: Array, probability: NDArray[np.floating], predicted: Array | None = None) -> Ints:
        """Count one image and return its confusion matrix, int64 [2,2].

        Args:
            truth: integers [H,W]: 1 = ship, 0 = background, anything else void.
            probability: of ship, float [H,W], from 0 to 1.
            predicted: labels [H,W], 0 or 1; None: ship where its probability is above 0.5 (ArgMax, lowest on ties).

        Raises:
            InputError: shapes differ, labels other than 0 and 1, or probabilities out of range.
        """
        if probability.shape != truth.shape:
            raise InputError(
                f"a probability of ship for each pixel is expected, {list(truth.shape)}; got {list(probability.shape)}"
            )
        answer = (probability > 0.5).astype(np.uint8) if predicted is None else predicted
        judged = (truth == 0) | (truth == 1)
        ship = truth == 1
        counts = self._confusions.add(np.where(judged, truth, len(CLASSES)), answer)
        squared = 0.0
        rows = max(1, _BLOCK // max(1, truth.shape[1]))  # a whole scene in float64 would be half a gigabyte
        for start in range(0, len(truth), rows):
            kept = judged[start : start + rows]
            own, given = ship[start : start + rows][kept], probability[start : start + rows][kept]
            self.histogram.add(own, given)
            squared += float(((given.astype(np.float64) - own) ** 2).sum())
        self._squared_errors.append(squared)
        self.objects += count_objects(ship, (answer == 1) & judged, small=self.small, halo=self.halo)
        return counts

    @property
    def counts(self) -> Ints:
        """Confusion matrices, int64 [M,2,2], in the order the images came."""
        return self._confusions.counts

    def figures(self) -> Json:
        """Return FIGURES, those of `dense_figures`, the counts of `ShipObjects`, and `all_sea`: what no ship scores.

        Raises:
            InputError: no labelled pixel was added.
        """
        counts = self.counts
        total = counts.sum(axis=0)[None].astype(np.float64)
        dense = dense_figures(counts, CLASSES)
        pixels = int(counts.sum())
        found = {name: float(pooled_figure(name)(total)[0]) for name in ("accuracy", "ship_iou", "ship_f1")}
        return {
            **found,
            "average_precision": average_precision(self.histogram),
            "mean_squared_error": sum(self._squared_errors) / pixels,
            **dense,
            **self.objects.as_dict(),
            "small_ship_pixels": self.small,
            "halo_width": self.halo,
            "all_sea": all_sea(counts, self.objects),
        }


def all_sea(counts: Ints, objects: ShipObjects) -> dict[str, object]:
    """Return what answering "no ship" everywhere, with probability 0, would score on the same images.

    Args:
        counts: confusion matrices, int64 [M,2,2].
        objects: of the same images.
    """
    ships = int(counts[:, 1].sum())
    share = ships / max(int(counts.sum()), 1)
    none = replace(ShipObjects(), ships=objects.ships, ships_missed=objects.ships, small_ships=objects.small_ships)
    return {
        "accuracy": 1 - share,
        "ship_iou": 0.0,
        "ship_f1": 0.0,
        "average_precision": share,  # every pixel is as likely as any other
        "mean_squared_error": share,
        **replace(none, small_ships_missed=objects.small_ships).as_dict(),
    }


def count_objects(
    truth: NDArray[np.bool_], predicted: NDArray[np.bool_], *, small: int = SMALL_SHIP, halo: int = HALO
) -> ShipObjects:
    """Count ships, blobs and halo pixels of one image.

    Args:
        truth: ship or not, bool [H,W].
        predicted: the same of the answer.
        small: largest area of a small ship, pixels.
        halo: width of the halo, pixels.
    """
    touching = np.ones((3, 3), dtype=bool)
    ships, n_ships = ndimage.label(truth, touching)
    blobs, n_blobs = ndimage.label(predicted, touching)
    areas = np.bincount(ships[truth], minlength=n_ships + 1)[1:]
    found = np.bincount(ships[predicted & truth], minlength=n_ships + 1)[1:] > 0
    real = np.bincount(blobs[predicted & truth], minlength=n_blobs + 1)[1:] > 0
    false = predicted & ~truth
    # A square window: as cheap for a whole scene as one pass over rows and one over columns.
    near = ndimage.maximum_filter(truth.view(np.uint8), size=2 * halo + 1, mode="constant")
    return ShipObjects(
        ships=n_ships,
        ships_missed=int((~found).sum()),
        small_ships=int((areas <= small).sum()),
        small_ships_missed=int((~found & (areas <= small)).sum()),
        blobs=n_blobs,
        false_blobs=int((~real).sum()),
        false_pixels=int(false.sum()),
        halo_pixels=int((false & (near > 0)).sum()),
    )


def ship_iou(counts: Ints) -> float:
    """Return intersection over union of the ship class over all images, from [M,2,2]."""
    total: Doubles = counts.sum(axis=0)[None].astype(np.float64)
    return float(pooled_figure("ship_iou")(total)[0])
