"""The plankton paper's benchmark: pieces are made once and made again when what decides them changes; its measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.pieces import NotHereError, Piece, Records
from benchmarks.plankton_paper import paper as plankton_paper
from benchmarks.plankton_paper.clusters import family_by_chance, same_family
from benchmarks.plankton_paper.data import open_images
from benchmarks.plankton_paper.feature_picture import draw_class_features
from benchmarks.plankton_paper.features import class_features, common_features, shown_classes
from benchmarks.plankton_paper.networks import Network, bag, load_network, train_network, write_answers
from benchmarks.plankton_paper.sweeps import (
    Heads,
    choose_cost,
    machines,
    measure_layer,
    significant_share,
    thinned,
    with_mean_taps,
)
from drillcore.backbones.networks.squeezenet import build_squeezenet
from drillcore.backbones.training.training_plan import TrainingPlan
from drillcore.cli.bench import bench as bench_command
from drillcore.errors import InputError, UnknownNameError
from drillcore.settings import Settings


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def silent(line: str) -> None:
    pass


class Counted:
    """Pieces that count how often they are made."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def piece(self, name: str, about: Any = None, needs: tuple[str, ...] = (), group: str = "a") -> Piece:
        def make() -> dict[str, Any]:
            self.made.append(name)
            return {"name": name}

        return Piece(name=name, group=group, about=about, make=make, needs=needs)


def test_a_piece_is_made_once_and_goes_on_after_a_stop(tmp_path: Path) -> None:
    counted = Counted()

    def stop() -> dict[str, Any]:
        raise KeyboardInterrupt

    broken = Piece(name="second", group="a", about=None, make=stop)
    with pytest.raises(KeyboardInterrupt):
        Records(tmp_path, "data", [counted.piece("first"), broken], silent).run()
    records = Records(tmp_path, "data", [counted.piece("first"), counted.piece("second")], silent)
    assert records.value("second") is None
    records.run()
    records.run()
    assert counted.made == ["first", "second"]
    assert records.value("second") == {"name": "second"}
    assert records.seconds("second") >= 0


def test_what_decides_a_piece_makes_it_again_and_what_needs_it(tmp_path: Path) -> None:
    counted = Counted()

    def run(about: Any, data: str = "data") -> None:
        first = counted.piece("net", about)
        pieces = [first, counted.piece("sweep", needs=("net",)), counted.piece("other")]
        Records(tmp_path, data, pieces, silent).run()

    run(1)
    run(2)
    assert counted.made == ["net", "sweep", "other", "net", "sweep"]
    run(2, "other data")
    assert counted.made[5:] == ["net", "sweep", "other"]


def test_groups_bring_what_they_need_and_no_more(tmp_path: Path) -> None:
    counted = Counted()
    pieces = [
        counted.piece("x", group="b"),
        counted.piece("late", needs=("net",), group="c"),
        counted.piece("net", group="b"),
    ]
    Records(tmp_path, "data", pieces, silent).run(["c"])
    assert counted.made == ["net", "late"]


def test_what_cannot_be_made_here_is_said_and_the_rest_goes_on(tmp_path: Path) -> None:
    counted = Counted()

    def refuse() -> dict[str, Any]:
        raise NotHereError("no weights")

    pieces = [
        Piece(name="net", group="a", about=None, make=refuse),
        counted.piece("sweep", needs=("net",)),
        counted.piece("other"),
    ]
    records = Records(tmp_path, "data", pieces, silent)
    records.run()
    assert counted.made == ["other"]
    assert records.passed_over == {"net": "no weights", "sweep": "no weights"}


def test_a_damaged_record_is_made_again(tmp_path: Path) -> None:
    counted = Counted()
    records = Records(tmp_path, "data", [counted.piece("x")], silent)
    records.run()
    (tmp_path / "records" / "x.json").write_text("{")
    records.run()
    assert counted.made == ["x", "x"]


