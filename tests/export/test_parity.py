"""Parity: what it accepts of good exports, and that it notices every change of one."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from classifier_case import export, fitted, pictures

from drillcore.backbones.networks.grey_squeezenet import build_grey_squeezenet
from drillcore.backbones.networks.plankton_cnn import build_plankton_cnn
from drillcore.backbones.networks.squeezenet import build_squeezenet
from drillcore.errors import ParityError
from drillcore.export.assemble import rows_model
from drillcore.export.builder import GraphBuilder
from drillcore.export.parity import Reference, check_parity, odd_images
from drillcore.heads.softmax import SoftmaxHead


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("taps", [["layer3"], ["layer0", "layer2", "layer4"]])
def test_parity_of_taps_and_stores(taps: list[str], dtype: str) -> None:
    reference = fitted(build_plankton_cnn("cnn1", 3, seed=2), taps, dtype, trees=10)
    images, _ = pictures(1, 40, seed=9)
    report = check_parity(export(reference), reference, images)
    assert report.images == 48
    assert report.rows == 3 * 48
    assert report.max_difference <= 1e-4
    assert report.label_disagreements == 0
    assert json.loads(json.dumps(report.to_dict()))["batches"] == [1, 3, 64]


def test_parity_of_a_colour_backbone() -> None:
    backbone = build_squeezenet(seed=1, resize=(48, 56))
    reference = fitted(backbone, ["fire9"], trees=5)
    images, _ = pictures(3, 12, seed=4)
    assert check_parity(export(reference), reference, images).max_difference <= 1e-4


@pytest.mark.parametrize("views", [1, 8])
def test_parity_of_a_letterboxed_network_with_its_own_softmax(views: int) -> None:
    """Made-up images are among the compared: a pixel, lines, primes, smaller and larger than the input."""
    backbone = build_grey_squeezenet(units=3, seed=1, resize=(40, 40)).averaged(views)
    images, labels = pictures(1, 24, seed=5)
    bare = Reference(backbone, ["logits"], SoftmaxHead(), "float32")
    head = SoftmaxHead().fit(bare.activations(images), labels)
    reference = Reference(backbone, ["logits"], head, "float32")
    report = check_parity(export(reference), reference, images)
    assert report.max_difference <= 1e-4
    assert report.images == 24 + 8
    assert report.label_disagreements == 0


def altered(data: bytes, name: str, change) -> bytes:
    model = onnx.ModelProto.FromString(data)
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(onnx.numpy_helper.from_array(change(onnx.numpy_helper.to_array(tensor)), name))
            return model.SerializeToString()
    raise AssertionError(f"no {name} among {[tensor.name for tensor in model.graph.initializer]}")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("input/offset", lambda a: a + np.float32(0.02)),  # another mean
        ("input/scale", lambda a: a * np.float32(1.01)),
        ("resize/rows/odd", lambda a: a - 1),  # corners aligned otherwise
        ("resize/columns/target", lambda a: a + 1),
        ("backbone/stages.1.0.weight", lambda a: a * np.float32(1.001)),
        ("backbone/stages.0.0.bias", lambda a: a + np.float32(1e-3)),
        ("head/trees", lambda a: a + np.float32(1)),
    ],
)
def test_parity_notices_a_changed_constant(exported: bytes, trained: Reference, name: str, change) -> None:
    images, _ = pictures(1, 20, seed=3)
    with pytest.raises(ParityError) as caught:
        check_parity(altered(exported, name, change), trained, images)
    assert "\n" not in str(caught.value)


def test_parity_notices_a_missing_float16(trained: Reference) -> None:
    single = Reference(trained.backbone, trained.taps, trained.head, "float32")
    with pytest.raises(ParityError, match="does not store rows as float16"):
        check_parity(export(single), trained, pictures(1, 5)[0])


def test_parity_notices_a_resize_without_antialias(trained: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    from drillcore.export import graph

    plain = graph.write_preprocessing

    def blunt(builder: GraphBuilder, *rest: object) -> None:
        plain(builder, *rest)
        for node in builder.graph.node:
            if node.name.endswith("/wide"):  # the triangle is as wide as an output cell only
                node.op_type = "Min"

    monkeypatch.setattr("drillcore.export.assemble.write_preprocessing", blunt)
    with pytest.raises(ParityError, match="preprocessing or backbone"):
        check_parity(export(trained), trained, pictures(1, 5)[0])


def test_parity_notices_a_flipped_tree_and_names_the_image(exported: bytes, trained: Reference) -> None:
    model = onnx.ModelProto.FromString(exported)
    (ensemble,) = [node for node in model.graph.node if node.op_type == "TreeEnsembleRegressor"]
    (values,) = [item for item in ensemble.attribute if item.name == "target_weights"]
    values.floats[0] += 0.5
    images, _ = pictures(1, 70)
    with pytest.raises(ParityError, match=r"(shot\d+|made-up image).*no threshold explains it"):
        check_parity(model, trained, images, names=[f"shot{i}" for i in range(70)])


def test_rounding_over_a_threshold_is_proven_not_failed() -> None:
    """A threshold that lies on the very activations: rounding decides, and the proof has to find that."""
    reference = fitted(build_plankton_cnn("cnn1", 3, seed=1), ["layer3"], "float32", trees=3)
    images, _ = pictures(1, 30, seed=8)
    every = odd_images(1) + images
    ours = reference.activations(every)
    session = ort.InferenceSession(rows_model(onnx.ModelProto.FromString(export(reference))).SerializeToString())
    theirs = np.concatenate([session.run(["rows"], {"images": image[None]})[0] for image in every])
    where = np.argwhere(ours < theirs)
    assert len(where), "rounding left no trace at all on this machine"
    row, column = where[0]
    trees = reference.head.trees_
    root = int(trees.starts[0])
    trees.feature[root], trees.threshold[root] = column, ours[row, column]
    report = check_parity(export(reference), reference, images)
    other = np.abs(reference.probabilities(ours[[row]]) - reference.probabilities(theirs[[row]])).max()
    assert (report.crossings > 0) == (other > 1e-4)
