"""What the records of the plankton paper's benchmark hold, by what its report asks for, beside the paper's figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.plankton_paper.figures import SHOWN, draw_epochs, draw_losses, draw_significance, draw_sweep

if TYPE_CHECKING:
    from benchmarks.plankton_paper.experiments import Experiments

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
NETWORKS = ("cnn1", "cnn2", "cnn3")


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
        for network in NETWORKS:
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
        for name in (*NETWORKS, "cnn3-no-dropout", "cnn3-all-layers"):
            if record := self.network(name):
                result[f"{name.replace('-', '_')}_accuracy"] = record["accuracy"]
        if record := self.records.value("bag"):
            result["bag_accuracy"] = record["accuracy"]
        for network in NETWORKS:
            for stage, values in self.sweep(network).items():
                for layer, value in values.items():
                    result[f"{network}_{layer}_{stage}"] = value
            for layer, value in self.significance().get(network, {}).items():
                result[f"{network}_{layer}_significant_share"] = value
        if record := self.layer("cnn1", "layer3", "rbf_one_vs_one"):
            result["cnn1_layer3_rbf_one_vs_one"] = record["accuracy"]
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
        for network in (*NETWORKS, "squeezenet1_0"):
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
