"""`drillcore bench plankton-paper`: every experiment of "CNN features with random forests and SVMs", beside theirs.

Its pieces (`paper_pieces`) are made in order, the cheapest and most telling first; each leaves a record, so that a run
that was killed goes on, and the report holds what is there. On one core of a server the whole takes about three
hours; what keeps it there: float16 rows from the feature store, 100 trees in place of 400 on layers of more than 4,000
features, 8,000 rows for the SVMs on CNN2's first layer, ten of the 63 epochs of figure 5.

    python -m benchmarks.plankton_paper --data plankton_train.zip --only networks,sweep
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.paper_clusters import cluster_classes
from benchmarks.paper_data import PaperImages, open_images
from benchmarks.paper_networks import Network, bag, load_network, train_network
from benchmarks.paper_pieces import NotHereError, Piece, Records
from benchmarks.paper_report import write_paper_report
from benchmarks.paper_sweeps import RBF, SCHEMES, SECOND_STAGES, Heads, choose_cost, measure_layer, with_mean_taps
from drillcore.backbones.base import Backbone
from drillcore.backbones.catalogue import build_backbone
from drillcore.backbones.named_weights import find_weights, stored_weights
from drillcore.backbones.plankton_cnn import ALL_LAYERS, NO_DROPOUT, PlanktonCnn
from drillcore.backbones.training_plan import TrainingPlan
from drillcore.errors import InputError, UnknownNameError
from drillcore.settings import Settings

NAME = "plankton-paper"
REAL = Path("shared/data/plankton_train.zip")  # beside the checkout
GROUPS = ("networks", "sweep", "epochs", "clusters", "dropout", "bag", "pretrained")
PRETRAINED, PRETRAINED_WEIGHTS = "squeezenet1_0", "squeezenet1_0.IMAGENET1K_V1"
PRETRAINED_SIDE = 112
_BEST = "layer3"  # of CNN1: clustered, watched over the epochs, and what C is chosen on


def _plan(epochs: int, rate: float, patience: int = 0, batch: int = 128) -> TrainingPlan:
    return TrainingPlan(epochs=epochs, learning_rate=rate, patience=patience, batch=batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is computed.

    Attributes:
        cnn1, cnn2, cnn3: plans of the trainings; CNN3's is that of its variants too, so that their times compare.
        bag: plan of the bag's other members, shorter than CNN1's.
        members: networks in the bag, CNN1 itself among them.
        epochs: of CNN1 whose features are looked at.
        epoch_trees: of a forest there.
        heads: how second stages are fitted.
        seed: of the networks; the bag's members have the ones after it.
    """

    cnn1: TrainingPlan = field(default_factory=lambda: _plan(62, 0.01))
    bag: TrainingPlan = field(default_factory=lambda: _plan(14, 0.05))
    cnn2: TrainingPlan = field(default_factory=lambda: _plan(12, 0.03, patience=4))
    cnn3: TrainingPlan = field(default_factory=lambda: _plan(30, 0.003, patience=5))
    members: int = 8
    epochs: tuple[int, ...] = (0, 1, 2, 4, 8, 16, 24, 32, 48, 62)
    epoch_trees: int = 100
    heads: Heads = field(default_factory=Heads)
    seed: int = 7


WHOLE = Scale()
QUICK = Scale(
    cnn1=_plan(12, 0.05, batch=32),
    bag=_plan(5, 0.05, batch=32),
    cnn2=_plan(5, 0.03, patience=4, batch=32),
    cnn3=_plan(6, 0.003, patience=5, batch=32),
    epochs=(0, 1, 4, 12),
    epoch_trees=20,
    heads=Heads(trees=40, wide_trees=10, widest_rows=300, costs=(1.0, 10.0)),
)


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


def run(
    settings: Settings,
    *,
    quick: bool = False,
    data: Path | None = None,
    only: Sequence[str] | None = None,
    epochs: int | None = None,
) -> dict[str, Any]:
    """Make the pieces that are not there yet, write the report of all that is, and log it.

    Args:
        settings: where state and MLflow are.
        quick: everything on the bundled sample, small; its report goes to the state folder.
        data: zip or folder in the competition's layout; None: `../shared/data/plankton_train.zip`.
        only: groups of `GROUPS`, with what they need; () makes nothing and writes the report again; None: all.
        epochs: of every training at most.

    Returns:
        what the JSON report holds.

    Raises:
        UnknownNameError: a group there is not.
        InputError: no data.
    """
    for group in only or ():
        if group not in GROUPS:
            raise UnknownNameError("group of experiments", group, GROUPS)
    folder = settings.state / "benchmarks" / (f"{NAME}-quick" if quick else NAME)
    source = None if quick else data or settings.root.parent / REAL
    if source is not None and not source.exists():
        raise InputError(f"no images at {source}; give the competition's zip or folder as --data")
    if quick:
        shutil.rmtree(folder, ignore_errors=True)
    own = replace(settings, state=folder / "state") if quick else settings
    scale = _shortened(QUICK if quick else WHOLE, epochs)
    images = open_images(own, folder, source)
    experiments = Experiments(images, scale, folder, "seed:0" if quick else PRETRAINED_WEIGHTS)
    experiments.records.run(only)
    return write_paper_report(experiments, settings, quick=quick)


def _shortened(scale: Scale, epochs: int | None) -> Scale:
    if epochs is None:
        return scale
    plans = {
        name: dataclasses.replace(plan, epochs=min(epochs, plan.epochs))
        for name in ("cnn1", "cnn2", "cnn3", "bag")
        for plan in (getattr(scale, name),)
    }
    looked_at = tuple(sorted({min(epoch, epochs) for epoch in scale.epochs}))
    return dataclasses.replace(scale, epochs=looked_at, **plans)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None, load: Callable[[], Settings] = Settings.load) -> None:
    """Run from a shell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="all of it on the bundled sample, small")
    parser.add_argument("--data", type=Path, help="the competition's zip or folder")
    parser.add_argument("--only", help=f"groups, with what they need: {','.join(GROUPS)}; 'report' for none")
    parser.add_argument("--epochs", type=int, help="of every training at most")
    given = parser.parse_args(arguments)
    only = None if given.only is None else [] if given.only == "report" else given.only.split(",")
    run(load(), quick=given.quick, data=given.data, only=only, epochs=given.epochs)


if __name__ == "__main__":
    main()
