"""The pictures of an evaluation: files that a person opens and MLflow shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from drillcore.datasets.manifest import Manifest
from drillcore.evaluation.figures.choosing import best_examples, worst_mistakes
from drillcore.evaluation.figures.lookalikes import lookalikes
from drillcore.evaluation.pictures import plots
from drillcore.evaluation.pictures.gallery import Tile, gallery_png
from drillcore.files import write_bytes
from drillcore.json_types import Json
from drillcore.quality.near_duplicates import thumbnails
from drillcore.quality.thresholds import limits_of
from drillcore.runtime.images.decode import decode_file
from drillcore.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 24  # images in a gallery
MAX_COMPARED = 20_000  # images looked through for near duplicates: pairs grow with the square
_CURVES = ("loss", "val_loss", "accuracy", "val_accuracy")

Load = Callable[[str], Any]


def draw_evaluation(
    settings: Settings,
    folder: Path,
    manifest: Manifest,
    rows: pd.DataFrame,
    probabilities: Any,
    figures: Json,
) -> list[str]:
    """Draw what an evaluation found.

    Args:
        settings: limits of decoding.
        folder: where the PNG files go.
        manifest: of the data set.
        rows: the evaluated rows of it, N.
        probabilities: float32 [N, K], K the manifest's classes.
        figures: as `classification_metrics` gives them.

    Returns:
        the files' names relative to the folder above `folder`.
    """
    truth, classes = manifest.label_indices(rows), list(manifest.classes)
    drawn = {
        "confusion": plots.confusion_png(truth, probabilities, classes),
        "calibration": plots.calibration_png(truth, probabilities, classes),
        "per-class": plots.class_bars_png(figures["per_class"]),
        **_examples(settings, manifest, rows, truth, probabilities),
        "class-shares": plots.class_shares_png(_shares(manifest)),
        **_duplicates(settings, manifest),
    }
    names = []
    for name, png in drawn.items():
        write_bytes(folder / f"{name}.png", png)
        names.append(f"{folder.name}/{name}.png")
    return names


def draw_curves(curve: list[Json]) -> bytes | None:
    """Draw the learning curves of a backbone's training, one record per epoch; None where none was trained."""
    named = {name: [row[name] for row in curve if row.get(name) is not None] for name in _CURVES}
    told = {name if "val" in name else f"train_{name}": values for name, values in named.items() if values}
    return plots.curves_png(told, "Learning curves of the backbone") if told else None


def _examples(settings: Settings, manifest: Manifest, rows: pd.DataFrame, truth: Any, probabilities: Any) -> Any:
    """Draw the worst mistakes and the best examples; nothing where there are none."""
    load = _loader(settings, manifest)
    paths = list(rows["path"])
    answered = np.argmax(probabilities, axis=1)
    drawn = {}

    def tile(index: int) -> Tile:
        label, answer = truth[index], answered[index]
        own = f"true: {manifest.classes[label]}  {probabilities[index, label]:.2f}"
        said = f"said: {manifest.classes[answer]}  {probabilities[index, answer]:.2f}"
        lines, frame = ((own, said), "wrong") if label != answer else ((own,), "right")
        return Tile([load(paths[index])], [*lines, paths[index].rpartition("/")[2]], frame)

    wrong, right = worst_mistakes(truth, probabilities, SHOWN), best_examples(truth, probabilities, SHOWN)
    if len(wrong):
        total = int((answered != truth).sum())
        title = f"Worst mistakes: the {len(wrong)} of {total:,} the model was surest of"
        drawn["worst-mistakes"] = gallery_png([tile(index) for index in wrong], title)
    if len(right):
        title = "Best examples: right answers the model was surest of, each class in turn"
        drawn["best-examples"] = gallery_png([tile(index) for index in right], title)
    return drawn


def _duplicates(settings: Settings, manifest: Manifest) -> dict[str, bytes]:
    """Draw pairs of near duplicates, those across splits first; nothing where there are none."""
    table = manifest.table[manifest.table["split"] != "none"].reset_index(drop=True)
    # Of all, since what is remembered are the thumbnails asked for last.
    thumbs = thumbnails(settings, manifest.dataset, list(table["path"]), list(table["sha256"]))
    if len(table) > MAX_COMPARED:  # every n-th in the order of the digests: the same ones each time
        chosen = np.argsort(table["sha256"].to_numpy(str), kind="stable")[:: -(-len(table) // MAX_COMPARED)]
        table, thumbs = table.iloc[chosen], thumbs[chosen]
    paths, splits, labels, digests = (list(table[name]) for name in ("path", "split", "label", "sha256"))
    ratios = (table["height"] / table["width"]).to_numpy(np.float64)
    pairs = lookalikes(thumbs, ratios, digests, limits_of(manifest.layout).near_correlation)
    across = [pair for pair in pairs if splits[pair.first] != splits[pair.second]]
    within = [pair for pair in pairs if splits[pair.first] == splits[pair.second]]
    if not pairs:
        return {}
    load = _loader(settings, manifest)
    tiles = []
    for pair in [*across, *within][:SHOWN]:
        both = (pair.first, pair.second)
        names = dict.fromkeys(str(labels[one]) for one in both)
        twice = digests[pair.first] == digests[pair.second]
        told = "the same file" if twice else f"correlation {pair.correlation:.4f}"
        lines = [" | ".join(splits[one] for one in both), *names, told]
        differ = splits[pair.first] != splits[pair.second] or len(names) > 1
        tiles.append(Tile([load(paths[one]) for one in both], lines, "wrong" if differ else ""))
    title = f"Near duplicates: {len(across):,} pairs across splits, {len(within):,} within, of {len(table):,} images"
    return {"near-duplicates": gallery_png(tiles, title)}


def _loader(settings: Settings, manifest: Manifest) -> Load:
    channels = 3 if manifest.channels == 3 else 1
    return lambda path: decode_file(manifest.path_of(path), channels, **settings.decoding())


def _shares(manifest: Manifest) -> dict[str, dict[str, int]]:
    shares = {}
    for split in ("train", "val", "test"):
        counts = manifest.table.loc[manifest.table["split"] == split, "label"].value_counts()
        shares[split] = {str(label): int(count) for label, count in counts.items()}
    return {split: counts for split, counts in shares.items() if counts}
