"""Exported classifiers: their contract, the same bytes each time, opened by anyone, nodes as numpy and torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from classifier_case import CLASSES, export, metadata_for, pictures
from onnx import helper

from drillcore.backbones.networks.plankton_cnn import build_plankton_cnn
from drillcore.backbones.networks.squeezenet import build_squeezenet
from drillcore.backbones.preprocessing import prepare, preprocessing_of
from drillcore.digests import sha256_bytes
from drillcore.errors import InputError, UnknownNameError
from drillcore.export.assemble import build_classifier, head_writer
from drillcore.export.backbone import write_backbone
from drillcore.export.builder import GraphBuilder
from drillcore.export.graph import write_preprocessing
from drillcore.export.parity import Reference, odd_images
from drillcore.runtime.batch.planning import pad_batch
from drillcore.runtime.model.safety import check_model_bytes
from drillcore.runtime.model.session import open_model


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_the_contract(exported: bytes) -> None:
    model = check_model_bytes(exported)
    assert {item.domain: item.version for item in model.opset_import} == {"": 20, "ai.onnx.ml": 3}
    assert [item.name for item in model.graph.input] == ["images", "sizes"]
    assert [item.name for item in model.graph.output] == ["label", "probabilities"]
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert model.ir_version == 10
    assert b"/work" not in exported
    assert b".py" not in exported


def test_two_exports_give_the_same_bytes(exported: bytes, trained: Reference) -> None:
    assert export(trained) == exported


@pytest.mark.slow
def test_another_process_gives_the_same_bytes(exported: bytes, tmp_path: Path) -> None:
    code = (
        "import torch; torch.set_num_threads(1); "
        "from classifier_case import export, fitted; from drillcore.digests import sha256_bytes; "
        "from drillcore.backbones.networks.plankton_cnn import build_plankton_cnn as build; "
        "print(sha256_bytes(export(fitted(build('cnn1', 3, seed=1), ['layer3']))))"
    )
    cases = str(Path(__file__).parents[1] / "cases")
    command, environment = [sys.executable, "-c", code], os.environ | {"PYTHONPATH": cases}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment)
    found = done.stdout.strip()
    assert found == sha256_bytes(exported)


def test_plain_onnxruntime_is_enough(exported: bytes, trained: Reference, tmp_path: Path) -> None:
    from PIL import Image

    images, _ = pictures(1, 1, seed=5)
    Image.fromarray(images[0][:, :, 0]).save(tmp_path / "one.png")
    (tmp_path / "model.onnx").write_bytes(exported)
    # What a stranger writes, without drillcore:
    session = ort.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["drillcore"])
    pixels = np.asarray(Image.open(tmp_path / "one.png").convert("L"))[None, :, :, None]
    label, probabilities = session.run(["label", "probabilities"], {"images": pixels})
    answer = about["classes"][label[0]], float(probabilities[0, label[0]])
    # The same, by hand:
    rows = trained.stored(trained.activations(images))
    expected = trained.head.predict_proba(rows)[0]
    assert answer == (CLASSES[expected.argmax()], pytest.approx(expected.max(), abs=1e-6))
    assert (label.dtype, probabilities.dtype, probabilities.shape) == (np.int64, np.float32, (1, 3))


def test_opens_with_the_safe_runtime(exported: bytes, trained: Reference, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(exported)
    model = open_model(tmp_path / "model.onnx", threads=1)
    images, _ = pictures(1, 9, seed=2)
    answer = model.classify(images)
    expected = trained.head.predict_proba(trained.stored(trained.activations(images)))
    np.testing.assert_allclose(answer.probabilities, expected, atol=1e-6)
    np.testing.assert_array_equal(answer.label, expected.argmax(axis=1))
    assert model.metadata.classes == CLASSES


def test_without_sizes_the_canvas_is_the_image(exported: bytes) -> None:
    session = ort.InferenceSession(exported, providers=["CPUExecutionProvider"])
    canvas = np.random.default_rng(0).integers(0, 256, (4, 21, 33, 1)).astype(np.uint8)
    whole = np.tile(np.array([[21, 33]], np.int32), (4, 1))
    (plain,) = session.run(["probabilities"], {"images": canvas})
    (sized,) = session.run(["probabilities"], {"images": canvas, "sizes": whole})
    (zeros,) = session.run(["probabilities"], {"images": canvas, "sizes": np.zeros((4, 2), np.int32)})
    np.testing.assert_array_equal(plain, sized)
    np.testing.assert_array_equal(plain, zeros)


def test_padding_is_not_looked_at(exported: bytes) -> None:
    session = ort.InferenceSession(exported, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    canvas = rng.integers(0, 256, (3, 30, 40, 1)).astype(np.uint8)
    sizes = np.array([[30, 40], [7, 40], [12, 5]], np.int32)
    dirty, clean = canvas.copy(), canvas.copy()
    clean[1, 7:] = clean[2, 12:] = clean[2, :, 5:] = 0
    a, b = (session.run(["probabilities"], {"images": x, "sizes": sizes})[0] for x in (dirty, clean))
    np.testing.assert_array_equal(a, b)


def test_letterbox_nodes_answer_as_numpy() -> None:
    """Any background, any shape of input, grey or colour; images of many sizes on one canvas."""
    for channels, size in ((1, (40, 40)), (3, (33, 48)), (1, (48, 20))):
        rule = preprocessing_of(size, [0.01] * channels, [-0.5] * channels, letterbox=90.0, sizes=True)
        model = onnx.ModelProto(ir_version=10)
        model.opset_import.append(helper.make_opsetid("", 20))
        model.graph.name = "preprocessing"
        model.graph.input.append(helper.make_tensor_value_info("images", 2, ["N", "H", "W", channels]))
        model.graph.input.append(helper.make_tensor_value_info("sizes", 6, ["M", 2]))
        model.graph.output.append(helper.make_tensor_value_info("x", 1, ["N", channels + 2, *size]))
        builder = GraphBuilder(model.graph)
        builder.constant("sizes", [[0, 0]], np.int32)
        write_preprocessing(builder, rule, "x")
        onnx.checker.check_model(model, full_check=True)
        session = ort.InferenceSession(model.SerializeToString())
        images = odd_images(channels)
        canvas, sizes = pad_batch(images)
        (found,) = session.run(None, {"images": canvas, "sizes": sizes})
        expected = np.stack([prepare(image, rule) for image in images])
        np.testing.assert_allclose(found, expected, atol=2e-6)
        for image, wanted in zip(images, expected, strict=True):  # without sizes the canvas is the image
            np.testing.assert_allclose(session.run(None, {"images": image[None]})[0][0], wanted, atol=2e-6)


@pytest.mark.parametrize(
    ("build", "taps"),
    [
        (lambda: build_plankton_cnn("cnn2", 4, seed=3), ["layer1", "layer6"]),
        (lambda: build_squeezenet(seed=3, resize=(50, 43)), ["conv1", "fire4", "fire9"]),
    ],
)
def test_backbone_nodes_answer_as_torch(build, taps: list[str]) -> None:
    backbone = build()
    model = onnx.ModelProto(ir_version=10)
    model.opset_import.append(helper.make_opsetid("", 20))
    model.graph.name = "backbone"
    model.graph.input.append(helper.make_tensor_value_info("x", 1, ["N", backbone.channels, *backbone.resize]))
    model.graph.output.append(helper.make_tensor_value_info("rows", 1, ["N", backbone.flat_width(taps)]))
    write_backbone(GraphBuilder(model.graph), backbone, taps, "x", "rows")
    onnx.checker.check_model(model, full_check=True)
    x = torch.randn(5, backbone.channels, *backbone.resize, generator=torch.Generator().manual_seed(0))
    (rows,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x.numpy()})
    np.testing.assert_allclose(rows, backbone.rows(x, taps).numpy(), atol=2e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["a", "b"]}, "knows 3 classes"),
        ({"task": "dense_labels"}, "a classifier is expected"),
        ({"weights_sha256": "f" * 64}, "weights digest"),
        ({"input": {"channels": 1, "resize": [9, 9], "preprocessing": {}}}, "input_contract"),
    ],
)
def test_parts_that_do_not_fit(trained: Reference, change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        export(trained, **change)


def test_unknown_parts(trained: Reference) -> None:
    metadata = metadata_for(trained.backbone)
    with pytest.raises(InputError, match="the taps give 768"):
        build_classifier(trained.backbone, ["layer2"], trained.head, dtype="float16", metadata=metadata)
    with pytest.raises(UnknownNameError, match="tap of cnn1"):
        build_classifier(trained.backbone, ["layer9"], trained.head, dtype="float16", metadata=metadata)
    with pytest.raises(InputError, match="float16, float32"):
        build_classifier(trained.backbone, ["layer3"], trained.head, dtype="int8", metadata=metadata)
    with pytest.raises(UnknownNameError, match="unknown head"):
        head_writer("svm")
    with pytest.raises(InputError, match="no input size"):
        write_backbone(GraphBuilder(onnx.GraphProto()), build_squeezenet(resize=None), ["fire9"], "x", "y")
