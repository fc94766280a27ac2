"""The rows of dense answers: which file holds the answer to which image, and what it amounts to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from drillcore.runtime.images.masks import most_pixels
from drillcore.runtime.model.ranking import TOP
from drillcore.runtime.model.served import ServedModel
from drillcore.runtime.model.session import Model
from drillcore_serving.batch.writing.dense_files import KeptLabels, KeptValues
from drillcore_serving.batch.writing.part_tables import Shard


def mask_rows(session: Model, model: ServedModel, shard: Shard) -> pa.Table:
    """Return the table of a labelling model's shard as a `pyarrow.Table`.

    Columns beside input_index, path, sha256, model and version: `mask` (path below the output) and `mask_sha256`,
    `width`, `height`; `classes` list<struct<label, pixels, share>>, all classes in the model's order; `label`, the
    class of most pixels, `probability`, its share of the pixels, and `top5`, the five classes of most pixels with their
    shares; `overlay` and `overlay_sha256`, null where overlays were not asked for.
    """
    kept: list[KeptLabels] = [row for window in shard.windows for row in window.results]
    names = session.metadata.classes
    tops = [most_pixels(row.pixels, TOP) for row in kept]
    first, last = shard.identity(model)
    counted = [
        [
            {"label": name, "pixels": int(pixels), "share": int(pixels) / (row.height * row.width)}
            for name, pixels in zip(names, row.pixels, strict=True)
        ]
        for row in kept
    ]
    listed = [[{"label": names[index], "probability": share} for index, share in top] for top in tops]
    classes = pa.struct([("label", pa.string()), ("pixels", pa.int64()), ("share", pa.float32())])
    label = pa.struct([("label", pa.string()), ("probability", pa.float32())])
    columns = {
        "label": pa.array([names[top[0][0]] for top in tops], pa.string()),
        "probability": pa.array([top[0][1] for top in tops], pa.float32()),
        "top5": pa.array(listed, pa.list_(label)),
        "classes": pa.array(counted, pa.list_(classes)),
        **_file_columns(kept, "mask"),
        "overlay": pa.array([row.overlay or None for row in kept], pa.string()),
        "overlay_sha256": pa.array([row.overlay_sha256 or None for row in kept], pa.string()),
    }
    return pa.table({**first, **columns, **last})


def value_rows(session: Model, model: ServedModel, shard: Shard) -> pa.Table:
    """Return the table of a regression's shard as a `pyarrow.Table`.

    Columns beside input_index, path, sha256, model and version: `value` (path below the output) and `value_sha256`,
    `width`, `height`, `unit`; `channels` list<struct<channel, mean, min, max>>. There are no labels.
    """
    kept: list[KeptValues] = [row for window in shard.windows for row in window.results]
    first, last = shard.identity(model)
    figures = [
        [
            {"channel": channel, "mean": float(mean), "min": float(least), "max": float(most)}
            for channel, (mean, least, most) in enumerate(row.statistics)
        ]
        for row in kept
    ]
    channel = pa.struct([("channel", pa.int64()), *((name, pa.float32()) for name in ("mean", "min", "max"))])
    columns = {
        **_file_columns(kept, "value"),
        "unit": pa.array([session.metadata.unit or ""] * len(kept), pa.string()),
        "channels": pa.array(figures, pa.list_(channel)),
    }
    return pa.table({**first, **columns, **last})


def _file_columns(kept: Sequence[KeptLabels | KeptValues], name: str) -> dict[str, object]:
    digest = f"{name}_sha256"
    return {
        name: pa.array([getattr(row, name) for row in kept], pa.string()),
        digest: pa.array([getattr(row, digest) for row in kept], pa.string()),
        "width": pa.array(np.array([row.width for row in kept], np.int64)),
        "height": pa.array(np.array([row.height for row in kept], np.int64)),
    }
