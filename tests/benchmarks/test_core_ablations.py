"""The ablations judge what was not learnt from, learn from parts of one table, and estimate overlaps."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.cores import ablations as core_ablations
from benchmarks.cores.on_ships import best_cut, overlap
from benchmarks.cores.on_streets import Streets, fold_of_sequences, thinned_rows
from benchmarks.cores.tables import CoreTable, LabelledImages, core_network, on_grid, plane_columns
from benchmarks.cores.variations import QUICK, WHOLE, ship_variations, street_variations
from drillcore.errors import InputError, UnknownNameError
from drillcore.recipes import load_recipe
from drillcore.representations.core_samples.drilling import samples_of
from drillcore.representations.core_samples.sampling import SamplingSpec, draw
from drillcore.settings import Settings

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def recipes(settings: Settings) -> Settings:
    shutil.copytree(CHECKOUT / "models", settings.models, dirs_exist_ok=True)
    return settings


def speckled(count: int, classes: int) -> LabelledImages:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(count)]
    labels = [rng.integers(0, classes + 1, (48, 64)).astype(np.uint8) for _ in range(count)]
    return LabelledImages(
        digests=[f"image{number}" for number in range(count)],
        target_digests=[f"labels{number}" for number in range(count)],
        groups=[str(number) for number in range(count)],
        image=lambda number: images[number],
        labels=lambda number: labels[number],
        classes=classes,
    )


def test_the_judged_sequence_is_new_or_goes_on() -> None:
    groups = ["0001TP"] * 10 + ["0006R0"] * 5 + ["0016E5"] * 3
    learnt, judged = fold_of_sequences(groups)
    assert learnt == [15, 16, 17, 0, 1, 2, 3, 4, 5]
    assert judged == [10, 12, 14, 6, 8]


def test_each_variation_differs_from_the_base_in_one_thing() -> None:
    for scale in (WHOLE, QUICK):
        for variations in (street_variations(scale, 4), ship_variations(scale)):
            names = [one.name for one in variations]
            assert len(set(names)) == len(names)
            assert names[0] == "base"
            for one in variations[1:]:
                own, base = one.about(0), variations[0].about(0)
                changed = {name for name in own if own[name] != base[name]}
                assert len(changed) == (2 if one.factor == "steps" else 1), one.name
    steps = [one for one in street_variations(WHOLE, 4) if one.factor == "steps"]
    assert steps[0].pixels * steps[0].head["epochs"] == WHOLE.street_unit * 3 * 4


def test_a_table_has_the_drawn_pixels_and_gives_parts_of_them(recipes: Settings, tmp_path: Path) -> None:
    recipe, images = load_recipe(recipes, "camvid-squeezenet"), speckled(3, 4)
    core = core_network(recipe, "seed:0", recipes, 3)
    sampling = SamplingSpec(pixels=200, seed=5)
    table = CoreTable(core, images, sampling, recipes, tmp_path / "store")
    assert table.found.extracted == 3
    assert len(table.found) == 600
    again = CoreTable(core, images, sampling, recipes, tmp_path / "store")
    assert again.found.extracted == 0, "a run that goes on finds the table"

    # Fewer of the same draw are a part of the table, and its rows are those of these pixels.
    few = draw(dataclasses.replace(sampling, pixels=20), "image1|0", (48, 64), labels=images.labels(1), classes=4)
    places = table.places(1, few)
    expected = samples_of(core, images.image(1), few.ys, few.xs, "float16")
    assert np.array_equal(table.rows(places)[np.arange(20)], expected)
    assert np.array_equal(table.found.targets[places], images.labels(1)[few.ys, few.xs])
    columns = plane_columns(core, ("fire3", "image"))
    assert np.array_equal(table.rows(places, ("fire3", "image"))[np.arange(20)], expected[:, columns])
    assert np.array_equal(columns[-3:], np.arange(core.width - 3, core.width))

    one, other = (thinned_rows(table, range(3), 30, seed) for seed in (0, 1))
    assert len(one) == len(other) == 90
    assert len(np.intersect1d(one, other)) < 45, "another seed draws other pixels"
    assert np.array_equal(np.bincount(table.found.images[one]), [30, 30, 30])


def test_a_grid_keeps_every_labelled_pixel_on_it(recipes: Settings, tmp_path: Path) -> None:
    images = speckled(1, 4)
    labels = images.labels(0)
    kept = on_grid(labels, 12)
    assert np.array_equal(kept[6::12, 6::12], labels[6::12, 6::12])
    assert (kept < 255).sum() == 4 * 5
    core = core_network(load_recipe(recipes, "camvid-squeezenet"), "seed:0", recipes, 3)
    table = CoreTable(core, images, SamplingSpec(pixels=10_000), recipes, tmp_path / "store", grid=12)
    assert len(table.found) == int((kept < 4).sum())
    assert np.array_equal(table.found.targets, kept[kept < 4])


def test_overlap_and_its_best_cut_count_pixels_as_what_they_stand_for() -> None:
    truth = np.array([True, True, False, False, False])
    probability = np.array([0.9, 0.4, 0.6, 0.4, 0.1])
    stands_for = np.array([1.0, 1.0, 2.0, 0.5, 40.0])
    # From 0.9 on: 1 of 2; from 0.6: 1 of 4; from 0.4, both pixels of it: 2 of 4.5.
    assert best_cut(truth, probability, stands_for) == 0.9
    assert overlap(truth, probability >= 0.4, stands_for) == pytest.approx(2 / 4.5)
    assert best_cut(truth, probability, np.array([1.0, 3.0, 1.0, 0.5, 40.0])) == 0.4
    rng = np.random.default_rng(1)
    many, scores = rng.random(200) < 0.3, rng.random(200).round(1)
    overlaps = {cut: overlap(many, scores >= cut, np.ones(200)) for cut in np.unique(scores)}
    assert overlap(many, scores >= best_cut(many, scores, np.ones(200)), np.ones(200)) == max(overlaps.values())
    assert overlap(np.zeros(2, bool), np.zeros(2, bool), np.ones(2)) == 0.0


def test_the_sample_is_learnt_and_random_weights_are_those_of_the_seed(recipes: Settings, tmp_path: Path) -> None:
    recipe = load_recipe(recipes, "camvid-squeezenet")
    (tmp_path / "files").mkdir()
    streets = Streets(
        recipes, recipe, "seed:1000", files=tmp_path / "files", store=tmp_path / "store", real=False, most=100, few=60
    )
    assert streets.counts() == {"learnt": 5, "aside": 5, "judged": 6}
    assert not set(streets.learnt) & set(streets.judged)
    base = dataclasses.replace(street_variations(QUICK, 1)[0], head={"epochs": 1, "hidden": (8,)})
    found = streets.measure(base, 0)
    assert found["rows"] == 5 * 30
    assert found["features"] == 1507
    assert set(found["sequences"]) == {"0001TP", "0006R0"}
    assert 0 < found["mean_iou"] < 1
    assert streets.measure(base, 0)["mean_iou"] == found["mean_iou"]
    every = streets.measure(dataclasses.replace(base, share=1.0, planes=("image",)), 0)
    assert every["rows"] == 10 * 30
    assert every["features"] == 3
    digests = {streets._table(f"seed:{seed}", "learnt").core.backbone.weights_sha256 for seed in (0, 1)}
    assert len(digests) == 2


def test_unknown_groups_and_absent_data_are_named(recipes: Settings) -> None:
    with pytest.raises(UnknownNameError, match="streets"):
        core_ablations.run(recipes, only=["clouds"])
    with pytest.raises(InputError, match=r"weights add|beside the checkout"):
        core_ablations.run(recipes)
