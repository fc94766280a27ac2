"""Cross-layer pooling: the mathematics against its definition, and the whole way from images to a proven file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image
from shells import write_shells

from drillcore import load_folder
from drillcore.analysis.spoken import BESIDE, draw_spoken, spoken_maps
from drillcore.errors import InputError, ParityError, RecipeError
from drillcore.export.assemble import IR_VERSION, OPSET
from drillcore.export.builder import GraphBuilder
from drillcore.export.cross_pooling_nodes import CrossPoolingWriter
from drillcore.export.sessions import cpu_session
from drillcore.heads.row_source import gram
from drillcore.recipes import read_recipe
from drillcore.recipes.building import check_parts
from drillcore.representations.cross_pooling.pooling import (
    LENGTH,
    Pca,
    guides,
    local_features,
    normalised,
    pooled,
    principal_axes,
    projected_first,
)
from drillcore.retrain.exporting import export_model, prove_parity
from drillcore.retrain.fitting.head_fitting import fill_store, fit_head
from drillcore.retrain.records import Exported, Fitted
from drillcore.retrain.run import Run

RNG = np.random.default_rng(3)
RECIPE = """\
schema: 1
name: crossed
task: classification
dataset: {name: shells}
backbone: {name: squeezenet1_0, weights: "seed:3", taps: [fire2, fire3], resize: 32}
representation: {name: cross_pooling, params: {components: 6, fit_images: 12}}
head: {name: dual_svm, params: {c: [0.1, 10]}}
seeds: {train: 3}
"""


def defined(maps: Any, above: Any, pca: Pca, sides: tuple[int, int]) -> Any:
    """Equation 2 with loops: sum over inner units of W (x_i - mu) a_ik, one channel after the other."""
    high, wide = maps.shape[1:]
    rows = np.zeros((above.shape[0], len(pca.axes)))
    for top in range(high - sides[0] + 1):
        for left in range(wide - sides[1] + 1):
            x = maps[:, top : top + sides[0], left : left + sides[1]].reshape(-1)
            a = above[:, top + sides[0] // 2, left + sides[1] // 2]
            rows += a[:, None] * (pca.axes.astype(np.float64) @ (x.astype(np.float64) - pca.mean))
    return rows


@pytest.mark.parametrize(
    ("depth", "above", "size", "sides", "kept", "first"),
    [
        (4, 40, (5, 6), (3, 3), 7, True),
        (4, 60, (5, 6), (1, 1), 4, True),
        (3, 90, (4, 7), (2, 3), 18, True),
        (2, 3, (40, 40), (3, 3), 5, False),
    ],
)
def test_pooling_is_equation_two_whichever_side_the_pca_stands_on(
    depth: int, above: int, size: tuple[int, int], sides: tuple[int, int], kept: int, first: bool
) -> None:
    maps = RNG.normal(size=(2, depth, *size)).astype(np.float32)
    over = RNG.normal(size=(2, above, *size)).astype(np.float32)
    width = depth * sides[0] * sides[1]
    axes = np.linalg.qr(RNG.normal(size=(width, width)))[0][:kept].astype(np.float32)
    pca = Pca(RNG.normal(size=width).astype(np.float32), axes)
    x, a = local_features(maps, sides), guides(over, sides)
    assert x.shape == (2, (size[0] - sides[0] + 1) * (size[1] - sides[1] + 1), width)
    found = pooled(x, a, pca)
    for image in range(2):
        wanted = defined(maps[image], over[image], pca, sides)
        np.testing.assert_allclose(found[image], wanted, rtol=1e-4, atol=1e-3)
    assert projected_first(x.shape[1], width, above, kept) == first


def test_normalisation_is_the_papers() -> None:
    rows = np.array([[-4.0, 0.0, 9.0], [0.0, 0.0, 0.0]], np.float32)
    assert normalised(rows, "power", unit_length=False)[0].tolist() == [-2, 0, 3]
    assert normalised(rows, "sign", unit_length=True)[0].tolist() == [-1, 0, 1]
    long = normalised(rows, "power", unit_length=True)
    assert np.linalg.norm(long[0]) == pytest.approx(LENGTH)
    assert not long[1].any(), "nothing stays nothing"


def test_axes_are_those_of_the_covariance() -> None:
    features = RNG.normal(size=(400, 5)) @ np.diag([5.0, 3, 2, 1, 0.5]) + 7
    found = principal_axes([features[:150], features[150:]], 2)
    np.testing.assert_allclose(found.mean, features.mean(axis=0), rtol=1e-5)
    wanted = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)[2][:2]
    np.testing.assert_allclose(np.abs(np.sum(found.axes * wanted, axis=1)), 1, rtol=1e-3)
    assert len(principal_axes([features], 99).axes) == 5
    with pytest.raises(ValueError, match="no local feature"):
        principal_axes([], 2)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("crossed")
    return load_folder(write_shells(root / "source", 6), state=root / "state")


@pytest.fixture
def run_of(images: Any, tmp_path: Path) -> Any:
    """Return a function that makes a run of parameters, on a backbone with random weights."""

    def make(params: dict[str, Any] | None = None, of: Any = images, **backbone: Any) -> Run:
        path = tmp_path / "crossed.yaml"
        path.write_text(RECIPE)
        recipe = read_recipe(path)
        section = recipe.representation
        section = dataclasses.replace(section, params={**section.params, **(params or {})})
        recipe = dataclasses.replace(
            recipe, representation=section, backbone=dataclasses.replace(recipe.backbone, **backbone)
        )
        check_parts(recipe)
        settings = dataclasses.replace(of.settings, state=tmp_path / "state")
        run = Run(settings, recipe, of.manifest)
        run.backbone = run.backbone_of("seed:3")
        run.path.mkdir(parents=True, exist_ok=True)
        return run

    return make


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"normalise": "sign", "dtype": "sign2", "maps": "clipped"},
        {"blocks": [2, 2], "beside": "fire4"},
        {"blocks": [3, 2], "step": 0.5, "whole": False, "subarray": [1, 2], "unit_length": False},
    ],
    ids=["whole", "signs", "blocks and a mean beside", "overlapping"],
)
def test_from_images_to_a_proven_file(run_of: Any, params: dict[str, Any]) -> None:
    taps = ["fire2", "fire3"] + (["fire4"] if "beside" in params else [])
    run = run_of(params, taps=taps)
    filled = fill_store(run)
    parts = 2 if params.get("whole", True) and "blocks" in params else 1
    assert filled.width == 128 * 6 * parts + (256 if "beside" in params else 0)
    rows = run.representation.rows(run, run.fit_rows())
    assert rows.extracted == 0, "the store has them"
    if params.get("dtype") == "sign2":
        kept = run.representation.spec(run).kept
        assert kept == np.uint8
        assert set(np.unique(rows.rows[0:3])) <= {-1, 0, 1}
    np.testing.assert_allclose(gram(rows.rows), np.asarray(rows.rows, np.float64) @ np.asarray(rows.rows).T, rtol=1e-4)
    run.once(Fitted, fit_head)
    run.once(Exported, export_model)
    assert run.head.weights_.shape[0] == filled.width
    proof, _ = prove_parity(run)
    assert proof.report["label_disagreements"] == 0


def test_parity_notices_other_rows(run_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of()
    fill_store(run)
    run.once(Fitted, fit_head)
    run.once(Exported, export_model)
    state = run.state
    run.state = type(state)({**state.arrays, "0/mean": state.arrays["0/mean"] + 0.5})
    with pytest.raises(ParityError, match="rows"):
        prove_parity(run)


@pytest.mark.parametrize("params", [{}, {"blocks": [2, 2]}, {"unit_length": False}, {"normalise": "none"}], ids=str)
def test_the_files_nodes_make_the_rows_and_nothing_of_nothing(run_of: Any, params: dict[str, Any]) -> None:
    run = run_of(params)
    fill_store(run)
    activations = RNG.normal(size=(3, run.backbone.flat_width(run.recipe.backbone.taps))).astype(np.float32)
    activations[1] = 0  # no map is excited anywhere
    activations[2] *= 1e-6
    graph = onnx.GraphProto(name="rows")
    graph.input.append(helper.make_tensor_value_info("activations", TensorProto.FLOAT, ["N", activations.shape[1]]))
    CrossPoolingWriter(run).write_rows(GraphBuilder(graph), "activations", "rows")
    graph.output.append(helper.make_tensor_value_info("rows", TensorProto.FLOAT, None))
    model = onnx.ModelProto(ir_version=IR_VERSION, graph=graph, opset_import=[helper.make_opsetid("", OPSET)])
    rows = cpu_session(model.SerializeToString(), 1).run(None, {"activations": activations})[0]
    wanted = run.representation.transform(activations, run.state)
    assert not rows[1].any()
    squared, expected = (found * np.abs(found) for found in (rows, wanted))
    np.testing.assert_allclose(squared, expected, rtol=4e-3, atol=1e-4 * float(np.abs(expected).max()))


def test_new_images_alone_are_computed_and_the_pca_stays_until_a_refresh(run_of: Any, tmp_path: Path) -> None:
    source = write_shells(tmp_path / "source", 6)
    before = run_of(of=load_folder(source, state=tmp_path / "images"))
    known = fill_store(before)
    assert known.passed >= 18 - 1, "each image once, and the PCA's again"
    write_shells(source, 1, first=6)
    grown = load_folder(source, state=tmp_path / "images")
    after = run_of(of=grown)
    filled = fill_store(after)
    assert filled.rows == known.rows + 3
    assert filled.passed == 3
    assert after.state.sha256 == before.state.sha256
    assert run_of(of=grown, refresh="always").state.sha256 != before.state.sha256


def test_a_class_with_one_image_and_one_smaller_than_the_input_are_learnt_from(run_of: Any, tmp_path: Path) -> None:
    source = write_shells(tmp_path / "source", 6)
    (source / "lone").mkdir()
    Image.fromarray(RNG.integers(0, 256, (8, 9, 3), np.uint8)).save(source / "lone" / "0.png")
    run = run_of(of=load_folder(source, state=tmp_path / "images"))
    fill_store(run)
    run.once(Fitted, fit_head)
    run.once(Exported, export_model)
    assert "lone" in [run.manifest.classes[number] for number in run.head.present_]
    proof, _ = prove_parity(run)
    assert proof.report["label_disagreements"] == 0


def test_blocks_and_parameters_stand_in_the_stores_key(run_of: Any) -> None:
    plain, cut = run_of(), run_of({"blocks": [2, 2]})
    assert plain.state.sha256 != cut.state.sha256
    specs = {run.representation.spec(run).digest for run in (plain, cut, run_of({"maps": "clipped"}))}
    assert len(specs) == 3


@pytest.mark.parametrize(
    ("params", "backbone", "said"),
    [
        ({}, {"taps": ["fire4", "fire5"]}, "fire4 has maps of 6 x 6 cells, fire5 of 3 x 3"),
        ({"subarray": [9, 9]}, {}, "smaller than a subarray of 9 x 9"),
        ({"pairs": [["fire2", "fire7"]]}, {}, "fire7 is not among the taps"),
        ({}, {"taps": ["fire2", "fire3", "fire4"]}, "name more in pairs"),
        ({"pairs": [["fire2", "fire2"]]}, {}, "the tap fire3 is in no pair"),
        ({"dtype": "sign2"}, {}, "take normalise: sign"),
        ({"blocks": [2, 2], "step": 0.75}, {}, "no multiple of a block"),
        ({"step": 0.5}, {}, "give blocks"),
    ],
)
def test_what_cannot_be_pooled_is_told_before_anything_is_computed(
    run_of: Any, params: dict[str, Any], backbone: dict[str, Any], said: str
) -> None:
    with pytest.raises((RecipeError, InputError), match=said):
        run_of(params, **backbone)


@pytest.mark.parametrize("params", [{}, {"blocks": [2, 2]}, {"normalise": "sign", "blocks": [3, 1], "step": 0.5}])
def test_what_spoke_for_a_class_sums_to_its_decision(run_of: Any, params: dict[str, Any]) -> None:
    run = run_of(params)
    fill_store(run)
    run.once(Fitted, fit_head)
    image = np.random.default_rng(0).integers(0, 256, (40, 53, 3), np.uint8)
    maps = run.representation.maps(run, image)
    assert [name for name, _ in maps] == list(run.manifest.classes)
    rows = run.representation.transform(
        run.backbone.rows(torch.from_numpy(run.backbone.prepare(image)[None]), run.recipe.backbone.taps).numpy(),
        run.state,
    )
    decisions = rows @ run.head.weights_
    for (_, found), decision in zip(maps, decisions[0], strict=True):
        assert found.shape == (1, 40, 53)
        assert found.sum() == pytest.approx(decision, rel=2e-2, abs=2e-2)


def test_what_spoke_is_drawn_beside_training_images(run_of: Any) -> None:
    run = run_of()
    fill_store(run)
    run.once(Fitted, fit_head)
    image = np.random.default_rng(1).integers(0, 256, (30, 44, 3), np.uint8)
    classes = list(run.manifest.classes)
    maps = spoken_maps(run, image)
    assert list(maps) == classes
    assert all(found.shape == (30, 44) and found.min() >= 0 for found in maps.values())
    asked: list[Any] = []

    def answer(pixels: Any) -> Any:
        asked.append(pixels.shape)
        return np.full(len(classes), 1 / len(classes))

    png = draw_spoken(run, image, answer, classes[:2], "title")
    assert png.startswith(b"\x89PNG")
    assert len(asked) == 1 + 2 * BESIDE, "the image once, and training images of two classes"
