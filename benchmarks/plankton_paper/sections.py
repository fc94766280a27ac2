"""The sections of the plankton paper's report: each makes Markdown of what is there, and says what is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.plankton_paper.clusters import tree_rows
from benchmarks.plankton_paper.features import IMAGES, PAPER_GROUPS, common_features
from benchmarks.plankton_paper.figures import SHOWN
from benchmarks.plankton_paper.found import NAME, NETWORKS, NOT_RUN, PAPER, Found
from benchmarks.report import table
from drillcore.analysis.projecting import TOP_IMAGES
from drillcore.backbones.networks.plankton_cnn import ARCHITECTURES


def claims_section(found: Found) -> str:
    """Set the paper's sentences beside what was found; those that cannot be judged yet are left out."""
    rows: list[tuple[str, str, str]] = []
    for network in NETWORKS:
        own, values = found.network(network), found.sweep(network)
        if not own or not values:
            continue
        best = {stage: max(one.items(), key=lambda item: item[1]) for stage, one in values.items()}
        gains = ", ".join(
            f"{SHOWN[stage]} {100 * (value - own['accuracy']):+.1f}" for stage, (_, value) in best.items()
        )
        better = all(value > own["accuracy"] for _, value in best.values())
        rows.append((f"second stages on {network}'s features beat {network}", gains + " points", _yes(better)))
        stage, (layer, value) = max(best.items(), key=lambda item: item[1][1])
        last = found.layers(network)[-1]
        if network != "cnn3" and last in values.get(stage, {}):
            text = f"{SHOWN[stage]}: {layer} {value:.4f}, {last} {values[stage][last]:.4f}"
            rows.append((f"{network}'s fully connected layer is not the best", text, _yes(layer != last)))
    bag, forest = found.records.value("bag"), found.layer("cnn1", "layer3", "forest")
    if bag and forest:
        text = f"bag {bag['accuracy']:.4f}, forest on layer 3 {forest['accuracy']:.4f}"
        rows.append(
            ("a bag of CNN1 is inferior to a second stage on one", text, _yes(bag["accuracy"] < forest["accuracy"]))
        )
    epochs = found.epochs()
    early, own_curve = epochs.get("forest", {}), epochs.get("CNN1 itself", {})
    if 0 in early and 0 in own_curve:
        most = max(early.values())
        text = f"forest at epoch 0 {early[0]:.4f}, at its best {most:.4f}; CNN1 at epoch 0 {own_curve[0]:.4f}"
        rows.append(("a forest on random weights does quite well", text, _yes(early[0] > 0.5 * most)))
    if ratio := found.dropout_ratio():
        rows.append(("dropout trains about 3 times longer", f"{ratio[0]:.1f} times", _yes(2 <= ratio[0] <= 4.5)))
    text = "Of one seed each: differences below two points are within what chance does."
    return f"## Claims of the paper\n\n{text}\n\n{table(('claim', 'ours', 'holds'), rows)}" if rows else ""


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def networks_section(found: Found) -> str:
    """Set the networks' own accuracies and the bag's beside the paper's."""
    rows: list[tuple[Any, ...]] = []
    for name in (*NETWORKS, "cnn3-no-dropout", "cnn3-all-layers"):
        record = found.network(name)
        ours = (record["accuracy"], record["best_epoch"], round(record["seconds"])) if record else (NOT_RUN, "", "")
        rows.append((name, PAPER.get(name, ""), *ours))
    record = found.records.value("bag")
    members = len(found.experiments.members)
    rows.append((f"bag of {members} CNN1", PAPER["bag"], record["accuracy"] if record else NOT_RUN, "", ""))
    text = "## The networks\n\n" + table(("network", "paper", "ours", "best epoch", "seconds of training"), rows)
    if record:
        singles = list(record["members"].values())
        text += (
            f"\n\nThe bag averages probabilities; its members alone have {min(singles):.4f} to {max(singles):.4f} "
            f"(mean {sum(singles) / len(singles):.4f}). They differ in the seed of initial weights and order; the "
            "paper does not say that images were drawn again for each."
        )
    return text


