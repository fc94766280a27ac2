"""What comes behind the file: a task may turn outputs into the answer, image by image (`tasks.Task.finish`)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from drillcore.arrays import Array
from drillcore.json_types import Json
from drillcore.plugins import attribute
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.tasks import TASKS

Outputs = Mapping[str, Array]


def finished(metadata: ModelMetadata, outputs: Outputs, image: NDArray[np.uint8]) -> Json:
    """Return the answer to one image, its outputs as they are where the task has nothing to do behind the file.

    Args:
        metadata: of the model.
        outputs: by name, of this image alone.
        image: uint8 [H,W,C], as decoded.
    """
    task = TASKS.get(metadata.task)
    if task is None or not task.finish:
        return dict(outputs)
    return dict(attribute(task.finish)(dict(outputs), image, metadata))
