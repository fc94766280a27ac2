"""What `drillcore cluster` leaves in a folder: the tree as picture and Newick file, tables, bars, the control."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from drillcore.analysis.class_clusters import ClassClusters
from drillcore.arrays import Array
from drillcore.errors import BadImageError, UnknownNameError
from drillcore.evaluation.figures.class_tree import tree_groups
from drillcore.evaluation.figures.newick import to_newick
from drillcore.evaluation.pictures.class_pictures import common_features, draw_feature_bars, draw_tree, draw_two_trees
from drillcore.files import write_json, write_text
from drillcore.json_types import Json
from drillcore.progress import progress
from drillcore.runtime.images.decode import decode_file
from drillcore.settings import Settings

_COLUMNS = ("class", "images", "group", "rank", "neighbour", "distance", "pixels_neighbour", "pixels_distance")
_SHOWN_BARS = 12  # classes in one picture of bars
_MOST_BARS = 4096  # features; of more no bar is seen


def default_folder(settings: Settings, found: ClassClusters) -> Path:
    """Return the folder that is written to where none is named."""
    return settings.state / "clusters" / f"{found.parts.version.model}-{found.parts.version.version}"


def write_clusters(
    settings: Settings, found: ClassClusters, folder: Path, *, bars: Sequence[str] = (), samples: bool = True
) -> list[Path]:
    """Write everything that was found, each file whole or not at all.

    Args:
        settings: limits of decoding.
        found: by `cluster_classes`.
        folder: made if need be; files of the same names are replaced.
        bars: classes whose mean feature scores are drawn; none: the two groups of `close_groups`.
        samples: whether images stand beside the classes' names.

    Returns:
        the files: cluster.json, tree.nwk, neighbours.csv, tree.png, feature-bars.png (up to 4,096 features), and of the
        control pixels.nwk, pixels.png, agreement.png.

    Raises:
        UnknownNameError: `bars` names a class that is not there.
        OSError: the folder cannot be written.
    """
    groups = _bar_groups(found, bars)
    if len(found.chosen) > _MOST_BARS:
        found.notes.append(f"no bars of {len(found.chosen):,} features: choose some, for instance --features top:64")
        groups = []
    version, tree, names = found.parts.version, found.space.tree, found.classes
    head = f"{version.model} version {version.version}: {len(names)} classes, {_features(found)}"
    shown = _sample_images(settings, found) if samples else None
    made: Json = {
        "tree.nwk": lambda path: write_text(path, to_newick(tree, names) + "\n"),
        "neighbours.csv": lambda path: write_text(path, neighbour_table(found)),
        "tree.png": lambda path: draw_tree(tree, names, path, title=head, samples=shown),
    }
    if groups:
        made["feature-bars.png"] = lambda path: draw_feature_bars(
            found.scores[:, found.chosen],
            groups,
            names,
            found.chosen,
            path,
            samples=shown,
            title=f"Mean feature scores of {sum(map(len, groups))} classes; {head}",
        )
    if found.pixels is not None:
        pixels = found.pixels.tree
        titles = (_features(found), "raw pixels, 28 x 28")
        made |= {
            "pixels.nwk": lambda path: write_text(path, to_newick(pixels, names) + "\n"),
            "pixels.png": lambda path: draw_tree(
                pixels, names, path, title=f"Control: {len(names)} classes by raw pixels, 28 x 28", samples=shown
            ),
            "agreement.png": lambda path: draw_two_trees(tree, pixels, names, path, titles=titles),
        }
    made["cluster.json"] = lambda path: write_json(path, {**found.to_dict(), "close_groups": group_facts(found)})
    folder.mkdir(parents=True, exist_ok=True)
    with progress("writing", len(made), unit="files") as advance:
        for name, write in made.items():
            write(folder / name)
            advance(1)
    return [folder / name for name in sorted(made)]


def neighbour_table(found: ClassClusters) -> str:
    """Return each class's neighbours as CSV, by features and, where there is a control, by raw pixels."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    groups = tree_groups(found.space.tree, round(len(found.classes) ** 0.5))
    for number, name in enumerate(found.classes):
        for rank in range(found.space.neighbours.shape[1]):
            row = [name, found.counts[number], int(groups[number]) + 1, rank + 1]
            for space in (found.space, found.pixels):
                if space is None:
                    row += ["", ""]
                else:
                    row += [found.classes[space.neighbours[number, rank]], f"{space.distances[number, rank]:.6g}"]
            writer.writerow(row)
    return stream.getvalue()


def group_facts(found: ClassClusters) -> list[dict[str, object]]:
    """Return the groups of alike classes that are worth a look, with the features they have in common."""
    return [
        {
            "classes": [found.classes[number] for number in group],
            "common_features": [found.chosen[place] for place in common_features(found.scores[:, found.chosen], group)],
        }
        for group in found.groups()
    ]


def _bar_groups(found: ClassClusters, bars: Sequence[str]) -> list[list[int]]:
    if not bars:
        return found.groups()
    for name in bars:
        if name not in found.classes:
            raise UnknownNameError("class", name, found.classes)
    return [[found.classes.index(name) for name in dict.fromkeys(bars)][:_SHOWN_BARS]]


def _features(found: ClassClusters) -> str:
    taps = ", ".join(found.parts.recipe.backbone.taps)
    used, of = len(found.chosen), found.scores.shape[1]
    count = f"{used:,} features" if used == of else f"{used:,} of {of:,} features"
    return f"{count} of {found.parts.backbone.name} {taps}{', standardised' if found.standardised else ''}"


def _sample_images(settings: Settings, found: ClassClusters) -> list[list[Array]]:
    """Return the sample images of each class; one that cannot be read any more is left out."""
    manifest = found.parts.manifest
    channels = 3 if manifest.channels == 3 else 1
    how = settings.decoding(found.parts.backbone.value_range)
    shown: list[list[Array]] = []
    with progress("samples", len(found.samples), unit="classes") as advance:
        for paths in found.samples:
            images = []
            for path in paths:
                try:
                    images.append(decode_file(manifest.path_of(path), channels, **how))
                except BadImageError:
                    continue
            shown.append(images)
            advance(1)
    return shown
