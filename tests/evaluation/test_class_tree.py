"""Centroids, trees and their Newick form, worked out by hand; two trees that agree, and two that do not."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drillcore.errors import InputError
from drillcore.evaluation.figures.class_tree import (
    agglomerate,
    class_centroids,
    close_groups,
    cophenetic_correlation,
    cophenetic_distances,
    nearest_classes,
    neighbour_overlap,
    tree_agreement,
    tree_groups,
)
from drillcore.evaluation.figures.linkages import LINKAGES
from drillcore.evaluation.figures.newick import to_newick
from drillcore.evaluation.pictures.class_pictures import (
    common_features,
    draw_feature_bars,
    draw_tree,
    draw_two_trees,
    facing,
)

# On a line: 0 and 1 join at 1, 10 and 12 at 2; the pairs, on average, at (10 + 12 + 9 + 11) / 4 = 10.5.
LINE = np.array([[0.0], [10.0], [1.0], [12.0]])
NAMES = ["a", "b", "c", "d"]
LABEL = re.compile(r"'(?:[^']|'')*'|[A-Za-z0-9.\-]+")


def read_newick(text: str) -> dict[tuple[str, str], float]:
    """Return the length of the path between every two leaves; a reader of its own, by the grammar of the format."""
    position = 0

    def subtree() -> dict[str, float]:
        nonlocal position
        if text[position] == "(":
            position += 1
            parts = []
            while True:
                inner = subtree()
                assert text[position] == ":"
                number = re.compile(r"[0-9.e+\-]+").match(text, position + 1)
                assert number
                position = number.end()
                parts.append({name: depth + float(number[0]) for name, depth in inner.items()})
                position += 1
                if text[position - 1] == ")":
                    break
                assert text[position - 1] == ","
            for index, part in enumerate(parts):
                for other in parts[:index]:
                    for one, near in part.items():
                        for two, far in other.items():
                            paths[one, two] = paths[two, one] = near + far
            return {name: depth for part in parts for name, depth in part.items()}
        found = LABEL.match(text, position)
        assert found
        position = found.end()
        label = found[0]
        return {label[1:-1].replace("''", "'") if label[0] == "'" else label: 0.0}

    paths: dict[tuple[str, str], float] = {}
    subtree()
    assert text[position:] == ";"
    return paths


def test_centroids_are_the_means_of_their_rows() -> None:
    rows = np.array([[1, 2], [3, 4], [60000, 8], [60000, 8]], np.float16)
    found = class_centroids(rows, [2, 2, 0, 0], 3)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found[[0, 2]], [[np.float16(60000), 8], [2, 3]])  # no overflow of float16's sum
    assert np.isnan(found[1]).all()


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        ([[1.0], [2.0]], [0], "a class index for each"),
        ([1.0], [0], "are expected"),
        ([[1.0]], [3], "labels from 0 to 1"),
    ],
)
def test_rows_and_labels_that_do_not_fit(rows: list, labels: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        class_centroids(rows, labels, 2)


def test_a_tree_worked_out_by_hand() -> None:
    tree = agglomerate(LINE)
    assert tree.linkage == "average"
    assert tree.merges[:, 2].tolist() == [1.0, 2.0, 10.5]
    assert cophenetic_distances(tree).tolist() == [10.5, 1.0, 10.5, 10.5, 2.0, 10.5]
    assert {frozenset(group) for group in close_groups(tree, 2)} == {frozenset({0, 2}), frozenset({1, 3})}
    groups = tree_groups(tree, 2)
    assert groups[0] == groups[2] != groups[1] == groups[3]
    assert agglomerate(LINE, "single").merges[-1, 2] == 9
    assert agglomerate(LINE, "complete").merges[-1, 2] == 12


@pytest.mark.parametrize("linkage", LINKAGES)
def test_newick_keeps_names_and_distances(linkage: str) -> None:
    names = ["sea_star (larva), 'young'", "it's", "Seeigel: gr\u00fcn; \u6d77", "plain-1.5", " edge ", "[a]", "x_y"]
    tree = agglomerate(np.random.default_rng(3).normal(size=(7, 5)), linkage)
    paths = read_newick(to_newick(tree, names))
    numbers = [(one, two) for one in range(7) for two in range(one + 1, 7)]
    assert len(paths) == 2 * len(numbers)
    for (one, two), distance in zip(numbers, cophenetic_distances(tree), strict=True):
        assert paths[names[one], names[two]] == pytest.approx(distance, rel=1e-6)


def test_a_chain_of_a_thousand_classes() -> None:
    tree = agglomerate(np.cumsum(np.arange(1, 1001.0))[:, None], "single")  # each joins all before it
    assert to_newick(tree, [str(number) for number in range(1000)]).count(",") == 999
    assert len(close_groups(tree)) == 1


def test_agreement_is_1_for_a_tree_and_its_scaled_copy() -> None:
    points = np.random.default_rng(0).normal(size=(30, 4))
    tree, scaled = agglomerate(points), agglomerate(points * 7)
    assert tree_agreement(tree, scaled) == pytest.approx(1)
    other = agglomerate(np.random.default_rng(1).normal(size=(30, 4)))
    assert abs(tree_agreement(tree, other) or 0) < 0.3
    assert cophenetic_correlation(agglomerate([[0.0], [1.0], [3.0]]), [[0.0], [1.0], [3.0]]) == pytest.approx(
        np.corrcoef([1, 2.5, 2.5], [1, 3, 2])[0, 1]
    )
    two = agglomerate(points[:2])
    assert tree_agreement(two, two) is None
    with pytest.raises(InputError, match="30 and 2"):
        tree_agreement(tree, two)


def test_a_tree_is_turned_to_face_another_and_stays_the_same() -> None:
    tree = agglomerate(LINE)
    turned = facing(tree, agglomerate(-LINE))
    assert cophenetic_distances(turned).tolist() == cophenetic_distances(tree).tolist()
    mirrored = type(tree)(tree.merges, tree.linkage, tree.order[::-1])
    assert facing(tree, mirrored).order.tolist() == mirrored.order.tolist()


def test_neighbours() -> None:
    order, distances = nearest_classes(LINE, 2)
    assert order.tolist() == [[2, 1], [3, 2], [0, 1], [1, 2]]
    assert distances.tolist() == [[1, 10], [2, 9], [1, 9], [2, 11]]
    assert nearest_classes(LINE[:2], 5)[0].tolist() == [[1], [0]]
    assert neighbour_overlap(order, order) == 1
    assert neighbour_overlap(np.array([[1, 2], [0, 2]]), np.array([[2, 3], [3, 4]])) == 0.25


def test_what_makes_no_tree_is_one_line() -> None:
    with pytest.raises(InputError, match="two classes or more"):
        agglomerate([[1.0, 2.0]])
    with pytest.raises(InputError, match="leave out classes without an image"):
        agglomerate([[1.0], [np.nan]])
    with pytest.raises(InputError, match="allowed: average"):
        agglomerate(LINE, "centroid")
    with pytest.raises(InputError, match="4 classes is expected, 2 came"):
        to_newick(agglomerate(LINE), ["a", "b"])


def test_common_features_are_those_that_all_have() -> None:
    scores = [[9.0, 2.0, 0.0, 5.0], [0.0, 3.0, 9.0, 4.0], [0.0, 0.0, 0.0, 0.0]]
    assert common_features(scores, [0, 1], 2) == [3, 1]


@pytest.mark.parametrize("count", [2, 13])
def test_pictures_are_readable_whole_and_the_same_again(tmp_path: Path, count: int) -> None:
    rng = np.random.default_rng(count)
    points = np.maximum(rng.normal(size=(count, 12)), 0)
    names = [f"caf\u00e9_(larva), \u00bd $x^2$ {'long ' * 9}{number}" for number in range(count)]
    tree, other = agglomerate(points), agglomerate(rng.normal(size=(count, 12)))
    samples = [[rng.integers(0, 256, (9, 30), np.uint8), rng.integers(0, 256, (20, 8, 3), np.uint8)]] * count
    draw_tree(tree, names, tmp_path / "tree.png")
    draw_tree(tree, names, tmp_path / "again.png")
    draw_tree(tree, names, tmp_path / "samples.png", samples=samples)
    draw_two_trees(tree, other, names, tmp_path / "two.png", titles=("features", "pixels"))
    draw_feature_bars(points, [[0, 1]], names, range(12), tmp_path / "bars.png", samples=samples)
    assert (tmp_path / "tree.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    sizes = {}
    for path in tmp_path.glob("*.png"):
        with Image.open(path) as image:
            sizes[path.stem] = image.size
    assert min(size[1] for size in sizes.values()) >= 200
    assert sizes["samples"][1] >= 36 * count
    assert sizes["samples"][0] > sizes["tree"][0]
    assert not list(tmp_path.glob(".partial*"))


def test_a_picture_of_121_classes_has_a_line_for_each(tmp_path: Path) -> None:
    tree = agglomerate(np.random.default_rng(1).normal(size=(121, 12)))
    draw_tree(tree, [f"class_{number}" for number in range(121)], tmp_path / "tree.png")
    with Image.open(tmp_path / "tree.png") as image:
        assert image.size[1] >= 200 + 12 * 121  # 12 pixels and more: the height of a name at 7 points is 10


def test_vector_pictures_hold_the_names(tmp_path: Path) -> None:
    draw_tree(agglomerate(LINE), NAMES, tmp_path / "tree.svg")
    assert (tmp_path / "tree.svg").read_text().startswith("<?xml")
    with pytest.raises(InputError, match=r"\.png or \.svg"):
        draw_tree(agglomerate(LINE), NAMES, tmp_path / "tree.jpg")
    assert [path.name for path in tmp_path.iterdir()] == ["tree.svg"]