def sweep_section(found: Found, network: str) -> str:
    """Set second stages by layer beside what the paper gives."""
    layers, own = found.layers(network), found.network(network)
    titles = {"cnn1": "Figure 2: CNN1", "cnn2": "Figure 3: CNN2", "cnn3": "Table IV: CNN3"}
    rows = []
    for layer in layers:
        cells: list[Any] = []
        for stage in SHOWN:
            record = found.layer(network, layer, stage)
            paper = PAPER.get((network, layer, stage))
            value = f"{record['accuracy']:.4f}" if record else NOT_RUN
            thin = record is not None and stage != "forest" and record["rows"] < _most_rows(found)
            few = record is not None and stage == "forest" and record["trees"] < found.experiments.scale.heads.trees
            mark = " (a)" if thin else " (b)" if few else ""
            cells.append(value + mark + (f" (paper {paper})" if paper else ""))
        widths = [one["width"] for stage in SHOWN if (one := found.layer(network, layer, stage))]
        rows.append((layer, f"{widths[0]:,}" if widths else "", *cells))
    head = ("layer", "features", *SHOWN.values())
    baseline = f"The network itself: {own['accuracy']:.4f}." if own else ""
    heads = found.experiments.scale.heads
    notes = (
        f"(a) fitted on {heads.widest_rows:,} rows drawn class by class; (b) {heads.wide_trees} trees in place of "
        f"{heads.trees}."
    )
    if network == "squeezenet1_0":
        title = "Future work: the same sweep on a pretrained network"
        reason = next((why for name, why in found.missing().items() if name.startswith(f"sweep/{network}/")), "")
        baseline = (
            f"SqueezeNet 1.0 with weights {found.experiments.pretrained}, images squashed to 112x112, each map "
            "averaged over its cells; it has no accuracy of its own here."
        ) + (f" Skipped: {reason}." if reason not in ("", NOT_RUN) else "")
    else:
        title = titles[network]
    if kernel := found.layer(network, "layer3", "rbf_one_vs_one"):
        notes += (
            f" With an RBF kernel one-vs-one has {kernel['accuracy']:.4f} on layer3 (C {kernel['cost']:g}, gamma 1 / "
            "features)."
        )
    picture = f"\n\n![{title}]({NAME}/sweep-{network}.png)" if found.sweep(network) else ""
    return f"## {title}\n\n{baseline}\n\n{table(head, rows)}\n\n{notes}{_verdict(found, network)}{picture}"


def _most_rows(found: Found) -> int:
    counts = found.experiments.images.counts()
    return counts["train"] + counts["val"]


def _verdict(found: Found, network: str) -> str:
    """Say which second stage is best, and whether the paper's claims hold here."""
    values = {(stage, layer): value for stage, one in found.sweep(network).items() for layer, value in one.items()}
    own = found.network(network)
    if not values:
        return ""
    (stage, layer), best = max(values.items(), key=lambda item: item[1])
    text = f" Best: {SHOWN[stage]} on {layer.removesuffix(' mean')}, {best:.4f}"
    return text + (f", {100 * (best - own['accuracy']):+.1f} points beside the network." if own else ".")


def significance_section(found: Found) -> str:
    """Give the share of significant features of each layer."""
    rows = [(network, layer, value) for network, one in found.significance().items() for layer, value in one.items()]
    text = (
        "## Figure 4: significant features\n\nShare of the features whose importance in a forest is above 1/100 of 1/n."
    )
    if not rows:
        return f"{text} {NOT_RUN}."
    drops = []
    for network, last, below in (("cnn1", "layer4", "layer3"), ("cnn2", "layer6", "layer5")):
        one = found.significance().get(network, {})
        if last in one and below in one:
            word = "falls" if one[last] < one[below] else "does not fall"
            drops.append(f"{network}: {word} at the fully connected layer ({one[below]:.2f} to {one[last]:.2f})")
    claim = f" The paper's drop: {'; '.join(drops)}." if drops else ""
    picture = f"![Figure 4]({NAME}/significance.png)"
    return f"{text}{claim}\n\n{table(('network', 'layer', 'share'), rows)}\n\n{picture}"


def epochs_section(found: Found) -> str:
    """Give accuracies on features of networks that are not trained yet."""
    values = found.epochs()
    if not values:
        return f"## Figure 5: features of early epochs\n\n{NOT_RUN}."
    scale = found.experiments.scale
    rows = [
        (epoch, *(values.get(name, {}).get(epoch, NOT_RUN) for name in ("CNN1 itself", "forest", "one_vs_one")))
        for epoch in scale.epochs
    ]
    head = ("epoch", "CNN1 itself", "forest on layer 3", "SVM one-vs-one on layer 3")
    return f"""## Figure 5: features of early epochs

Epoch 0 are random weights. Forests of {scale.epoch_trees} trees; {len(scale.epochs)} of the paper's 63 epochs.

{table(head, rows)}

![Figure 5]({NAME}/epochs.png)"""


def dropout_section(found: Found) -> str:
    """Compare CNN3's training times."""
    rows = []
    for name in ("cnn3-no-dropout", "cnn3", "cnn3-all-layers"):
        if record := found.network(name):
            keep = found.experiments.networks[name].keep or ARCHITECTURES["cnn3"].keep
            best = record["curve"][record["best_epoch"] - 1]
            seconds = [one["seconds"] for one in record["curve"]]
            to_best = sum(seconds[: record["best_epoch"]])
            rows.append(
                (
                    name,
                    ", ".join(f"{value:g}" for value in keep),
                    record["best_epoch"],
                    round(to_best),
                    sum(seconds) / len(seconds),
                    best["val_loss"],
                    record["accuracy"],
                )
            )
    head = ("network", "kept", "epochs to the best", "seconds to the best", "seconds an epoch", "val loss", "accuracy")
    ratio = found.dropout_ratio()
    claim = (
        f"Dropout at the first layer, as table III has it, takes {ratio[0]:.1f} times the time and {ratio[1]:.1f} "
        "times the epochs to the lowest validation loss; the paper says about 3 times."
        if ratio
        else "The paper says that dropout takes about 3 times longer to train; the comparison is not run yet."
    )
    return f"## Training time with and without dropout\n\n{claim}\n\n{table(head, rows) if rows else ''}"


