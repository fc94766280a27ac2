"""`drillcore cluster`: which classes look alike to a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from drillcore.cli.session import begin, json_option, print_json, print_table, shown
from drillcore.evaluation.figures.linkages import DEFAULT_LINKAGE, LINKAGES

if TYPE_CHECKING:
    from drillcore.analysis.class_clusters import ClassClusters

_SHOWN = 12  # classes on the terminal


@click.command()
@click.argument("model")
@click.option("--split", default="train", show_default=True, help="Images the centroids are of: train, val or test.")
@click.option(
    "--linkage",
    type=click.Choice(LINKAGES),
    default=DEFAULT_LINKAGE,
    show_default=True,
    help="How two groups' distance is made of that of their classes; the paper does not say.",
)
@click.option(
    "--features",
    default="",
    metavar="0,3,5-9|top:N",
    help="Make the tree of these features, or of the N that tell most.  [default: all]",
)
@click.option(
    "--tap", "taps", multiple=True, help="Tap whose activations are the features; repeatable.  [default: the head's]"
)
@click.option("--standardise", is_flag=True, help="Divide each feature by its standard deviation.")
@click.option("--neighbours", type=click.IntRange(1, 100), default=5, show_default=True, help="Of each class.")
@click.option("--bars", multiple=True, metavar="CLASS", help="Draw the feature scores of these classes; repeatable.")
@click.option("--control/--no-control", default=True, help="Make the tree on raw pixels too.  [default: control]")
@click.option("--samples/--no-samples", default=True, help="Images beside the classes' names.  [default: samples]")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), help="Folder; default clusters/ in the state folder."
)
@json_option
def cluster(
    model: str,
    split: str,
    linkage: str,
    features: str,
    taps: tuple[str, ...],
    standardise: bool,
    neighbours: int,
    bars: tuple[str, ...],
    control: bool,
    samples: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Cluster the classes of MODEL[@ALIAS|@VERSION]: a tree over their centroids in its feature space.

    Written are the tree as picture and Newick file, each class's nearest neighbours, bars of the mean feature scores of
    classes that are alike, and as control the tree on raw pixels with how far the two agree.

    \b
    Example:
      drillcore cluster plankton-forest
      drillcore cluster plankton-forest --linkage ward --output clusters/
      drillcore cluster plankton-forest --features top:16 --bars copepod_calanoid --bars copepod_cyclopoid_oithona
      drillcore cluster plankton-forest@3 --features 0,3,5-9 --json
    """
    settings = begin(as_json=as_json)
    from drillcore.analysis import clustering, clustering_files

    found = clustering.cluster_classes(
        settings,
        model,
        split=split,
        linkage=linkage,
        features=features,
        standardised=standardise,
        neighbours=neighbours,
        control=control,
        taps=taps,
    )
    folder = output or clustering_files.default_folder(settings, found)
    made = clustering_files.write_clusters(settings, found, folder, bars=bars, samples=samples)
    if as_json:
        files = [str(path) for path in made]
        print_json({**found.to_dict(), "close_groups": clustering_files.group_facts(found), "files": files})
        return
    _print(found)
    for path in made:
        click.echo(shown(settings, path))


def _print(found: ClassClusters) -> None:
    """Print the classes that are most alike, and the figures."""
    order = found.space.distances[:, 0].argsort(kind="stable")
    rows = []
    for number in order[:_SHOWN].tolist():
        near = [found.classes[other] for other in found.space.neighbours[number].tolist()]
        rows.append((found.classes[number], found.counts[number], found.space.distances[number, 0], ", ".join(near)))
    more = f", the {_SHOWN} nearest to another" if len(found.classes) > _SHOWN else ""
    title = f"{found.parts.name}: {len(found.classes)} classes, {sum(found.counts):,} images of {found.split}{more}"
    print_table(title, ("class", "images", "distance", "nearest classes"), rows)
    told = found.to_dict()
    figures = [("the tree keeps the distances (cophenetic correlation)", told["cophenetic_correlation"])]
    if found.pixels is not None:
        agreement = told["agreement"]
        figures += [
            ("the same of the tree on raw pixels", told["pixels"]["cophenetic_correlation"]),
            ("the two trees agree (correlation of cophenetic distances)", agreement["cophenetic_correlation"]),
            ("neighbours that both have, share", agreement["shared_neighbours"]),
        ]
    if told["same_first_word"] is not None:
        figures.append(("nearest class has the same first word in its name, share", told["same_first_word"]))
        if found.pixels is not None:
            figures.append(("the same by raw pixels", told["pixels"]["same_first_word"]))
    print_table("", ("figure", "value"), figures)
    for note in found.notes:
        click.echo(f"note: {note}")
