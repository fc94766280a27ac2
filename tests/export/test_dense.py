"""Dense models: every pixel answered as a core sample of it through the head, in one graph that serving lets in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_cores import ODD, head_of, image_of, metadata_of, opened

from drillcore.backbones.base import Backbone
from drillcore.backbones.networks.squeezenet import build_squeezenet
from drillcore.backbones.networks.vgg import CORE_TAPS, build_vgg16
from drillcore.errors import InputError, ParityError, UnknownNameError
from drillcore.export.dense.assembly import export_dense, fit_threshold
from drillcore.export.dense.dense_parity import DenseReference, check_dense_parity
from drillcore.export.dense.modes import MODES
from drillcore.representations.core_samples.core import CoreNetwork, CoreSpec
from drillcore.runtime.dense.answering import Scene

TAPS = ["conv1", "fire3", "fire5", "fire8", "fire9"]
CORES: dict[str, dict[str, Any]] = {
    "one scale": {"taps": TAPS},
    "many planes": {
        "taps": ["conv1", "fire5", "fire9"],
        "spec": CoreSpec(scales=(0.5, 1, 2), context=(3, 6), blur=(48,), position=8),
    },
    "grey": {"taps": ["fire5"], "spec": CoreSpec(scales=(0.25,), pad=3), "channels": 1},
    "no image": {"taps": ["fire9"], "spec": CoreSpec(image=False)},
}


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return build_squeezenet(seed=0, resize=None)


def core_of(backbone: Backbone, name: str) -> CoreNetwork:
    about = CORES[name]
    return CoreNetwork(backbone, about["taps"], about.get("spec"), channels=about.get("channels"))


@pytest.mark.parametrize(("name", "activation"), [*((name, "relu") for name in CORES), ("one scale", "sigmoid")])
def test_exact_is_the_trained_parts_at_every_pixel(backbone: Backbone, name: str, activation: str) -> None:
    core = core_of(backbone, name)
    head = head_of(core, activation=activation)
    data = export_dense(core, head, mode="exact", metadata=metadata_of(core, "exact"))
    report = check_dense_parity(
        data, DenseReference(core, head), [image_of(61, 83, core.channels)], mode="exact", odd_sizes=ODD
    )
    assert report.max_difference <= 1e-4
    assert report.label_agreement is not None
    assert report.label_agreement > 0.9999
    assert report.pixels == 61 * 83 + 4 * sum(height * width for height, width in ODD)


@pytest.mark.slow
def test_exact_on_larger_images(backbone: Backbone) -> None:
    core = core_of(backbone, "one scale")
    head = head_of(core)
    data = export_dense(core, head, mode="exact", metadata=metadata_of(core, "exact"))
    assert check_dense_parity(data, DenseReference(core, head), [], mode="exact").pixels > 4 * 321 * 481


def test_a_head_without_hidden_layers(backbone: Backbone) -> None:
    core = core_of(backbone, "one scale")
    head = head_of(core, hidden=())
    data = export_dense(core, head, mode="exact", metadata=metadata_of(core, "exact"))
    assert check_dense_parity(data, DenseReference(core, head), [], mode="exact", batches=(1,), odd_sizes=ODD).ties == 0


def test_vgg_whose_cells_do_not_meet() -> None:
    core = CoreNetwork(build_vgg16(resize=None), CORE_TAPS)
    head = head_of(core, (8,))
    data = export_dense(core, head, mode="exact", metadata=metadata_of(core, "exact"))
    image = image_of(45, 70)
    expected = np.concatenate([values for _, values in DenseReference(core, head).values(image)])
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    label, probabilities = session.run(["label", "probabilities"], {"images": image[None]})
    powers = np.exp(expected - expected.max(axis=1, keepdims=True))
    difference = probabilities[0].reshape(5, -1).T - powers / powers.sum(axis=1, keepdims=True)
    assert np.abs(difference).max() < 1e-4
    assert (label.ravel() == expected.argmax(axis=1)).mean() > 0.999


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one scale", "many planes"])
def test_refined_keeps_the_labels_once_its_threshold_is_fitted(backbone: Backbone, name: str) -> None:
    core = core_of(backbone, name)
    head = head_of(core)
    image = image_of(97, 131)
    data = export_dense(core, head, mode="refined", metadata=metadata_of(core, "refined"), calibration=[image])
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (label,) = session.run(["label"], {"images": image[None]})
    expected = np.concatenate([values for _, values in DenseReference(core, head).values(image)]).argmax(axis=1)
    assert (label.ravel() == expected).mean() >= 0.9999
    assert len(np.unique(expected)) > 1, "an image of one label tells nothing"


def test_a_threshold_is_fitted_between_nothing_and_everything(backbone: Backbone) -> None:
    core = core_of(backbone, "one scale")
    head = head_of(core)
    assert fit_threshold(core, head, [image_of(97, 131)]) > 0


def test_fast_answers_nearly_the_same_and_parity_says_how_nearly(backbone: Backbone) -> None:
    core = core_of(backbone, "one scale")
    head = head_of(core)
    data = export_dense(core, head, mode="fast", metadata=metadata_of(core, "fast"))
    report = check_dense_parity(data, DenseReference(core, head), [image_of(97, 131)], mode="fast", odd_sizes=ODD)
    assert report.label_agreement is not None
    assert 0.5 < report.label_agreement <= 1
    assert report.max_difference <= 1e-4, "of the exact graph"


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_regression_gives_values(backbone: Backbone, mode: str) -> None:
    core = core_of(backbone, "grey")
    head = head_of(core, outputs=2)
    data = export_dense(core, head, mode=mode, metadata=metadata_of(core, mode, "dense_regression"))
    report = check_dense_parity(
        data, DenseReference(core, head), [image_of(40, 50, 1)], mode=mode, batches=(1,), odd_sizes=ODD
    )
    assert report.label_agreement is None
    assert report.mean_difference is not None


@pytest.mark.parametrize("mode", MODES)
def test_serving_lets_every_mode_in_and_tiles_answer_as_the_whole(
    backbone: Backbone, tmp_path: Path, mode: str
) -> None:
    core = core_of(backbone, "one scale")
    model = opened(export_dense(core, head_of(core), mode=mode, metadata=metadata_of(core, mode, tile=96)), tmp_path)
    image = image_of(150, 230)
    tiled = Scene(model, image, ("label", "probabilities")).run()
    whole = model.run(image[None])
    assert tiled["label"].shape == image.shape[:2]
    near = np.abs(tiled["probabilities"] - whole["probabilities"][0]).max(axis=0)
    # Where mode refined's threshold lies between two roundings, a block is looked at again on one side only.
    assert np.quantile(near, 1.0 if mode != "refined" else 0.999) < 1e-4
    assert (tiled["label"] == whole["label"][0]).mean() > 0.9999


def test_the_label_alone_needs_no_probabilities(backbone: Backbone, tmp_path: Path) -> None:
    core = core_of(backbone, "one scale")
    model = opened(export_dense(core, head_of(core), mode="exact", metadata=metadata_of(core, "exact")), tmp_path)
    image = image_of(30, 40)[None]
    both, alone = model.run(image), model.run(image, None, ("label",))
    np.testing.assert_array_equal(both["label"], alone["label"])
    assert list(alone) == ["label"]


def test_the_same_parts_give_the_same_bytes(backbone: Backbone) -> None:
    core = core_of(backbone, "many planes")
    first, second = (
        export_dense(core, head_of(core), mode="refined", metadata=metadata_of(core, "refined")) for _ in range(2)
    )
    assert first == second


def test_another_head_is_noticed_by_parity(backbone: Backbone) -> None:
    core = core_of(backbone, "one scale")
    head = head_of(core)
    data = export_dense(core, head, mode="exact", metadata=metadata_of(core, "exact"))
    head.layers_[0][1][:] += 0.1
    with pytest.raises(ParityError, match=r"made-up image of 1x1 .* row 0, column 0"):
        check_dense_parity(data, DenseReference(core, head), [], mode="exact")


def test_parts_that_do_not_fit_are_refused(backbone: Backbone) -> None:
    core = core_of(backbone, "one scale")
    good = metadata_of(core, "exact")
    with pytest.raises(UnknownNameError, match="dense mode"):
        export_dense(core, head_of(core), mode="quick", metadata=good)
    with pytest.raises(InputError, match="the metadata name 5"):
        export_dense(core, head_of(core, outputs=7), mode="exact", metadata=good)
    with pytest.raises(InputError, match="features"):
        export_dense(core, head_of(core_of(backbone, "grey")), mode="exact", metadata=good)
    values = metadata_of(core, "refined", "dense_regression")
    with pytest.raises(InputError, match="a regression is exported exact or fast"):
        export_dense(core, head_of(core), mode="refined", metadata=values)
