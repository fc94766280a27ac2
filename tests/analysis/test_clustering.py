"""The tree of a really trained small model's classes, what stands beside it, and what makes none."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from drillcore.analysis import trained_parts
from drillcore.analysis.class_clusters import same_first_word
from drillcore.analysis.clustering import cluster_classes, feature_numbers
from drillcore.analysis.clustering_files import write_clusters
from drillcore.analysis.trained_parts import find_parts, head_importances
from drillcore.cli import cli
from drillcore.datasets.manifest import Manifest
from drillcore.errors import DataError, InputError, UnknownNameError
from drillcore.evaluation.figures.feature_scores import FeatureScores
from drillcore.settings import Settings

Retrained = tuple[Settings, dict[str, Any]]
MODEL = "shells-forest"
FILES = {
    "agreement.png",
    "cluster.json",
    "feature-bars.png",
    "neighbours.csv",
    "pixels.nwk",
    "pixels.png",
    "tree.nwk",
    "tree.png",
}


@pytest.fixture
def relabelled(retrained: Retrained, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], Settings]:
    """Return a function that names classes anew in the list of images; two of one name become one class."""
    settings, _ = retrained
    real = trained_parts.read_manifest

    def rename(names: dict[str, str]) -> Settings:
        def read(settings: Settings, dataset: str, digest: str) -> Manifest:
            found = real(settings, dataset, digest)
            table = found.table.assign(label=[names[label] for label in found.table["label"]])
            known = tuple(dict.fromkeys([*names.values(), "never seen"]))
            return dataclasses.replace(found, table=table, classes=known)

        monkeypatch.setattr(trained_parts, "read_manifest", read)
        return settings

    return rename


def rows_of(settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """The rows float64 [N, 64] of the training images as the store has them, and their labels."""
    parts = find_parts(settings, MODEL, command="cluster")
    rows = parts.manifest.rows("train")
    table = parts.representation.rows(parts.run, rows)
    assert table.extracted == 0
    return np.asarray(table.rows, np.float64), parts.manifest.label_indices(rows)


def test_centroids_are_those_of_the_models_own_rows(retrained: Retrained) -> None:
    settings, _ = retrained
    found = cluster_classes(settings, MODEL)
    table, labels = rows_of(settings)
    expected = [table[labels == number].mean(axis=0) for number in range(3)]
    np.testing.assert_allclose(found.space.centroids, expected)
    assert found.classes == ["bar", "dot", "ring"]
    assert found.counts == np.bincount(labels).tolist()
    assert all(
        path.startswith(f"{name}/") for name, paths in zip(found.classes, found.samples, strict=True) for path in paths
    )
    told = found.to_dict()
    assert (told["linkage"], told["distance"], told["features"]["numbers"]) == ("average", "euclidean", "all")
    assert -1 <= told["agreement"]["cophenetic_correlation"] <= 1
    assert told["agreement"]["shared_neighbours"] == 1  # of three classes each has the other two


def test_the_folder(retrained: Retrained, tmp_path: Path) -> None:
    settings, _ = retrained
    found = cluster_classes(settings, MODEL, neighbours=1)
    made = write_clusters(settings, found, tmp_path / "out")
    assert {path.name for path in made} == {path.name for path in (tmp_path / "out").iterdir()} == FILES
    assert json.loads((tmp_path / "out" / "cluster.json").read_text())["classes"][0]["class"] == "bar"
    with (tmp_path / "out" / "neighbours.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["class"] for row in rows] == ["bar", "dot", "ring"]
    assert {row["rank"] for row in rows} == {"1"}
    for path in made:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert min(image.size) > 200
    assert cluster_classes(settings, MODEL, neighbours=1).to_dict() == found.to_dict()
    with pytest.raises(UnknownNameError, match="unknown class 'crab'"):
        write_clusters(settings, found, tmp_path / "none", bars=["crab"])
    assert not (tmp_path / "none").exists()


def test_a_subset_of_the_features_makes_another_tree(retrained: Retrained) -> None:
    settings, _ = retrained
    whole = cluster_classes(settings, MODEL, control=False)
    assert whole.pixels is None
    part = cluster_classes(settings, MODEL, control=False, features="0,3,5-9")
    assert part.chosen == [0, 3, 5, 6, 7, 8, 9]
    np.testing.assert_array_equal(part.space.centroids, whole.space.centroids[:, part.chosen])
    assert part.to_dict()["features"]["numbers"] == part.chosen
    top = cluster_classes(settings, MODEL, control=False, features="top:4")
    parts = find_parts(settings, MODEL, command="cluster")
    importances = head_importances(settings, parts, 64)
    if importances is not None:
        assert set(top.chosen) == set(np.argsort(-importances, kind="stable")[:4].tolist())
    assert len(top.chosen) == 4
    scaled = cluster_classes(settings, MODEL, control=False, standardised=True)
    spread = FeatureScores.of(*rows_of(settings), 3).pooled()[1]
    np.testing.assert_allclose(scaled.space.centroids * np.where(spread > 0, spread, 1), whole.space.centroids)


def test_without_the_head_the_classes_tell_which_features_count(retrained: Retrained) -> None:
    settings, summary = retrained
    shutil.rmtree(Path(summary["folder"]) / "head")
    found = cluster_classes(settings, MODEL, control=False, features="top:2")
    assert "variance that lies between the classes" in found.chosen_by
    share = FeatureScores.of(*rows_of(settings), 3).separation()
    assert found.chosen == sorted(np.argsort(-share, kind="stable")[:2].tolist())


def test_other_taps(retrained: Retrained) -> None:
    settings, _ = retrained
    found = cluster_classes(settings, MODEL, control=False, taps=["layer0"])
    pixels = cluster_classes(settings, MODEL).pixels
    assert pixels is not None
    # Layer 0 of CNN1 and the control are the same pixels.
    np.testing.assert_allclose(found.space.centroids, pixels.centroids, atol=1e-3)
    with pytest.raises(UnknownNameError, match="tap of cnn1"):
        cluster_classes(settings, MODEL, taps=["layer9"])


def test_names_of_any_kind_and_a_class_without_an_image(
    relabelled: Callable[[dict[str, str]], Settings], tmp_path: Path
) -> None:
    names = {"bar": '../it\'s, (a) "bar"; x:1', "dot": "caf\u00e9 $x_1$ \u6d77", "ring": "=cmd|' /C calc'!A0"}
    settings = relabelled(names)
    found = cluster_classes(settings, MODEL)
    assert found.left_out == ["never seen"]
    assert "1 classes have no image in train and are left out: never seen" in found.notes
    made = write_clusters(settings, found, tmp_path / "out")
    assert {path.name for path in made} == FILES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkout", "out"]
    with (tmp_path / "out" / "neighbours.csv").open(newline="", encoding="utf-8") as stream:
        assert {row["class"] for row in csv.DictReader(stream)} == set(names.values())
    newick = (tmp_path / "out" / "tree.nwk").read_text(encoding="utf-8")
    assert "'../it''s, (a) \"bar\"; x:1'" in newick


def test_two_classes_have_a_tree_and_nothing_to_correlate(
    relabelled: Callable[[dict[str, str]], Settings], tmp_path: Path
) -> None:
    settings = relabelled({"bar": "bar", "dot": "round", "ring": "round"})
    found = cluster_classes(settings, MODEL)
    told = found.to_dict()
    assert told["cophenetic_correlation"] is told["agreement"]["cophenetic_correlation"] is None
    assert any("two classes have one distance" in note for note in found.notes)
    assert len(write_clusters(settings, found, tmp_path / "out")) == len(FILES)


def test_one_class_makes_no_tree(relabelled: Callable[[dict[str, str]], Settings]) -> None:
    settings = relabelled({"bar": "thing", "dot": "thing", "ring": "thing"})
    with pytest.raises(InputError, match="one class with an image in train, 'thing'; a tree needs two or more"):
        cluster_classes(settings, MODEL)


def test_images_that_are_gone_cost_the_control_alone(retrained: Retrained, tmp_path: Path) -> None:
    settings, _ = retrained
    shutil.rmtree(settings.data / "shells" / "bar")
    found = cluster_classes(settings, MODEL)
    assert found.pixels is None
    assert any("no tree on raw pixels" in note for note in found.notes)
    made = {path.name for path in write_clusters(settings, found, tmp_path / "out")}
    assert made == FILES - {"pixels.nwk", "pixels.png", "agreement.png"}


def test_parts_that_are_not_here_are_named(retrained: Retrained) -> None:
    settings, _ = retrained
    kept = settings.state / "backbones"
    kept.rename(settings.state / "elsewhere")
    with pytest.raises(InputError, match=r"needs the trained backbone .* `drillcore retrain shells-forest`"):
        cluster_classes(settings, MODEL)
    (settings.state / "elsewhere").rename(kept)
    shutil.rmtree(settings.manifests / "shells")
    with pytest.raises(DataError, match="list of images that shells-forest version 1 learned from"):
        cluster_classes(settings, MODEL)


def test_a_file_that_was_only_fetched_is_not_enough(retrained: Retrained, tmp_path: Path, empty_mlflow: Path) -> None:
    settings, _ = retrained
    root = tmp_path / "scorer"
    shutil.copytree(settings.models, root / "models")
    shutil.copytree(settings.served, root / ".drillcore" / "served")
    shutil.copyfile(empty_mlflow, root / ".drillcore" / "mlflow.db")
    there = Settings.load(root, env={"DRILLCORE_THREADS": "1", "DRILLCORE_DEVICE": "cpu"})
    with pytest.raises(InputError, match="shells-forest is here as an ONNX file alone"):
        cluster_classes(there, MODEL)
    with pytest.raises(UnknownNameError):
        cluster_classes(there, "nothing-of-the-kind")


def test_a_recipe_that_has_changed_since_is_the_one_the_run_kept(retrained: Retrained) -> None:
    settings, _ = retrained
    before = cluster_classes(settings, MODEL, control=False)
    file = settings.models / f"{MODEL}.yaml"
    file.write_text(file.read_text().replace("[layer3]", "[layer1]"))
    after = cluster_classes(settings, MODEL, control=False)
    assert after.parts.recipe.backbone.taps == ["layer3"]
    np.testing.assert_array_equal(after.space.centroids, before.space.centroids)


def test_dense_models_have_no_tree(retrained: Retrained, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, _ = retrained
    real = trained_parts._version

    def dense(*arguments: Any) -> Any:
        found = real(*arguments)
        return dataclasses.replace(found, metadata={**found.metadata, "task": "dense_labels"})

    monkeypatch.setattr(trained_parts, "_version", dense)
    with pytest.raises(InputError, match="answers every pixel"):
        cluster_classes(settings, MODEL)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3-1", "ranges ascend"),
        ("0,64", "0 to 63"),
        ("a", "cannot be read"),
        ("1,,2", "cannot be read"),
        ("-1", "cannot be read"),
    ],
)
def test_features_that_are_not_there(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        feature_numbers(text, 64)


def test_first_words() -> None:
    names = ["copepod_calanoid", "Copepod-oithona", "fish larva", "fish egg", "other"]
    assert same_first_word(names, np.array([[1], [0], [3], [4], [0]])) == 0.75
    assert same_first_word(["a", "b"], np.array([[1], [0]])) is None
    assert same_first_word(["a_1", "a_2"], np.array([[1], [0]])) is None


def test_the_command_prints_and_writes(retrained: Retrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, _ = retrained
    monkeypatch.setenv("DRILLCORE_ROOT", str(settings.root))
    arguments = ["cluster", MODEL, "--no-samples", "--bars", "bar", "--bars", "ring"]
    done = CliRunner().invoke(cli, [*arguments, "--output", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert {Path(path).name for path in told["files"]} == {path.name for path in (tmp_path / "out").iterdir()} == FILES
    assert told["neighbours"]["bar"][0]["class"] in ("dot", "ring")
    done = CliRunner().invoke(cli, [*arguments, "--no-control"])
    assert done.exit_code == 0, done.output
    assert "shells-forest version 1: 3 classes" in done.stdout
    assert (settings.state / "clusters" / "shells-forest-1" / "tree.png").is_file()
