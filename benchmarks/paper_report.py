"""The report of the plankton paper's benchmark: what has been measured beside what the paper says, and what is open."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.paper_clusters import tree_rows
from benchmarks.paper_figures import SHOWN, draw_epochs, draw_losses, draw_significance, draw_sweep
from benchmarks.report import RESULTS, table, write_report
from drillcore.backbones.plankton_cnn import ARCHITECTURES
from drillcore.settings import Settings

if TYPE_CHECKING:
    from benchmarks.plankton_paper import Experiments

NAME = "plankton-paper"
NOT_RUN = "not run yet"
# What the paper's text and table IV say; its figures 2, 3 and 5 give no numbers but these.
PAPER = {
    "cnn1": 0.5263,
    "cnn2": 0.5597,
    "cnn3": 0.64052,
    "bag": 0.55526,
    ("cnn1", "layer3", "one_vs_one"): 0.6393,
    ("cnn3", "layer3", "forest"): 0.65526,
    ("cnn3", "layer3", "one_vs_rest"): 0.65368,
    ("cnn3", "layer3", "one_vs_one"): 0.57184,
}
PAPER_IMAGES = {"train": 25_000, "val": 1_500, "test": 3_800}
_NETWORKS = ("cnn1", "cnn2", "cnn3")


def write_paper_report(experiments: Experiments, settings: Settings, *, quick: bool) -> dict[str, Any]:
    """Write figures, trees, Markdown and JSON, and log them to MLflow.

    Args:
        experiments: whose records are read; what is not there is a row that says so.
        settings: where MLflow is.
        quick: the report goes to the benchmark's own folder, not to benchmarks/results.

    Returns:
        what the JSON holds.
    """
    found = Found(experiments)
    results = experiments.folder / "results" if quick else RESULTS
    pictures = results / NAME
    pictures.mkdir(parents=True, exist_ok=True)
    for file in sorted((experiments.folder / "pictures").glob("*")):
        shutil.copyfile(file, pictures / file.name)
    found.draw(pictures)
    figures = found.figures()
    raw = {"records": found.all(), "not_run": found.missing(), "counts": experiments.images.counts()}
    seeds = {"networks": experiments.scale.seed, "heads": experiments.scale.heads.seed}
    value = write_report(NAME, figures, raw, _text(found), seeds=seeds, folder=results)
    _log(settings, value, results, quick)
    return value


class Found:
    """What the records hold, by what is asked of it.

    Args:
        experiments: with its records.
    """

    def __init__(self, experiments: Experiments) -> None:
        self.experiments, self.records = experiments, experiments.records

    def all(self) -> dict[str, Any]:
        """Return every record that is there."""
        held = {name: self.records.value(name) for name in self.records.pieces}
        return {name: value for name, value in held.items() if value is not None}

    def missing(self) -> dict[str, str]:
        """Return why each piece that is not there is not."""
        return {
            name: self.records.passed_over.get(name, NOT_RUN)
            for name in self.records.pieces
            if self.records.value(name) is None
        }

    def network(self, name: str) -> dict[str, Any] | None:
        """Return the record of a training."""
        return self.records.value(f"network/{name}")

    def layer(self, network: str, layer: str, stage: str) -> dict[str, Any] | None:
        """Return the record of a second stage on a layer; CNN3's pixels are CNN1's."""
        owner = "cnn1" if (network, layer) == ("cnn3", "layer0") else network
        name = f"sweep/{owner}/{layer}/{stage}"
        return self.records.value(name) if name in self.records.pieces else None

    def sweep(self, network: str) -> dict[str, dict[str, float]]:
        """Return accuracies by second stage and layer."""
        result: dict[str, dict[str, float]] = {}
        for stage in SHOWN:
            for layer in self.layers(network):
                if record := self.layer(network, layer, stage):
                    result.setdefault(stage, {})[layer] = record["accuracy"]
        return result

    def layers(self, network: str) -> list[str]:
        """Return a network's layers, lowest first."""
        known = self.experiments.layers.get(network)
        if known:
            return known
        names = [name.split("/") for name in self.records.pieces if name.startswith(f"sweep/{network}/")]
        return list(reversed(dict.fromkeys(name[2] for name in names)))

    def significance(self) -> dict[str, dict[str, float]]:
        """Return the share of significant features by network and layer."""
        result: dict[str, dict[str, float]] = {}
        for network in _NETWORKS:
            for layer in self.layers(network):
                if record := self.layer(network, layer, "forest"):
                    result.setdefault(network, {})[layer] = record["significant"]
        return result

    def epochs(self) -> dict[str, dict[int, float]]:
        """Return accuracies by what answers and epoch: CNN1 itself, and second stages on its third layer."""
        network = self.network("cnn1")
        result: dict[str, dict[int, float]] = {}
        if network:
            result["CNN1 itself"] = {int(epoch): value for epoch, value in network["accuracies"].items()}
        for stage in ("forest", "one_vs_one"):
            for epoch in self.experiments.scale.epochs:
                if record := self.records.value(f"epochs/{epoch}/{stage}"):
                    result.setdefault(stage, {})[epoch] = record["accuracy"]
        return result

    def figures(self) -> dict[str, float]:
        """Return the figures by name, those that are there."""
        result: dict[str, float] = {}
        for name in (*_NETWORKS, "cnn3-no-dropout", "cnn3-all-layers"):
            if record := self.network(name):
                result[f"{name.replace('-', '_')}_accuracy"] = record["accuracy"]
        if record := self.records.value("bag"):
            result["bag_accuracy"] = record["accuracy"]
        for network in _NETWORKS:
            for stage, values in self.sweep(network).items():
                for layer, value in values.items():
                    result[f"{network}_{layer}_{stage}"] = value
            for layer, value in self.significance().get(network, {}).items():
                result[f"{network}_{layer}_significant_share"] = value
        if ratio := self.dropout_ratio():
            result["dropout_time_ratio"], result["dropout_epoch_ratio"] = ratio
        if record := self.layer("cnn1", "layer3", "forest"):
            result["forest_bytes"], result["forest_sklearn_bytes"] = record["bytes"], record["sklearn_bytes"]
        if record := self.records.value("clusters"):
            result["tree_family_features"] = record["trees"]["features"]["family"]
            result["tree_family_pixels"] = record["trees"]["pixels"]["family"]
        return result

    def dropout_ratio(self) -> tuple[float, float] | None:
        """Return seconds and epochs to the best validation loss with dropout, divided by those without."""
        pair = [self.network(name) for name in ("cnn3", "cnn3-no-dropout")]
        if pair[0] is None or pair[1] is None:
            return None
        seconds = [sum(record["seconds"] for record in one["curve"][: one["best_epoch"]]) for one in pair if one]
        return seconds[0] / seconds[1], pair[0]["best_epoch"] / pair[1]["best_epoch"]

    def draw(self, folder: Path) -> None:
        """Draw the figures that have something to show."""
        titles = {"cnn1": "CNN1 (figure 2)", "cnn2": "CNN2 (figure 3)", "cnn3": "CNN3 (table IV)"}
        for network in (*_NETWORKS, "squeezenet1_0"):
            values, own = self.sweep(network), self.network(network)
            if values:
                layers = [layer.removesuffix(" mean") for layer in self.layers(network)]
                short = {
                    stage: {layer.removesuffix(" mean"): value for layer, value in one.items()}
                    for stage, one in values.items()
                }
                title = titles.get(network, f"SqueezeNet, weights {self.experiments.pretrained}, mean of each map")
                draw_sweep(folder / f"sweep-{network}.png", title, layers, short, own["accuracy"] if own else None)
        if self.significance():
            draw_significance(folder / "significance.png", self.significance())
        if self.network("cnn1"):
            draw_epochs(folder / "epochs.png", self.epochs(), "layer 3")
        curves = {name: one["curve"] for name in self.experiments.networks if (one := self.network(name))}
        first = {name: curve for name, curve in curves.items() if name not in self.experiments.members[1:]}
        if first:
            draw_losses(folder / "losses.png", first)


