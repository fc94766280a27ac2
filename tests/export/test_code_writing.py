from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from code_case import TAPS, blobs, core_of, taps_of

from drillcore.export.code_writing import build_codes, compare, torch_values
from drillcore.representations.binary_codes.hashing import HashedTap, HashLayer, cell_of, packed
from drillcore.representations.core_samples.planes import Grid
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.runtime.model.session import open_model


def metadata(**changes: object) -> ModelMetadata:
    values: dict[str, object] = {
        "task": "segments",
        "model": "codes",
        "classes": [],
        "input": {"channels": 3, "resize": None, "preprocessing": {}},
        "data_digest": "0" * 64,
        "lineage": "import-1",
        "git": "0" * 40,
        "dirty": False,
        "recipe_sha256": "0" * 64,
        "weights_sha256": "0" * 64,
        "seeds": {"train": 0},
        "min_size": [1, 1],
        "answers": {"bits": [8, 16]},
    }
    return ModelMetadata(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=[1.0, 2.0])
def exported(request: pytest.FixtureRequest) -> tuple[float, onnxruntime.InferenceSession]:
    model = build_codes(core_of(request.param), taps_of(scale=request.param), metadata())
    return request.param, onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (31, 50), (97, 64)])
def test_the_file_s_bits_are_those_of_network_and_layer(exported: tuple[float, object], size: tuple[int, int]) -> None:
    scale, session = exported
    image = blobs(*size, seed=3)
    [code] = session.run(["code"], {"images": image[None]})  # type: ignore[attr-defined]
    assert code.dtype == np.uint8
    assert code.shape == (1, 3, *size)
    values = torch_values(core_of(scale), taps_of(scale=scale), image)
    wrong, ties, count = compare(code[0], values)
    assert wrong == 0
    assert ties < count / 20
    assert count == 24 * size[0] * size[1]


def test_images_of_a_batch_do_not_touch_each_other(exported: tuple[float, object]) -> None:
    _, session = exported
    images = np.stack([blobs(40, 56, seed=seed) for seed in range(3)])
    together = session.run(["code"], {"images": images})[0]  # type: ignore[attr-defined]
    alone = [session.run(["code"], {"images": one[None]})[0][0] for one in images]  # type: ignore[attr-defined]
    assert (together != np.stack(alone)).mean() < 1e-3  # sums may round in another order


def test_a_wrong_bit_is_noticed() -> None:
    image = blobs(31, 50)
    values = torch_values(core_of(), taps_of(), image)
    code = packed([value > 0.5 for value in values])
    assert compare(code, values)[0] == 0
    code[1] ^= 0b1000
    assert compare(code, values)[0] > 0.9 * 31 * 50


@pytest.mark.parametrize(
    ("side", "cells", "found"),
    [
        # Centres at 3, 7, 11: pixels to 5 are nearest to the first; 9 lies between two and goes to the even one.
        (14, 3, [0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2]),
        (3, 1, [0, 0, 0]),
    ],
)
def test_which_pixels_a_cell_stands_for(side: int, cells: int, found: list[int]) -> None:
    assert cell_of(Grid(stride=4, origin=3), side, cells).tolist() == found


def test_cells_lie_where_the_network_looks() -> None:
    """A cell's pixels are those around the middle of the field from which it reads."""
    import torch

    core = core_of()
    base = np.full((64, 64, 3), 100, np.uint8)
    for y, x in ((20, 33), (41, 12)):
        changed = base.copy()
        changed[y, x] = 200
        both = [core(torch.from_numpy(one.transpose(2, 0, 1).copy()).float()[None]) for one in (base, changed)]
        for plane, before, after in zip(core.planes, *both, strict=True):
            moved = (before - after)[0].abs().sum(dim=0).numpy()
            rows, columns = (cell_of(plane.grid, 64, moved.shape[axis]) for axis in (0, 1))
            assert moved[rows[y], columns[x]] > 0
            touched = np.argwhere(moved > 0)
            assert np.abs(touched.mean(axis=0) - [rows[y], columns[x]]).max() <= 1, plane.name


def test_a_network_that_pads_as_tensorflow_does_gets_whole_cells(tmp_path: Path) -> None:
    """Its input is brought to a multiple of its stride in the file, as in torch."""
    from drillcore.backbones.networks.timm_networks import build_timm
    from drillcore.representations.core_samples.core import CoreNetwork
    from drillcore.representations.core_samples.core_spec import CoreSpec

    core = CoreNetwork(build_timm("tf_efficientnet_lite0", any_size=True), ["blocks.1"], CoreSpec(image=False))
    rng = np.random.default_rng(0)
    taps = [HashedTap(weights=rng.normal(size=(24, 8)).astype(np.float32), bias=np.zeros(8, np.float32))]
    data = build_codes(core, taps, metadata(answers={"bits": [8]})).SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    for size in ((33, 50), (8, 8)):
        image = blobs(*size)
        code = session.run(["code"], {"images": image[None]})[0][0]
        assert compare(code, torch_values(core, taps, image))[0] == 0


def test_depth_normalisation_changes_no_bit_and_half_is_nought() -> None:
    import torch

    tap = taps_of()[0]
    layer = HashLayer(tap)
    cells = torch.randn(1, len(tap.weights), 5, 7)
    plain = torch.nn.functional.conv2d(cells, layer.weight, layer.bias)
    assert torch.equal(layer(cells) > 0.5, plain > 0)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
    assert not (layer(cells) > 0.5).any()


def test_the_layer_can_go_on_learning() -> None:
    import torch

    layer, cells = HashLayer(taps_of()[0]), torch.randn(1, len(taps_of()[0].weights), 5, 7)
    ((layer(cells) - 1) ** 2).mean().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.abs().sum() > 0


def test_the_file_opens_as_a_model(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(build_codes(core_of(), taps_of(), metadata()).SerializeToString(deterministic=True))
    model = open_model(path)
    assert model.outputs == ["code"]
    assert model.run(blobs(20, 30)[None])["code"].shape == (1, 3, 20, 30)
    assert core_of().taps == TAPS
