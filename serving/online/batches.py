"""What happens to one batch of images, in a thread: through the model, and checked against what its file promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from drillcore.arrays import Array
from drillcore.errors import InputError, UnsafeModelError
from drillcore.runtime.batch.planning import pad_batch
from drillcore.runtime.dense.answering import Scene, fits_whole, run_dense
from drillcore.runtime.model.finishing import finished
from drillcore.runtime.model.session import Model
from drillcore.tasks import TASKS
from drillcore_serving.online.batcher import Image, Row, Wanted

_WARM_SIDE = 64  # pixels, where a model takes any size


def takes_padding(model: Model) -> bool:
    """Tell whether images of different sizes may share a batch of this model."""
    return not TASKS[model.metadata.task].dense and "sizes" in model.inputs


def run_batch(model: Model, images: Sequence[Image], outputs: tuple[str, ...], _: Wanted = lambda: True) -> list[Row]:
    """Answer images that share a batch; in a thread.

    Args:
        model: an open model.
        images: uint8 [h,w,C] each, of one size unless the model takes padding.
        outputs: names.

    Raises:
        InputError: an image that the model cannot take.
        UnsafeModelError: an output that is not as the metadata promises.
    """
    canvas, sizes = pad_batch(images)
    if TASKS[model.metadata.task].dense:
        answer = run_dense(model, canvas, outputs)
    else:
        answer = model.run(canvas, sizes if takes_padding(model) else None, outputs)
        _check_classes(model, answer, len(images))
    return [
        finished(model.metadata, {name: array[row] for name, array in answer.items()}, image)
        for row, image in enumerate(images)
    ]


def run_scenes(model: Model, images: Sequence[Image], outputs: tuple[str, ...], wanted: Wanted) -> list[Row]:
    """Answer images that are larger than a tile, tile by tile, and stop where nobody waits any more; in a thread.

    Raises:
        InputError: an image that the model cannot take.
        UnsafeModelError: an output that is not as the metadata promises.
    """
    rows = []
    for image in images:
        scene = Scene(model, image, outputs)
        for step in scene.steps:
            if not wanted():
                raise InputError("nobody waits for it any more")
            step()
        rows.append(finished(model.metadata, scene.answers, image))
    return rows


def check_answers(model: Model) -> None:
    """Warm a model up and check that it answers blank images as its metadata promises.

    Raises:
        UnsafeModelError: it does not, or its task cannot be served.
    """
    metadata = model.metadata
    if metadata.task not in TASKS:
        raise UnsafeModelError(f"models of the task {metadata.task!r} cannot be served; known: {', '.join(TASKS)}")
    outputs = wanted_outputs(model)
    if not outputs:
        raise UnsafeModelError(f"a model of the task {metadata.task!r} has the outputs {', '.join(model.outputs)}")
    height, width = metadata.input["resize"] or (max(side, _WARM_SIDE) for side in metadata.min_size)
    blank = np.zeros((int(height), int(width), metadata.channels), np.uint8)
    for count in (1, 2):
        run_batch(model, [blank] * count, outputs)


def wanted_outputs(model: Model) -> tuple[str, ...]:
    """Return the outputs that a plain prediction asks for, of those the model has."""
    return tuple(name for name in TASKS[model.metadata.task].asked if name in model.outputs)


def _check_classes(model: Model, answer: Mapping[str, Array], count: int) -> None:
    classes = len(model.metadata.classes)
    shapes = {"label": ((count,), "i"), "probabilities": ((count, classes), "f")}
    for name, array in answer.items():
        shape, kind = shapes.get(name, ((count, *array.shape[1:]), array.dtype.kind))
        fits = array.shape == shape and array.dtype.kind == kind and bool(np.isfinite(array).all())
        if not fits or (name == "label" and not bool(((array >= 0) & (array < classes)).all())):
            raise UnsafeModelError(
                f"model {model.metadata.model} answers {name} as {array.dtype} {list(array.shape)}, not as its "
                "metadata promises"
            )


def fits_batch(model: Model, image: Image) -> bool:
    """Tell whether an image goes through the model at once, and not as a scene, tile by tile."""
    return fits_whole(model.metadata, *image.shape[:2])
