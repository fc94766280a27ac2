"""Small photographs of things, laid out as BSDS500 and as MSRC v2: a ground, a sky and a few things of one colour each.

BSDS500: 8 train, 4 val and 2 test images of 96 x 64 and 64 x 96 pixels; one person marks every thing, another takes the
smaller ones for one, a third parts ground and sky only. MSRC: 12 images, as published or as cleaned.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from drillcore.datasets.synthetic.chance import Chance
from drillcore.datasets.synthetic.image_bytes import png_bytes

SPLITS = {"train": 8, "val": 4, "test": 2}
MSRC_IMAGES = 12
_COLOURS = ((60, 120, 40), (150, 190, 230), (200, 60, 50), (230, 200, 60), (90, 60, 140), (240, 240, 240))
_MSRC_COLOURS = ((0, 128, 0), (128, 128, 128), (128, 0, 0), (64, 128, 0), (0, 0, 128), (128, 0, 128))
_HEADER = b"MATLAB 5.0 MAT-file, drillcore".ljust(116)  # scipy would write the date

Map = NDArray[np.int32]


def draw_scene(chance: Chance, height: int, width: int) -> tuple[NDArray[np.uint8], Map]:
    """Return an image uint8 [H, W, 3] and its segments int32 [H, W] from 0: ground, sky, then things by size."""
    truth = np.zeros((height, width), np.int32)
    truth[: int(height * chance.between(0.3, 0.5))] = 1
    rows, columns = np.mgrid[:height, :width]
    for number in range(chance.whole(2, 4)):
        radius = height * (0.24 - 0.05 * number)
        y, x = chance.between(0.25, 0.75) * height, (0.2 + 0.2 * number) * width
        shape = (rows - y) ** 2 + ((columns - x) * chance.between(0.7, 1.3)) ** 2 < radius**2
        truth[shape] = 2 + number
    ids = np.unique(truth)
    truth = np.searchsorted(ids, truth).astype(np.int32)
    colours = np.array([_COLOURS[int(one)] for one in ids], np.float64)
    noise = np.stack([chance.bell(height, width) for _ in range(3)], axis=2)
    return np.clip(colours[truth] + 9 * noise, 0, 255).astype(np.uint8), truth


def write_bsds500(folder: Path, seed: int = 0) -> int:
    """Write the sample under `folder`; return the number of images. Raises OSError."""
    count = 0
    for split, images in SPLITS.items():
        places = [folder / "BSDS500" / "data" / name / split for name in ("images", "groundTruth")]
        for place in places:
            place.mkdir(parents=True, exist_ok=True)
        for number in range(images):
            size = (64, 96) if number % 3 else (96, 64)
            image, truth = draw_scene(Chance("bsds500", seed, split, number), *size)
            name = f"{100 * (count + 1) + 7}"
            stream = io.BytesIO()
            Image.fromarray(image).save(stream, "JPEG", quality=95)
            (places[0] / f"{name}.jpg").write_bytes(stream.getvalue())
            (places[1] / f"{name}.mat").write_bytes(mat_bytes([truth, np.minimum(truth, 3), np.minimum(truth, 1)]))
            count += 1
    return count


def mat_bytes(people: list[Map]) -> bytes:
    """Return a MATLAB 5 file as BSDS500's: a cell for each person, its `Segmentation` numbered from 1."""
    from scipy.io import savemat

    cells = np.empty((1, len(people)), dtype=object)
    for number, one in enumerate(people):
        cells[0, number] = {"Segmentation": (one + 1).astype(np.uint16)}
    stream = io.BytesIO()
    savemat(stream, {"groundTruth": cells}, do_compression=False)
    data = stream.getvalue()
    return _HEADER + data[len(_HEADER) :]


def write_msrc(folder: Path, seed: int = 0, *, cleaned: bool = True) -> int:
    """Write the sample under `folder`, cleaned or in the published colours; return the number of images."""
    root = folder / "MSRC_v2"
    (root / "Images").mkdir(parents=True, exist_ok=True)
    (root / "GroundTruth").mkdir(exist_ok=True)
    lines = []
    for number in range(MSRC_IMAGES):
        image, truth = draw_scene(Chance("msrc", seed, number), 64, 96)
        name, things = f"{1 + number % 4}_{number}_s", int(truth.max()) + 1
        void = np.mgrid[:64, :96][1] < 4  # the left edge is not known
        if cleaned:
            (root / "Images" / f"{name}.webp").write_bytes(_encoded(image, "WEBP", lossless=True))
            label = np.where(void, things + 1, truth + 1).astype(np.uint8)
            (root / "GroundTruth" / f"{name}.png").write_bytes(png_bytes(label))
            lines.append(" ".join([name, *(str(one + 1) for one in range(things))]))
        else:
            (root / "Images" / f"{name}.bmp").write_bytes(_encoded(image, "BMP"))
            painted = np.where(void[..., None], 0, np.array(_MSRC_COLOURS)[truth]).astype(np.uint8)
            (root / "GroundTruth" / f"{name}_GT.bmp").write_bytes(_encoded(painted, "BMP"))
    if cleaned:
        (root / "labels.txt").write_text("".join(f"{line}\n" for line in lines))
    return MSRC_IMAGES


def _encoded(image: NDArray[np.uint8], kind: str, **options: bool) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind, **options)
    return stream.getvalue()