def test_thinned_keeps_every_class() -> None:
    labels = np.repeat([0, 1, 2], [100, 10, 2])
    chosen = thinned(labels, 28, seed=0)
    assert np.bincount(labels[chosen]).tolist() == [25, 2, 2]
    assert np.array_equal(chosen, thinned(labels, 28, seed=0))
    assert np.array_equal(thinned(labels, 500, seed=0), np.arange(112))


def test_machines_of_the_schemes() -> None:
    labels = np.arange(121)
    assert machines(labels, "one_vs_one") == 7_260
    assert machines(labels, "one_vs_rest") == 121


def test_significance_by_hand() -> None:
    # Of five features the threshold is 1/500.
    assert significant_share([0.9, 0.0021, 0.002, 0.0001, 0.0]) == 0.4


def test_mean_taps_are_the_means_of_the_maps() -> None:
    plain = build_squeezenet(seed=1, resize=(64, 64))
    means = with_mean_taps(plain)
    x = torch.rand(2, 3, 64, 64)
    found = means.forward_taps(x, ["fire2 mean", "fire9 mean"])
    assert torch.allclose(found["fire9 mean"], plain.forward_taps(x, ["fire9"])["fire9"].mean((2, 3)))
    assert means.flat_width(["fire2 mean", "fire9 mean"]) == 128 + 512


def test_families_by_hand() -> None:
    names = ["shrimp_zoea", "shrimp_caridean", "ephyra", "copepod_other", "copepod_eggs"]
    assert same_family(np.array([[1], [2], [0], [4], [3]]), names) == 0.75
    assert family_by_chance(names) == 0.25


def test_a_bag_averages_probabilities(tmp_path: Path) -> None:
    labels = np.array([0, 1])
    write_answers(tmp_path / "networks" / "a", np.array([[0.9, 0.1], [0.6, 0.4]], np.float32))
    write_answers(tmp_path / "networks" / "b", np.array([[0.4, 0.6], [0.1, 0.9]], np.float32))
    found = bag(tmp_path, ["a", "b"], labels)
    assert found["accuracy"] == 1.0
    assert found["members"] == {"a": 0.5, "b": 0.5}
    assert found["growing"] == [0.5, 1.0]


def test_a_network_its_epochs_and_a_forest_on_its_layer(settings: Settings, tmp_path: Path) -> None:
    images = open_images(settings, tmp_path, None)
    again = open_images(settings, tmp_path, None)
    assert again.manifest.digest == images.manifest.digest
    counts = images.counts()
    total = sum(counts.values())
    assert abs(counts["test"] / total - 3_800 / 30_300) < 0.02
    plan = TrainingPlan(epochs=2, batch=64, patience=0)
    network = Network(name="cnn1", architecture="cnn1", plan=plan, seed=1, epochs=(0, 2))
    record = train_network(images, network, tmp_path)
    assert set(record["snapshots"]) == {"0", "2"}
    if record["best_epoch"] == 2:
        assert record["accuracies"]["2"] == record["accuracy"]
    untrained = load_network(images, network, tmp_path, record["snapshots"]["0"], 0)
    assert untrained.weights_sha256 == network.build(len(images.classes)).weights_sha256
    backbone = load_network(images, network, tmp_path, record["weights"])
    found = measure_layer(images, backbone, "layer3", "forest", Heads(trees=8), cost=None, growth=tmp_path / "growth")
    assert found["width"] == 64
    assert found["rows"] == counts["train"] + counts["val"]
    assert found["accuracy"] > 2 / len(images.classes)
    assert 0 < found["significant"] <= 1
    assert found["trees"] == 8
    assert found["sklearn_bytes"] > found["bytes"] > 0
    heads = Heads(costs=(1.0, 10.0), widest=100, widest_rows=200)
    chosen = choose_cost(images, backbone, "layer3", "one_vs_one", heads)
    assert chosen["tried"][str(chosen["cost"])] == max(chosen["tried"].values())
    for layer, rows in (("layer3", counts["train"] + counts["val"]), ("layer4", 200)):
        pairs = measure_layer(
            images, backbone, layer, "one_vs_one", heads, cost=chosen["cost"], growth=tmp_path / "growth"
        )
        assert pairs["machines"] == len(images.classes) * (len(images.classes) - 1) // 2
        assert abs(pairs["rows"] - rows) <= len(images.classes)
        assert pairs["accuracy"] > 2 / len(images.classes)


