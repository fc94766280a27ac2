"""Dense models of two stages: parity in all modes, the columns counted by hand, tiles, what the metadata say."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from random_cores import ODD, head_of, image_of, metadata_of, opened

from drillcore.backbones.base import Backbone
from drillcore.backbones.networks.squeezenet import build_squeezenet
from drillcore.errors import InputError, ParityError
from drillcore.export.assemble import IR_VERSION, OPSET
from drillcore.export.builder import GraphBuilder
from drillcore.export.dense.assembly import dense_input_contract, export_dense, tile_geometry
from drillcore.export.dense.context_nodes import first_stage_model, write_context
from drillcore.export.dense.core_nodes import write_core
from drillcore.export.dense.dense_parity import DenseReference, check_dense_parity
from drillcore.export.dense.modes import MODES
from drillcore.export.sessions import cpu_session
from drillcore.representations.core_samples.auto_context import AutoContext, read_plane
from drillcore.representations.core_samples.context_spec import ContextSpec
from drillcore.representations.core_samples.core import CoreNetwork, CoreSpec
from drillcore.representations.core_samples.pixel_answers import Answers
from drillcore.runtime.dense.answering import Scene

SPEC = ContextSpec(cells=(1, 5, 11), offsets=(16, 40))
WINDOW = Answers(window=3, limit=6.0, bias=(0.0, 0.2, 0.0, -0.2, 0.0))


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return build_squeezenet(seed=0, resize=None)


def core_of(backbone: Backbone, **spec: Any) -> CoreNetwork:
    return CoreNetwork(backbone, ["conv1", "fire5"], CoreSpec(**spec))


def stages_of(core: CoreNetwork, spec: ContextSpec = SPEC) -> tuple[Any, AutoContext]:
    """Return a second stage that answers by what the first one says around a pixel as much as by its own core."""
    first, context_width = head_of(core), spec.width(5)
    rng = np.random.default_rng(4)
    widths = [core.width + context_width, 16, 5]
    weights = [
        (rng.standard_normal(pair) * np.sqrt(2 / pair[0])).astype(np.float32) for pair in itertools.pairwise(widths)
    ]
    head = SimpleNamespace(
        mean_=np.concatenate([first.mean_, np.full(context_width, 0.2, np.float32)]),
        scale_=np.concatenate([first.scale_, np.full(context_width, 0.2, np.float32)]),
        layers_=[(weight, rng.standard_normal(weight.shape[1], np.float32) / 9) for weight in weights],
        activation="relu",
    )
    return head, AutoContext(spec=spec, head=first)


def exported(core: CoreNetwork, mode: str, *, answers: Answers | None = None, tile: int | None = None) -> bytes:
    answers, (head, context) = answers or Answers(), stages_of(core)
    geometry = tile_geometry(core, mode, answers, context) if tile else None
    metadata = dataclasses.replace(
        metadata_of(core, mode),
        input=dense_input_contract(core, context),
        answers=None if answers.plain else answers.to_dict(),
        tile=tile,
        halo=geometry[0] if geometry else None,
        align=geometry[1] if geometry else None,
    )
    return export_dense(
        core, head, mode=mode, metadata=metadata, calibration=[image_of(97, 131)], answers=answers, context=context
    )


def by_hand(found: npt.NDArray[np.float32], spec: ContextSpec, side: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return the columns of every pixel, [H, W, width], of probabilities [K, h, w], cell by cell."""
    classes, height, width = found.shape
    assert (height, width) == tuple(-(-length // 4) for length in side)

    def mean(window: int, row: int, column: int) -> npt.NDArray[np.float64]:
        half = window // 2
        rows = np.clip(np.arange(row - half, row + half + 1), 0, height - 1)
        columns = np.clip(np.arange(column - half, column + half + 1), 0, width - 1)
        return found[:, rows][:, :, columns].astype(np.float64).mean(axis=(1, 2))

    def cell(row: int, column: int) -> npt.NDArray[np.float64]:
        parts = [mean(window, row, column) for window in spec.cells]
        for offset in spec.offsets:
            window = {16: 5, 40: 11, 88: 11}[offset]
            for down, across in ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)):
                there = (
                    min(max(row + down * offset // 4, 0), height - 1),
                    min(max(column + across * offset // 4, 0), width - 1),
                )
                parts.append(mean(window, *there))
        return np.concatenate(parts)

    cells = np.array([[cell(row, column) for column in range(width)] for row in range(height)])
    result = np.empty((*side, spec.width(classes)))
    for y in range(side[0]):
        for x in range(side[1]):
            down, across = (min(max((place - 1.5) / 4, 0.0), last) for place, last in ((y, height - 1), (x, width - 1)))
            top, left = int(down), int(across)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            down, across = down - top, across - left
            upper = (1 - across) * cells[top, left] + across * cells[top, right]
            lower = (1 - across) * cells[bottom, left] + across * cells[bottom, right]
            result[y, x] = (1 - down) * upper + down * lower
    return result


def graph_columns(core: CoreNetwork, context: AutoContext, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the graph's map of the plane, [width, h, w]."""
    model = onnx.ModelProto(ir_version=IR_VERSION)
    model.opset_import.append(helper.make_opsetid("", OPSET))
    model.graph.name = "columns"
    model.graph.input.append(helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 3]))
    builder = GraphBuilder(model.graph)
    name = write_context(builder, core, write_core(builder, core), context)
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    found: npt.NDArray[np.float32] = cpu_session(model.SerializeToString(), 1).run([name], {"images": image[None]})[0]
    return found[0]


@pytest.mark.parametrize("side", [(1, 1), (1, 37), (53, 1), (7, 5), (30, 41)])
def test_the_columns_are_those_counted_by_hand(backbone: Backbone, side: tuple[int, int]) -> None:
    core, spec = core_of(backbone), ContextSpec(cells=(1, 5, 11), offsets=(16, 40, 88))
    _, context = stages_of(core, spec)
    image = image_of(*side)
    (found,) = cpu_session(first_stage_model(core, context.head), 1).run(None, {"images": image[None]})
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    expected = by_hand(found[0], spec, side)
    # The graph's map and torch's, both read as the second stage reads them.
    ys, xs = (places.ravel() for places in np.indices(side))
    maps = core(torch.from_numpy(image).permute(2, 0, 1)[None].float())
    for values in (torch.from_numpy(graph_columns(core, context, image))[None], context.map_of(core, maps, side)):
        columns = read_plane(values, side, ys, xs).numpy()
        np.testing.assert_allclose(columns.reshape(expected.shape), expected, atol=2e-5)


@pytest.mark.parametrize("mode", MODES)
def test_every_pixel_is_answered_as_the_trained_parts_do(backbone: Backbone, mode: str) -> None:
    core = core_of(backbone, scales=(1, 0.5))
    head, context = stages_of(core)
    reference = DenseReference(core, head, context=context)
    report = check_dense_parity(
        exported(core, mode), reference, [image_of(97, 131)], mode=mode, batches=(1, 2), odd_sizes=ODD
    )
    assert report.max_difference <= 1e-4
    assert report.label_agreement is not None
    assert report.label_agreement >= {"exact": 0.9999, "refined": 0.9999, "fast": 0.5}[mode]


def test_answers_are_made_of_the_second_stages_values(backbone: Backbone) -> None:
    core = core_of(backbone)
    head, context = stages_of(core)
    data = exported(core, "exact", answers=WINDOW)
    check_dense_parity(
        data, DenseReference(core, head, WINDOW, context), [image_of(40, 50)], mode="exact", batches=(1,), odd_sizes=ODD
    )
    with pytest.raises(ParityError, match="differs by"):
        check_dense_parity(data, DenseReference(core, head, context=context), [], mode="exact", odd_sizes=ODD)


def test_another_first_stage_is_noticed_by_parity(backbone: Backbone) -> None:
    core = core_of(backbone)
    head, context = stages_of(core)
    data = exported(core, "exact")
    context.head.layers_[-1][1][0] += 1.0
    with pytest.raises(ParityError, match="differs by"):
        check_dense_parity(data, DenseReference(core, head, context=context), [], mode="exact", odd_sizes=ODD)


@pytest.mark.parametrize("mode", MODES)
def test_serving_lets_it_in_and_tiles_answer_as_the_whole(backbone: Backbone, tmp_path: Path, mode: str) -> None:
    core = core_of(backbone)
    _, context = stages_of(core)
    halo, plain = tile_geometry(core, mode, context=context), tile_geometry(core, mode)
    assert halo is not None
    assert plain is not None
    # 40 pixels to the cells at a distance, 5 cells of the window around there, and the cell beyond the pixel.
    assert context.spec.reach == 40 + 20 + 4
    assert halo[0] >= plain[0] + 64 - plain[1]
    model = opened(exported(core, mode, tile=64), tmp_path)
    image = image_of(150, 330)
    tiled, whole = Scene(model, image, ("label", "probabilities")).run(), model.run(image[None])
    near = np.abs(tiled["probabilities"] - whole["probabilities"][0]).max(axis=0)
    # Where mode refined's threshold lies between two roundings, a block is looked at again on one side only.
    assert np.quantile(near, 1.0 if mode != "refined" else 0.999) < 1e-4
    assert (tiled["label"] == whole["label"][0]).mean() > 0.9999
    assert len(np.unique(whole["label"])) > 1, "a scene of one label tells nothing"


def test_a_smaller_halo_would_show(backbone: Backbone, tmp_path: Path) -> None:
    core = core_of(backbone)
    model = opened(exported(core, "exact", tile=64), tmp_path)
    plain = tile_geometry(core, "exact")
    assert plain is not None
    narrow = dataclasses.replace(model.metadata, halo=plain[0])
    image = image_of(150, 330)
    given = SimpleNamespace(metadata=narrow, run=model.run)
    tiled = Scene(given, image, ("probabilities",)).run()["probabilities"]  # type: ignore[arg-type]
    assert np.abs(tiled - model.run(image[None])["probabilities"][0]).max() > 1e-3


def test_the_metadata_say_how_and_are_held_to_it(backbone: Backbone, tmp_path: Path) -> None:
    core = core_of(backbone)
    head, context = stages_of(core)
    said = opened(exported(core, "exact"), tmp_path).metadata.input["preprocessing"]["auto_context"]
    assert said == {"cells": [1, 5, 11], "offsets": [16, 40], "step": 4}
    plain = metadata_of(core, "exact")
    assert "auto_context" not in plain.to_json()
    with pytest.raises(InputError, match="the metadata say None of the first stage"):
        export_dense(core, head, mode="exact", metadata=plain, context=context)
    with pytest.raises(InputError, match="the head was fitted on"):
        export_dense(core, head, mode="exact", metadata=plain)


def test_the_same_parts_give_the_same_bytes(backbone: Backbone) -> None:
    core = core_of(backbone)
    assert exported(core, "exact") == exported(core, "exact")