def _text(found: Found) -> str:
    parts = [
        _about(found),
        _claims(found),
        _networks(found),
        *(_sweep(found, network) for network in (*_NETWORKS, "squeezenet1_0")),
        _significance(found),
        _epochs(found),
        _dropout(found),
        _memory(found),
        _clusters(found),
        _open(found),
    ]
    return "\n\n".join(part.strip() for part in parts if part)


def _about(found: Found) -> str:
    images, counts = found.experiments.images, found.experiments.images.counts()
    error = (0.24 / max(1, counts["test"])) ** 0.5 * 100
    seconds = sum(found.records.seconds(name) for name in found.records.pieces)
    done, total = len(found.all()), len(found.records.pieces)
    shown = ", ".join(f"{counts[split]:,} {split}" for split in PAPER_IMAGES)
    return f"""Every experiment of "CNN features with random forests and SVMs" (paper 004) on {images.source}:
{sum(counts.values()):,} images of {len(images.classes)} classes, {shown}, the paper's proportion of 25,000 / 1,500 /
3,800 kept class by class. Second stages are fitted on train + val and tested on test; the standard error of an accuracy
there is about {error:.1f} points. {done} of {total} pieces are done, in {seconds / 60:.0f} minutes of wall time; one
seed each. Bring it up to date by `drillcore bench plankton-paper`; what is there is not computed again."""