def memory_section(found: Found) -> str:
    """Give the size of each forest."""
    rows = []
    for network in NETWORKS:
        for layer in found.layers(network):
            record = found.layer(network, layer, "forest")
            if record and not (network == "cnn3" and layer == "layer0"):
                sizes = (record["bytes"] / 2**20, record["sklearn_bytes"] / 2**20)
                rows.append((f"{network} {layer}", record["trees"], f"{record['nodes']:,}", *map(round, sizes)))
    head = ("forest on", "trees", "nodes", "as drillcore keeps it, MiB", "as scikit-learn keeps it, MiB")
    if not rows:
        return f"## Memory of a forest\n\n{NOT_RUN}."
    return f"""## Memory of a forest

The paper: "training Random Forest takes a significant amount of memory with only 25K training samples on 400 trees".
scikit-learn keeps 8 bytes for every class at every node (counted here, not held); drillcore keeps what is not zero.

{table(head, rows)}"""


def clusters_section(found: Found) -> str:
    """Describe the three trees."""
    record = found.records.value("clusters")
    if record is None:
        return f"## Clustering\n\n{NOT_RUN}."
    groups = "; ".join(", ".join(group) for group in record["groups"])
    strongest = "; ".join(", ".join(map(str, one)) for one in record["strongest"])
    links = ", ".join(f"[{name}]({NAME}/{one['file']}.png) ([Newick]({NAME}/{one['file']}.nwk))" for name, one in
                      record["trees"].items())  # fmt: skip
    return f"""## Clustering (figures 6 to 10)

Centroids of the classes over all labelled images on CNN1's third layer, Euclidean distance, average linkage; on raw
pixels as control; and on the sixteen features that the forest on that layer finds most important. `relative nearest` is
the share of the classes with relatives (the name's first word in common) whose nearest class is one; by chance
{record["family_by_chance"]:.2f}.

{table(("tree by", "cophenetic correlation", "relative nearest"), tree_rows(record))}

Trees: {links}. Those by pixels and by features agree with a correlation of {_number(record["agreement"])} of their
cophenetic distances; {record["shared_neighbours"]:.0%} of the three nearest classes are the same. The bars show the
mean scores of two groups of like classes far from each other: {groups}. Their strongest features: {strongest}.

![Mean scores of the classes' features]({NAME}/class-scores.png)"""


def deconvolution_section(found: Found) -> str:
    """Show the strongest features of some classes, and say which of them classes of a group have in common."""
    title = "## Figures 8 and 10: what the strongest features respond to"
    record = found.records.value("deconvolution")
    if record is None:
        return f"{title}\n\n{NOT_RUN}."
    rows = [
        (held["name"], one["feature"], one["mean"], one["standing"], one["weight"], _told_classes(one["most"]))
        for held in record["classes"]
        for one in held["features"]
    ]
    head = ("class", "feature", "mean", "deviations", "importance", f"the {TOP_IMAGES} highest images of all")
    numbers = {held["name"]: [one["feature"] for one in held["features"]] for held in record["classes"]}
    groups = [[name for name in group if name in numbers] for group in PAPER_GROUPS]
    common = "; ".join(
        f"{', '.join(group)}: {', '.join(map(str, common_features(numbers, group))) or 'none'}"
        for group in groups
        if len(group) > 1
    )
    shared = f"\n\nFeatures that at least two classes of one of the paper's groups share: {common}." if common else ""
    return f"""{title}

DeConvNet (Zeiler and Fergus) on CNN1's third layer: a unit's activation is taken back to the pixels of the image it has
it in. The classes are the paper's seven of figures 7 and 10 where the images have them, filled up to four with the
largest. A feature's strength in a class is how far the class's mean activation stands above the images of all other
classes, in their standard deviations, times the feature's importance to the forest on that layer (1: as much as the
mean feature); train + val are looked at.

{table(head, rows)}{shared}

![The strongest features of some classes]({NAME}/{record["file"]})

*For each feature on the left the {IMAGES} images of the class, on the right the {IMAGES} of all classes in which it
is highest, as the network sees them; below each the feature's projection: dark where it asks for dark pixels, light
where for light ones, grey where it sees nothing. Blue frames: images of the class.*"""


def _told_classes(most: Sequence[tuple[str, int]], shown: int = 3) -> str:
    told = [f"{count} {name}" for name, count in most[:shown]]
    rest = sum(count for _, count in most[shown:])
    return ", ".join([*told, *([f"{rest} of others"] if rest else [])])


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"
