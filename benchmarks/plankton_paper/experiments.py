"""The pieces of the plankton paper's benchmark: what each computes, what decides it, and which others it needs.

They are in the order in which they are made, cheapest and most telling first.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.pieces import NotHereError, Piece, Records
from benchmarks.plankton_paper.clusters import cluster_classes
from benchmarks.plankton_paper.data import PaperImages
from benchmarks.plankton_paper.features import FEATURES, IMAGES, deconvolve_classes, shown_classes
from benchmarks.plankton_paper.networks import Network, bag, load_network, train_network
from benchmarks.plankton_paper.scale import Scale
from benchmarks.plankton_paper.sweeps import (
    RBF,
    SCHEMES,
    SECOND_STAGES,
    Heads,
    choose_cost,
    measure_layer,
    with_mean_taps,
)
from drillcore.backbones.base import Backbone
from drillcore.backbones.catalogue import build_backbone
from drillcore.backbones.networks.plankton_cnn import ALL_LAYERS, NO_DROPOUT, PlanktonCnn
from drillcore.backbones.weights.named import find_weights, stored_weights

GROUPS = ("networks", "sweep", "epochs", "clusters", "deconvolution", "dropout", "bag", "pretrained")
PRETRAINED, PRETRAINED_WEIGHTS = "squeezenet1_0", "squeezenet1_0.IMAGENET1K_V1"
PRETRAINED_SIDE = 112
_BEST = "layer3"  # of CNN1: clustered, watched over the epochs, and what C is chosen on


class Experiments:
    """The pieces of the benchmark, on some images at some scale.

    Args:
        images: of the benchmark.
        scale: how much is computed.
        folder: for weights, trees and pictures.
        pretrained: weights of the pretrained network; "seed:N" in a quick run.
    """

    def __init__(self, images: PaperImages, scale: Scale, folder: Path, pretrained: str = PRETRAINED_WEIGHTS) -> None:
        self.images, self.scale, self.folder, self.pretrained = images, scale, folder, pretrained
        own = partial(Network, seed=scale.seed)
        members = [
            Network(name=f"cnn1-{seed}", architecture="cnn1", plan=scale.bag, seed=seed)
            for seed in range(scale.seed + 1, scale.seed + scale.members)
        ]
        variants = {"cnn3-no-dropout": NO_DROPOUT, "cnn3-all-layers": ALL_LAYERS}
        self.networks = {
            network.name: network
            for network in (
                own(name="cnn1", architecture="cnn1", plan=scale.cnn1, epochs=scale.epochs),
                own(name="cnn3", architecture="cnn3", plan=scale.cnn3),
                own(name="cnn2", architecture="cnn2", plan=scale.cnn2),
                *(own(name=name, architecture="cnn3", plan=scale.cnn3, keep=keep) for name, keep in variants.items()),
                *members,
            )
        }
        self.members = ["cnn1", *(member.name for member in members)]
        self.layers = {name: list(PlanktonCnn(name, 2).taps) for name in ("cnn1", "cnn2", "cnn3")}
        self.records = Records(folder, images.manifest.digest, self._pieces(), _say)

    def _pieces(self) -> list[Piece]:
        """Return all pieces, cheapest and most telling first."""
        by_value = ["layer3", "layer4", "layer2", "layer0", "layer1"]
        last = {"cnn3": ["layer3", "layer2", "layer1"], "cnn2": ["layer5", "layer4", "layer6", "layer0", "layer3"]}
        costs = [self._cost(scheme) for scheme in SCHEMES]
        pretrained = [f"{name} mean" for name in reversed(self._pretrained_taps())]
        return [
            self._network("cnn1", "networks"),
            *(self._sweep("cnn1", layer, "forest") for layer in by_value),
            self._clusters(),
            self._deconvolution(),
            *costs,
            *(self._sweep("cnn1", layer, scheme) for layer in by_value for scheme in SCHEMES),
            self._cost(RBF),
            self._sweep("cnn1", _BEST, RBF),
            *(self._epoch(epoch, stage) for stage in ("forest", "one_vs_one") for epoch in self.scale.epochs),
            self._network("cnn3", "networks"),
            *(self._sweep("cnn3", layer, stage) for layer in last["cnn3"] for stage in SECOND_STAGES),
            self._network("cnn2", "networks"),
            *(self._sweep("cnn2", layer, stage) for layer in last["cnn2"] for stage in SECOND_STAGES),
            self._network("cnn3-no-dropout", "dropout"),
            *(self._network(name, "bag") for name in self.members[1:]),
            self._bag(),
            *(self._sweep(PRETRAINED, layer, stage) for stage in SECOND_STAGES for layer in pretrained),
            *(self._sweep("cnn2", layer, stage) for layer in ("layer2", "layer1") for stage in SECOND_STAGES),
            self._network("cnn3-all-layers", "dropout"),
        ]

    def _network(self, name: str, group: str) -> Piece:
        network = self.networks[name]
        make = partial(train_network, self.images, network, self.folder)
        return Piece(name=f"network/{name}", group=group, about=network.about(), make=make)

    def _cost(self, scheme: str) -> Piece:
        heads = self.scale.heads

        def make() -> dict[str, Any]:
            return choose_cost(self.images, self.backbone("cnn1"), _BEST, scheme, heads)

        about = {"costs": list(heads.costs), "layer": _BEST, "seed": heads.seed}
        return Piece(name=f"cost/{scheme}", group="sweep", about=about, make=make, needs=("network/cnn1",))

    def _sweep(self, network: str, layer: str, stage: str) -> Piece:
        pretrained = network == PRETRAINED
        width = self._width(network, layer)
        about = {**self.scale.heads.about(stage, width), "weights": self.pretrained if pretrained else None}
        return Piece(
            name=f"sweep/{network}/{layer}/{stage}",
            group="pretrained" if pretrained else "sweep",
            about=about,
            make=partial(self._measure, network, layer, stage, self.scale.heads),
            needs=[*([] if pretrained else [f"network/{network}"]), *self._cost_of(stage)],
        )

    def _epoch(self, epoch: int, stage: str) -> Piece:
        heads = dataclasses.replace(self.scale.heads, trees=self.scale.epoch_trees)
        return Piece(
            name=f"epochs/{epoch}/{stage}",
            group="epochs",
            about=heads.about(stage, self._width("cnn1", _BEST)),
            make=partial(self._measure, "cnn1", _BEST, stage, heads, epoch),
            needs=["network/cnn1", *self._cost_of(stage)],
        )

    def _clusters(self) -> Piece:
        needs = ("network/cnn1", f"sweep/cnn1/{_BEST}/forest")

        def make() -> dict[str, Any]:
            chosen = self._value(needs[1])["top_features"]
            return cluster_classes(self.images, self.backbone("cnn1"), _BEST, chosen, self.folder / "pictures")

        return Piece(name="clusters", group="clusters", about={"linkage": "average"}, make=make, needs=needs)

    def _deconvolution(self) -> Piece:
        heads = self.scale.heads

        def make() -> dict[str, Any]:
            growth, pictures = self.folder / "growth", self.folder / "pictures"
            found = deconvolve_classes(self.images, self.backbone("cnn1"), _BEST, heads, growth, pictures)
            shutil.rmtree(growth, ignore_errors=True)
            return found

        forest = heads.about("forest", self._width("cnn1", _BEST))
        about = {"classes": shown_classes(self.images), "features": FEATURES, "images": IMAGES, "forest": forest}
        return Piece(name="deconvolution", group="deconvolution", about=about, make=make, needs=("network/cnn1",))

    def _bag(self) -> Piece:
        labels = self.images.labels[self.images.numbers("test")]
        needs = [f"network/{name}" for name in self.members]
        make = partial(bag, self.folder, self.members, labels)
        return Piece(name="bag", group="bag", about={"members": self.members}, make=make, needs=needs)

    def _cost_of(self, stage: str) -> list[str]:
        return [] if stage == "forest" else [f"cost/{stage}"]

    def _measure(self, network: str, layer: str, stage: str, heads: Heads, epoch: int | None = None) -> dict[str, Any]:
        cost = None if stage == "forest" else self._value(f"cost/{stage}")["cost"]
        backbone = self.backbone(network, epoch)
        growth = self.folder / "growth"
        found = measure_layer(self.images, backbone, layer, stage, heads, cost=cost, growth=growth)
        shutil.rmtree(growth, ignore_errors=True)
        return found

    def backbone(self, network: str, epoch: int | None = None) -> Backbone:
        """Return a trained network, or the pretrained one with the means of its maps as taps.

        Raises:
            NotHereError: the pretrained network's weights are not here.
        """
        if network == PRETRAINED:
            return with_mean_taps(self._pretrained_backbone())
        record = self._value(f"network/{network}")
        sha256 = record["weights"] if epoch is None else record["snapshots"][str(epoch)]
        return load_network(self.images, self.networks[network], self.folder, sha256, epoch)

    def _pretrained_backbone(self) -> Backbone:
        settings, size = self.images.settings, (PRETRAINED_SIDE, PRETRAINED_SIDE)
        random = self.pretrained.startswith("seed:")
        if not random and stored_weights(settings, find_weights(self.pretrained, PRETRAINED)) is None:
            raise NotHereError(f"{self.pretrained} is not here; bring it by `drillcore weights add`")
        return build_backbone(PRETRAINED, self.pretrained, settings, resize=size)

    def _pretrained_taps(self) -> list[str]:
        return list(build_backbone(PRETRAINED, "seed:0", self.images.settings, resize=(64, 64)).taps)

    def _width(self, network: str, layer: str) -> int:
        return 0 if network == PRETRAINED else PlanktonCnn(network, len(self.images.classes)).taps[layer].flat

    def _value(self, name: str) -> dict[str, Any]:
        found = self.records.value(name)
        assert found is not None, name
        return found


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