def _claims(found: Found) -> str:
    """Set the paper's sentences beside what was found; those that cannot be judged yet are left out."""
    rows: list[tuple[str, str, str]] = []
    for network in _NETWORKS:
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


def _networks(found: Found) -> str:
    rows: list[tuple[Any, ...]] = []
    for name in (*_NETWORKS, "cnn3-no-dropout", "cnn3-all-layers"):
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


def _sweep(found: Found, network: str) -> str:
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


def _significance(found: Found) -> str:
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


def _epochs(found: Found) -> str:
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


def _dropout(found: Found) -> str:
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


def _memory(found: Found) -> str:
    rows = []
    for network in _NETWORKS:
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


def _clusters(found: Found) -> str:
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


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


def _open(found: Found) -> str:
    costs = [
        f"{SHOWN[scheme]} {record['cost']:g}"
        for scheme in ("one_vs_rest", "one_vs_one")
        if (record := found.records.value(f"cost/{scheme}"))
    ]
    chosen = f" (chosen: {', '.join(costs)})" if costs else ""
    missing = found.missing()
    skipped = "\n".join(f"- {name}: {why}" for name, why in missing.items())
    pairs = found.layer("cnn1", "layer3", "one_vs_one")
    machines = f" The one-vs-one SVM is the real one, {pairs['machines']:,} machines." if pairs else ""
    scale = found.experiments.scale
    return f"""## What the paper leaves open, and what we took

- Learning rate, batch, schedule, max-norm, initial weights: CNN1 {scale.cnn1.epochs} epochs from rate
  {scale.cnn1.learning_rate:g}, the bag's other members {scale.bag.epochs} from {scale.bag.learning_rate:g}, CNN2 up to
  {scale.cnn2.epochs} from {scale.cnn2.learning_rate:g}, CNN3 and its variants up to {scale.cnn3.epochs} from
  {scale.cnn3.learning_rate:g}; cosine to 0, batches of {scale.cnn1.batch}, momentum 0.9, max-norm 3 (CNN3: its own),
  He's initial weights. The epoch of the lowest validation loss counts. No augmentation: the paper names none.
- Images: 26,536 of its 30,300 are open; x = 1 - v / 255, squashed to 28x28 or 40x40 with antialiasing.
- CNN3's maxout pieces (2, 2, 4) and norms are Pylearn2's for MNIST; dropout keeps 0.8 of the pixels and is used at the
  first layer alone, as table III says; `cnn3-all-layers` has Pylearn2's 0.5 in the others too.
- SVMs: linear, on standardised features, C / number of features with C chosen on validation images on CNN1's third
  layer{chosen}.{machines}
- Forests: scikit-learn's defaults. Linkage: average. Figure 5's SVM: one-vs-one. The subset of features of the third
  tree: by importance.
- CNN2's first layer has 41,472 features, 4.4 GB in float32: the store keeps them as float16 in memory-mapped shards
  (2.2 GB); the forest is fitted on all rows, the SVMs on a part of them through their Gram matrix.

{"## Not run" + chr(10) + chr(10) + skipped if missing else ""}"""


def _log(settings: Settings, value: Mapping[str, Any], results: Path, quick: bool) -> None:
    from drillcore.tracking.run import start_run

    numbers = {name: one for name, one in value.items() if isinstance(one, int | float)}
    with start_run(
        settings, NAME, name="quick" if quick else "", tags={"revision": value["machine"]["revision"]}
    ) as run:
        run.params({"seeds": value["seeds"], "counts": value["raw"]["counts"]})
        run.metrics(numbers)
        run.file(results / f"{NAME}.md")
        run.file(results / f"{NAME}.json")
        run.folder(results / NAME, NAME)


__all__ = ["Found", "write_paper_report"]
