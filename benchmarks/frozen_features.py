"""Features of a zip of classified images by the network that `drillcore new` takes, for benches of heads on them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import drillcore
from drillcore.backbones.catalogue import build_backbone
from drillcore.export.onnx_network import quickened
from drillcore.recipes.own_images import BACKBONE, TAP, WEIGHTS
from drillcore.representations.activations.extraction import extract
from drillcore.runtime.images.decode import decode_file

if TYPE_CHECKING:
    import pandas as pd

    from drillcore.settings import Settings

Features = tuple[NDArray[np.float32], NDArray[np.int64]]


def frozen_features(
    settings: Settings, source: Path, *, side: int, least: int, most: int, classes: int = 0, each: int = 0
) -> Features:
    """Return features float32 [N, D] and class indices int64 [N].

    Args:
        settings: the store is kept in its state folder.
        source: a zip or folder of class folders.
        side: pixels images are squashed to.
        least: images a class has to have; smaller ones are left out.
        most: images, drawn once.
        classes: only so many, the largest; 0: all.
        each: images of a class at most, drawn once; 0: all.
    """
    settings.state.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.state) as scratch:
        images = drillcore.load_folder(source, name=source.stem.replace("_", "-"), state=Path(scratch))
        table = _drawn(images.manifest.rows(), most, least, classes, each)
        backbone = quickened(build_backbone(BACKBONE, WEIGHTS, settings, resize=(side, side)))
        paths = [images.manifest.path_of(path) for path in table["path"]]
        found = extract(
            backbone,
            [TAP],
            list(table["sha256"]),
            lambda number: decode_file(paths[number], 3, **settings.decoding()),
            settings,
        )
        rows = np.asarray(found.rows, np.float32)
    _, labels = np.unique(table["label"].to_numpy(str), return_inverse=True)
    return rows, labels.astype(np.int64)


def _drawn(table: pd.DataFrame, most: int, least: int, classes: int, each: int) -> pd.DataFrame:
    if classes:
        largest = table["label"].value_counts().sort_index().sort_values(ascending=False, kind="stable")
        table = table[table["label"].isin(largest.index[:classes])]
    if each:
        table = table.sample(frac=1, random_state=0).groupby("label").head(each).sort_index()
    if len(table) > most:
        table = table.sample(most, random_state=0)
    return table[table["label"].map(table["label"].value_counts()) >= least].reset_index(drop=True)