def test_the_strongest_features_of_classes_are_projected_and_drawn(settings: Settings, tmp_path: Path) -> None:
    images = open_images(settings, tmp_path, None)
    names = shown_classes(images)
    assert names == [
        "copepod_calanoid",
        "acantharia_protist",
        "copepod_cyclopoid_oithona",
        "trichodesmium_puff",
    ], "the paper's class that the sample has, then the largest others"
    backbone = Network(name="cnn1", architecture="cnn1", plan=TrainingPlan(), seed=1).build(len(images.classes))
    found = class_features(images, backbone, "layer3", Heads(trees=8), tmp_path / "growth")
    assert list(found) == names
    numbers = images.numbers("train", "val")
    rows = images.rows(backbone, "layer3", numbers).astype(np.float64)
    labels = np.array(images.classes)[images.labels[numbers]]
    for name, features in found.items():
        assert 0 < len(features) <= 3
        strengths = [feature.strength for feature in features]
        assert strengths == sorted(strengths, reverse=True)
        for feature in features:
            column = rows[:, feature.number]
            own, others = column[labels == name], column[labels != name]
            assert feature.mean == pytest.approx(own.mean())
            assert feature.standing == pytest.approx((own.mean() - others.mean()) / others.std())
            assert [one.label for one in feature.own] == [name] * 3
            # Rows are float16, the projected units' activations float32.
            assert [one.activation for one in feature.own] == pytest.approx(np.sort(own)[:-4:-1], rel=2e-3)
            assert [one.activation for one in feature.every] == pytest.approx(np.sort(column)[:-4:-1], rel=2e-3)
            assert sum(count for _, count in feature.most) == 9
            assert all(np.any(one.projection) for one in [*feature.own, *feature.every])
    path = tmp_path / "features.png"
    draw_class_features(path, found, darker=True)
    with Image.open(path) as image:
        picture = np.asarray(image.convert("L"))
    seen = found[names[0]][0].own[0].seen[:, :, 0]
    tile = np.kron(seen, np.ones((3, 3), np.uint8))
    windows = np.lib.stride_tricks.sliding_window_view(picture[:250, :200], tile.shape)
    assert (windows == tile).all(axis=(2, 3)).any(), "what the network sees is in the picture, pixel by pixel"


def test_a_class_without_a_strong_feature_has_its_row(tmp_path: Path) -> None:
    draw_class_features(tmp_path / "none.png", {"a_class": []}, darker=True)
    with Image.open(tmp_path / "none.png") as image:
        assert image.size[0] > 500


def test_common_features_by_hand() -> None:
    features = {"a": [1, 2], "b": [2, 3], "c": [3]}
    assert common_features(features, ["a", "b"]) == [2]
    assert common_features(features, ["a", "c", "absent"]) == []


def test_bad_arguments(settings: Settings) -> None:
    with pytest.raises(UnknownNameError, match="networks"):
        plankton_paper.run(settings, only=["everything"])
    with pytest.raises(InputError, match="--data"):
        plankton_paper.run(settings, data=settings.root / "none.zip")


def test_options_are_refused_where_a_benchmark_has_none() -> None:
    from click.testing import CliRunner

    found = CliRunner().invoke(bench_command, ["store", "--only", "networks"])
    assert isinstance(found.exception, InputError)
    assert "no option --only" in str(found.exception)
