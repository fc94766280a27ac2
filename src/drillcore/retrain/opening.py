"""Opening a version's file, asking it about many images, and timing it on one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from drillcore.runtime.batch.scoring import Predictions, predict_many
from drillcore.runtime.images.decode import decode_file
from drillcore.runtime.model.served import blob_path
from drillcore.runtime.model.session import Model, open_model
from drillcore.settings import Settings
from drillcore.tasks import get_task

HEAD_FOLDER, GROWTH_FOLDER, STATE_FILE = "head", "head-growth", "state.safetensors"
MODEL_FILE, FLOAT_FILE = "model.onnx", "float32.onnx"
_LATENCY_IMAGES, _LATENCY_ROUNDS = 64, 3
_LATENCY_PIXELS = 4_000_000  # in all: large images are timed fewer times


def version_file(settings: Settings, model: str, version: int) -> Path:
    """Return a registered version's file among the served blobs, brought there if need be."""
    from drillcore import registry

    pointer = registry.fetch(settings, f"{model}@{version}")
    return blob_path(settings, pointer.sha256)


def open_for_batches(settings: Settings, path: Path, sha256: str | None = None) -> Model:
    """Open a model for `answers`: a session of one thread, since batches run side by side."""
    return open_model(path, sha256=sha256, device=settings.device, threads=1)


def answers(settings: Settings, model: Model, paths: Sequence[Path]) -> Predictions:
    """Return a classifier's answers to image files, with the settings' limits."""
    return predict_many(
        model,
        paths,
        max_pixels=settings.max_pixels,
        max_side=settings.max_side,
        workers=settings.decode_workers,
        threads=settings.cpu_threads,
    )


def one_image_milliseconds(path: Path, images: Sequence[Path], settings: Settings) -> float:
    """Return the median time of one image on one CPU core, decoded, in milliseconds."""
    model = open_model(path, device="cpu", threads=1)
    outputs = model.outputs[:1] if get_task(model.metadata.task).dense else None
    chosen = images[:: max(1, len(images) // _LATENCY_IMAGES)][:_LATENCY_IMAGES]
    decoded, pixels = [], 0
    for image in chosen:
        decoded.append(decode_file(image, model.metadata.channels, **settings.decoding(model.metadata.value_range)))
        pixels += decoded[-1].shape[0] * decoded[-1].shape[1]
        if pixels > _LATENCY_PIXELS // _LATENCY_ROUNDS:
            break
    model.run(decoded[0][None], outputs=outputs)
    times = []
    for _ in range(_LATENCY_ROUNDS):
        for pixels_of_one in decoded:
            started = time.perf_counter()
            model.run(pixels_of_one[None], outputs=outputs)
            times.append(time.perf_counter() - started)
    return float(np.median(times) * 1e3)
