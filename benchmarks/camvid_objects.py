"""CamVid-objects: CamVid's label maps as a data set of several labels an image, in Pascal VOC's layout.

    python -m benchmarks.camvid_objects ../shared/data/camvid_train_val.zip /tmp/camvid-objects
    drillcore data import --layout voc camvid-objects /tmp/camvid-objects
    drillcore retrain midlevel --promote

Whole frames would not do: nearly every class is in every frame. So three squares of each frame, left, middle and right,
of two thirds of its height (240 x 240 of 480 x 360), and four classes of things: sign, car, pedestrian, bicyclist.

A square has a class from 0.4 % of its pixels on. Boxes are those of connected components; components below 0.1 %, and
all of a class that a square has less of, are difficult: neither learnt nor judged. Judged on sequences nothing is
learnt from: train is 0016E5 and the first quarter of 0001TP, val its second quarter, test its second half and 0006R0;
frames of other sequences are test.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from drillcore.datasets.archives import extract_zip
from drillcore.datasets.layouts.camvid import CamvidLayout
from drillcore.datasets.synthetic.voc import annotation
from drillcore.progress import progress
from drillcore.runtime.images.decode import decode_file, decode_mask

CLASSES: Mapping[str, str] = {"SignSymbol": "sign", "Car": "car", "Pedestrian": "pedestrian", "Bicyclist": "bicyclist"}
PRESENT, COMPONENT = 0.004, 0.001  # shares of a square's pixels
_QUALITY = 95
_MOST = 10**8  # pixels of an image
Thing = tuple[str, tuple[int, int, int, int], bool, bool]


def convert(source: Path, target: Path, every: int = 1) -> dict[str, int]:
    """Write the data set of a CamVid folder; return how many squares have each class, and how many there are.

    Args:
        source: laid out as published.
        target: folder for VOCdevkit/CamVidObjects.
        every: 2 takes every second frame, by time; the splits stay where they are.

    Raises:
        LayoutError: no CamVid.
        OSError: the folder cannot be written.
    """
    layout, root = CamvidLayout(), target / "VOCdevkit" / "CamVidObjects"
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / name).mkdir(parents=True, exist_ok=True)
    items = [item for item in layout.items(source) if item.fault is None and item.target is not None]
    splits = split_frames([item.source.stem for item in items])
    items = sorted(items, key=lambda item: item.source.stem)[::every]
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    counts: Counter[str] = Counter()
    with progress("squares", len(items)) as advance:
        for item in items:
            assert item.target is not None, "chosen above"
            image = decode_file(item.source, 3, max_pixels=_MOST)
            labels = layout.read_target(
                decode_mask(item.target, max_pixels=_MOST, as_colours=layout.palette_as_colours)
            )
            for number, (square, part) in enumerate(squares(image, labels)):
                name = f"{item.source.stem}_{number}"
                things = things_of(part, layout.classes)
                Image.fromarray(square).save(root / "JPEGImages" / f"{name}.jpg", quality=_QUALITY)
                (root / "Annotations" / f"{name}.xml").write_text(annotation(f"{name}.jpg", things), "utf-8")
                lists[splits[item.source.stem]].append(name)
                counts.update({kind for kind, _, difficult, _ in things if not difficult} | {"squares"})
            advance(1)
    for split, names in lists.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")
    return dict(counts)


def split_frames(stems: Sequence[str]) -> dict[str, str]:
    """Return the split of each frame `<sequence>_<number>`."""
    found = {}
    quarters = sorted(stem for stem in set(stems) if stem.startswith("0001TP_"))
    for stem in stems:
        if stem.startswith("0016E5_"):
            found[stem] = "train"
        elif stem.startswith("0001TP_"):
            quarter = 4 * quarters.index(stem) // len(quarters)
            found[stem] = ("train", "val", "test", "test")[quarter]
        else:
            found[stem] = "test"
    return found


def squares(
    image: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Yield three squares of two thirds of the height, left to right, each with its labels."""
    height, width = labels.shape
    side = min(2 * height // 3, width)
    top = (height - side) // 2
    for place in range(3):
        left = place * (width - side) // 2
        window = np.s_[top : top + side, left : left + side]
        yield np.ascontiguousarray(image[window]), labels[window]


def things_of(labels: NDArray[np.uint8], classes: Sequence[str]) -> list[Thing]:
    """Return the boxes of a square's things: class, (x0, y0, x1, y1) half-open, difficult, truncated."""
    things: list[Thing] = []
    size = labels.shape[0]
    for index, name in enumerate(classes):
        if name not in CLASSES:
            continue
        mask = labels == index
        parts, count = ndimage.label(mask, structure=np.ones((3, 3)))
        pixels = ndimage.sum_labels(mask, parts, np.arange(1, count + 1))
        present = mask.mean() >= PRESENT
        for area, found in zip(np.atleast_1d(pixels), ndimage.find_objects(parts), strict=True):
            rows, columns = found
            sides = (columns.start, rows.start, columns.stop, rows.stop)
            # The largest is always one of the things that make the class present.
            easy = present and (area >= COMPONENT * mask.size or area == np.max(pixels))
            truncated = min(sides[:2]) == 0 or max(sides[2:]) == size
            things.append((CLASSES[name], sides, not easy, truncated))
    return things


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--every", type=int, default=1, help="2: every second frame, by time")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as unpacked:
        folder = given.source
        if folder.is_file():
            extract_zip(folder, Path(unpacked))
            folder = Path(unpacked)
        print(convert(folder, given.target, given.every))
