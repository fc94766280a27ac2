"""The pieces of `bench patches`: each trains on patches or whole images and leaves its answers to the test images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.patches.learning import WAYS as LEARNING
from benchmarks.patches.learning import PatchLearner, learnt
from benchmarks.patches.sets import NETWORKS, SEED, Counts, Photographs, open_set
from benchmarks.pieces import NotHereError, Piece, Records
from drillcore.datasets.manifest import Manifest
from drillcore.devices import exact_computing
from drillcore.evaluation.figures.voc_precision import multilabel_metrics
from drillcore.heads.adaptation.head import AdaptationHead
from drillcore.heads.svm.linear_svm import LinearSvmHead
from drillcore.representations.patches.filling import fill_store
from drillcore.representations.patches.labelling import thinned
from drillcore.representations.patches.params import LAMBDAS, PatchPlan
from drillcore.representations.patches.patch_rows import patch_labels
from drillcore.representations.patches.pyramid import PatchNetwork
from drillcore.representations.patches.scores import aggregated
from drillcore.representations.store_rows import StoreRows
from drillcore.retrain.fitting.patch_fitting import choose_power, class_slopes
from drillcore.runtime.patches.patch_places import patch_count
from drillcore.settings import Settings

SHAPES = {"4:3": (375, 500), "square": (375, 375)}
WAYS = ("pyramid", "crops")
SETS = {"voc": ("voc2012_animals.zip", "one"), "objects": ("camvid_train_val.zip", "several")}
LAYERS = {"layers1": (), "layers3": (2048, 2048)}  # FCb alone, and with another FCa
GROUPS = ("speed", "exact", "sets", "layers", "source", "unfrozen", "scratch")
_CHUNK = 32_768


@dataclass(frozen=True)
class Scale:
    """How much is computed.

    Attributes:
        timed: side of the timed patches.
        side: of the learnt ones.
        repeats: of the timing.
        lambdas: of all patches.
        exact: images of each split that crops are compared on.
        source: images of each split that networks are compared on.
        epochs: of a round.
        hidden: FCa.
        networks: compared, the strongest last; the last but one, or the only one, is what the rest is done with.
    """

    timed: int = 224
    side: int = 96
    repeats: int = 2
    lambdas: tuple[float, ...] = tuple(LAMBDAS)
    exact: Counts = (50, 20, 60)
    source: Counts = (100, 30, 100)
    epochs: int = 4
    hidden: tuple[int, ...] = (2048,)
    networks: tuple[str, ...] = ("squeezenet", "lite0", "lite2")

    @property
    def main(self) -> str:
        """The network of all pieces but `source`."""
        return self.networks[-2] if len(self.networks) > 1 else self.networks[0]


WHOLE = Scale()
QUICK = Scale(32, 32, 1, (1.0, 2.0), (12, 6, 8), (12, 6, 8), 1, (64,), ("quick",))


@dataclass
class Experiments:
    """All pieces.

    Attributes:
        settings: where weights and the store are.
        scale: how much.
        folder: of the records and the imported images.
        data: folder of the sets' zips; None: the bundled sample stands in for both.
    """

    settings: Settings
    scale: Scale
    folder: Path
    data: Path | None
    manifests: dict[str, Manifest] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, (file, _) in SETS.items():
            source = None if self.data is None else self.data / file
            try:
                self.manifests[name] = open_set(self.folder, name, source)
            except NotHereError as reason:
                self.absent[name] = str(reason)
        self.records = Records(self.folder, "", self._pieces(), lambda line: print(line, flush=True))

    def photographs(self, name: str, counts: Counts = None) -> Photographs:
        """Return a set's images, or some of each split. Raises NotHereError."""
        if name not in self.manifests:
            raise NotHereError(self.absent[name])
        return Photographs.of(self.manifests[name], counts)

    def _pieces(self) -> list[Piece]:
        scale, pieces = self.scale, []
        for shape, sides in SHAPES.items():
            about = {"sides": list(sides), "side": scale.timed, "repeats": scale.repeats}
            pieces.append(self._piece(f"speed/{shape}", about, lambda sides=sides: self._speed(sides)))
        for name, (_, labels) in SETS.items():
            pieces.append(self._piece(f"sets/{name}/whole", {}, lambda name=name: self._whole(name, scale.main)))
            pieces.append(self._patches(f"sets/{name}/patches", name, labels=labels))
        for name, (_, labels) in SETS.items():
            other = "several" if labels == "one" else "one"
            pieces.append(self._patches(f"sets/{name}/{other}", name, labels=other))
        for name, hidden in LAYERS.items():
            pieces.append(self._patches(f"layers/{name}", "voc", hidden=hidden))
        pieces += [self._patches(f"exact/{way}", "voc", counts=scale.exact, crops=way == "crops") for way in WAYS]
        for key in scale.networks:
            counts = {"counts": list(scale.source or ())}
            whole = lambda key=key: self._whole("voc", key, scale.source)  # noqa: E731
            pieces.append(self._piece(f"source/{key}/whole", counts, whole))
            pieces.append(self._patches(f"source/{key}/patches", "voc", counts=scale.source, network=key))
        for key, way in LEARNING.items():
            about = {"way": repr(way), "hidden": list(scale.hidden), "network": scale.main, "epochs": scale.epochs}
            pieces.append(self._piece(f"{key}/patches", about, lambda key=key: self._learning(key)))
        return pieces

    def _piece(self, name: str, about: dict[str, Any], make: Any) -> Piece:
        images = next((self.manifests[one].digest for one in SETS if one in name and one in self.manifests), "")
        images = images or getattr(self.manifests.get("voc"), "digest", "")
        shared = {"seed": SEED, "side": self.scale.side, "lambdas": list(self.scale.lambdas)}
        return Piece(name=name, group=name.split("/")[0], about={**shared, "images": images, **about}, make=make)

    def _patches(
        self,
        piece: str,
        name: str,
        *,
        labels: str = "one",
        hidden: Sequence[int] | None = None,
        counts: Counts = None,
        network: str | None = None,
        crops: bool = False,
    ) -> Piece:
        layers = list(self.scale.hidden if hidden is None else hidden)
        key = network or self.scale.main
        about = {"labels": labels, "hidden": layers, "counts": list(counts or ()), "network": key, "crops": crops}
        about |= {"epochs": self.scale.epochs}
        plan = PatchPlan(side=self.scale.side, lambdas=list(self.scale.lambdas), labels=labels, mirrored=False)  # type: ignore[arg-type]

        def make() -> dict[str, Any]:
            looks = NETWORKS[key].patches(self.settings, plan, crops=crops)
            return self._by_patches(self.photographs(name, counts), looks, layers)

        return self._piece(piece, about, make)

    def _speed(self, sides: tuple[int, int]) -> dict[str, Any]:
        """Return seconds of both ways for one picture, the best of some, and how many pixels each sends through."""
        scale = self.scale
        image = np.random.default_rng(SEED).integers(0, 256, (*sides, 3), np.uint8)
        plan = PatchPlan(side=scale.timed, lambdas=list(scale.lambdas))
        network = NETWORKS[scale.main]
        networks = {way: network.patches(self.settings, plan, crops=way == "crops") for way in WAYS}
        for looks in networks.values():
            looks.by = looks.backbone.compiled([looks.tap])
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        with exact_computing(1):
            for _ in range(scale.repeats):
                for way, looks in networks.items():
                    # Time of the processor: the machine may have other work.
                    started = time.process_time()
                    looks.rows(image)
                    seconds[way].append(time.process_time() - started)
        levels = networks["pyramid"].levels(*sides)
        own = sum(level.height * level.width for level in levels) * networks["pyramid"].stride ** 2
        patches = patch_count(levels)
        best = {f"{way}_seconds": min(values) for way, values in seconds.items()}
        return {**best, "all_seconds": seconds, "patches": patches, "pixel_ratio": patches * scale.timed**2 / own}

    def _whole(self, name: str, key: str, counts: Counts = None) -> dict[str, Any]:
        """Return what a linear SVM on features of whole images answers, as models/voc-linear does."""
        images, network = self.photographs(name, counts), NETWORKS[key]
        with exact_computing(1):
            means = [
                network.whole(self.settings, [lambda path=path: images.image(path) for path in part["path"]])
                for part in images.parts
            ]
        head = LinearSvmHead(n_classes=len(images.classes), seed=SEED, threads=1)
        head.fit(np.concatenate(means[:2]), np.concatenate([images.labels(0), images.labels(1)]))
        return _answered(images, head.predict_proba(means[2]))

    def _by_patches(self, images: Photographs, looks: PatchNetwork, hidden: Sequence[int]) -> dict[str, Any]:
        """Return what adaptation layers answer: learnt on train, power and calibration on val."""
        plan, rows, labels = looks.plan, [], []
        for part in images.parts:
            store, keys, _ = fill_store(
                self.settings,
                looks,
                list(part["sha256"]),
                lambda number, part=part: images.image(part["path"].iloc[number]),
            )
            rows.append(StoreRows(store, keys, looks.width))
            found = [patch_labels(plan, images.classes, row, looks.window) for _, row in part.iterrows()]
            labels.append(found)
        taken, judged = (_chosen(plan, rows[split], labels[split]) for split in (0, 1))
        head = AdaptationHead(
            hidden=tuple(hidden),
            epochs=self.scale.epochs,
            n_classes=len(images.classes),
            seed=SEED,
            threads=1,
            device="cpu",
        )
        started = time.process_time()
        head.fit(*taken, validation=judged)
        trained = time.process_time() - started
        answers = [self._answers(head, rows[split], [len(one[1]) for one in labels[split]]) for split in (1, 2)]
        facts = {"curve": head.learning_curve(), "training_seconds": trained}
        positive = np.asarray(taken[1]).any(axis=1)
        facts |= {"rows": len(positive), "positive": int(positive.sum())}
        return {**_gathered(images, answers), **facts}

    def _learning(self, key: str) -> dict[str, Any]:
        """Return what a network answers that learnt on patches itself; train and val as in the other pieces."""
        scale, images = self.scale, self.photographs("voc")
        way = LEARNING[key] if scale.epochs > 1 else replace(LEARNING[key], epochs=1)
        plan = PatchPlan(side=scale.side, lambdas=list(scale.lambdas), labels="one", mirrored=False)
        network = NETWORKS[scale.main]
        learner = PatchLearner(self.settings, network, plan, way, scale.hidden[0], len(images.classes))
        state = self.folder / "scratch" / f"{key}.pt"
        facts, answers = learnt(learner, images, state, self.settings.cpu_threads)
        state.unlink(missing_ok=True)
        return {**_gathered(images, answers), **facts}

    @staticmethod
    def _answers(
        head: AdaptationHead, rows: StoreRows, counts: Sequence[int]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        parts = [head.predict_proba(rows[slice(at, at + _CHUNK)]) for at in range(0, len(rows), _CHUNK)]
        return np.concatenate(parts), np.repeat(np.arange(len(counts)), counts)


def _chosen(plan: PatchPlan, rows: StoreRows, labels: Sequence[Any]) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Return the rows to learn from and what they show."""
    shown, kept = (np.concatenate([one[place] for one in labels]) for place in (0, 1))
    numbers = np.flatnonzero(kept)
    numbers = numbers[thinned(~np.asarray(shown[numbers].any(axis=1)), plan.background, SEED)]
    return rows[numbers], shown[numbers]


def _gathered(images: Photographs, answers: Sequence[tuple[NDArray[np.float64], NDArray[np.int64]]]) -> dict[str, Any]:
    """Return what answers to the patches of val and test, and their images, say of test: k and calibration by val."""
    power, powers, scores = choose_power(*answers[0], images.truth(1))
    head = AdaptationHead()
    head.settle(power, class_slopes(scores, images.truth(1)))
    told = head.probabilities_of(aggregated(*answers[1], power))
    return {**_answered(images, told), "power": power, "powers": powers}


def _answered(images: Photographs, probabilities: NDArray[np.floating]) -> dict[str, Any]:
    figures = multilabel_metrics(images.truth(2), probabilities, images.classes)
    return {
        "mean_average_precision": figures["mean_average_precision"],
        "mean_average_precision_11": figures["mean_average_precision_11"],
        "per_class": {name: one["average_precision"] for name, one in figures["per_class"].items()},
        "images": [len(part) for part in images.parts],
        "probabilities": np.round(probabilities, 7).tolist(),
    }
