"""Small street scenes in CamVid's layout: 240 x 180 PNG, annotation PNG with 11 classes and void.

36 frames of four sequences: a camera drives down a street and sees walls, trees, poles, signs, fences, cars,
pedestrians and cyclists by one pinhole projection, so that frames of a sequence belong together as real ones do. val
has frames of a sequence that train has too, as published; test has a street of its own. The camera car's bonnet and
what is very far are void.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from drillcore.datasets.synthetic.chance import Chance
from drillcore.datasets.synthetic.image_bytes import png_bytes
from drillcore.datasets.synthetic.street import Street

# split -> sequence and the numbers of its frames
FRAMES: dict[str, tuple[tuple[str, tuple[int, ...]], ...]] = {
    "train": (
        ("0001TP", tuple(range(0, 7))),
        ("0006R0", tuple(range(0, 7))),
        ("0016E5", tuple(range(0, 12, 2))),
    ),
    "val": (("0016E5", tuple(range(1, 13, 2))),),
    "test": (("Seq05VD", tuple(range(0, 10))),),
}
_FRAME_STEP = 30


def write_camvid(folder: Path, seed: int = 0) -> int:
    """Write the sample under `folder`; return the number of images. Raises OSError."""
    count = 0
    for split, sequences in FRAMES.items():
        images, annotations = folder / "CamVid" / split, folder / "CamVid" / f"{split}annot"
        images.mkdir(parents=True, exist_ok=True)
        annotations.mkdir(parents=True, exist_ok=True)
        for sequence, frames in sequences:
            street = Street(Chance("camvid", seed, sequence))
            for frame in frames:
                picture, labels = street.view(3.0 * frame, Chance("camvid", seed, sequence, frame))
                name = f"{sequence}_{_FRAME_STEP * frame:06d}.png"
                (images / name).write_bytes(png_bytes(picture))
                (annotations / name).write_bytes(png_bytes(labels.astype(np.uint8)))
                count += 1
    return count
