"""An exported file on images without labels, as a DataFrame with the columns of the batch scorer."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from drillcore.errors import InputError
from drillcore.retrain.opening import answers, open_for_batches
from drillcore.runtime.images.image_files import IMAGE_SUFFIXES
from drillcore.runtime.images.walking import walk_images
from drillcore.runtime.model.abstaining import answered
from drillcore.runtime.model.exported_file import NO_VERSION
from drillcore.runtime.model.ranking import ranked_classes
from drillcore.settings import Settings

if TYPE_CHECKING:
    from drillcore.runtime.batch.scoring import Predictions
    from drillcore.runtime.model.session import Model

_EXPECTED = "a folder of images, an image, or a list of paths is expected"


def score(
    model: str | Path,
    inputs: str | Path | Iterable[str | Path],
    *,
    device: str | None = None,
    settings: Settings | None = None,
) -> pd.DataFrame:
    """Classify images with an exported file; torch is not imported.

    Args:
        model: an ONNX file written by `export`.
        inputs: a folder (searched through, sorted by path), one image, or paths, such as a list or a column of a frame.
        device: auto, cpu or cuda; None: that of the settings.
        settings: threads and limits; None: the defaults, overridden by `DRILLCORE_*` variables.

    Returns:
        One row per image that could be read, with the columns of `drillcore score`: `input_index`, `path`, `sha256`,
        `label`, `probability` (0 to 1), `top5` (a list of `{"label", "probability"}`, best first), `model`, `version`
        (0: no registry gave the file one); of a model that does not answer every image also `answered`. The others,
        with their reasons, are rows of `attrs["set_aside"]`.

    Raises:
        InputError: no such file or folder, no image in it, or the model is no classifier.
        UnsafeModelError: the file is no model that drillcore exported, or could do more than answer images.
        DeviceError: cuda was asked for and is not there.

    Example:
        >>> table = drillcore.score("shells.onnx", "new-images/")  # doctest: +SKIP
        >>> table["label"].value_counts()  # doctest: +SKIP
    """
    limits = settings or Settings.load_anywhere()
    limits = replace(limits, device=device) if device else limits
    names, files = _list(inputs)
    opened = open_for_batches(limits, Path(model).expanduser())
    found = answers(limits, opened, files)
    table = pd.DataFrame(_columns(opened, found, names))
    aside = [{**asdict(row), "path": names[row.index]} for row in found.set_aside]
    table.attrs["set_aside"] = aside
    if aside:
        first = aside[0]
        text = f"{len(aside)} of {len(names)} images were set aside, the first {first['path']}: {first['reason']}"
        warnings.warn(f"{text}; all of them: table.attrs['set_aside']", stacklevel=2)
    return table


def _columns(model: Model, found: Predictions, names: Sequence[str]) -> dict[str, object]:
    classes, count = model.metadata.classes, len(found.rows)
    sure = answered(model.metadata, found.probabilities)
    return {
        "input_index": found.rows,
        "path": [names[row] for row in found.rows],
        "sha256": found.sha256,
        "label": [classes[label] for label in found.labels],
        "probability": found.probabilities[np.arange(count), found.labels],
        **({} if sure is None else {"answered": sure}),
        "top5": [
            [{"label": name, "probability": one} for name, one in ranked_classes(classes, row)]
            for row in found.probabilities
        ],
        "model": [model.metadata.model] * count,
        "version": np.full(count, NO_VERSION, np.int64),
    }


def _list(inputs: str | Path | Iterable[str | Path]) -> tuple[list[str], list[Path]]:
    """Return paths as they are shown, and the files."""
    if not isinstance(inputs, str | Path):
        items = list(inputs)
        if not items:
            raise InputError(f"there is nothing to score in an empty list; {_EXPECTED}")
        return [str(item) for item in items], [Path(item).expanduser() for item in items]
    source = Path(inputs).expanduser()
    if source.is_file():
        return [str(inputs)], [source]
    if not source.is_dir():
        raise InputError(f"no such file or folder: {source}; {_EXPECTED}")
    found = list(walk_images(source))
    if not found:
        raise InputError(f"no images in {source}: files that end in {', '.join(IMAGE_SUFFIXES)} are expected")
    names = sorted(found, key=os.fsencode)
    return names, [source / name for name in names]
