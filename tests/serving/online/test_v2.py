from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tiny_models
import tritonclient.http as triton
from online_case import Running, serve_dense, serve_tiny
from tritonclient.utils import InferenceServerException

from drillcore.settings import Settings

Start = Callable[..., Running]


def triton_client(server: Running) -> Any:
    return triton.InferenceServerClient(f"127.0.0.1:{server.port}")


def images_input(images: np.ndarray, binary: bool) -> Any:
    given = triton.InferInput("images", list(images.shape), "UINT8")
    given.set_data_from_numpy(images, binary_data=binary)
    return given


def test_health_and_metadata_through_a_published_client(settings: Settings, start: Start) -> None:
    serve_tiny(settings, version=3)
    client = triton_client(start())
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny", "3")
    assert not client.is_model_ready("tiny", "2")
    assert not client.is_model_ready("tinny")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data", "model_repository", "statistics"]
    found = client.get_model_metadata("tiny")
    assert (found["name"], found["versions"], found["platform"]) == ("tiny", ["3"], "onnxruntime_onnx")
    assert [(item["name"], item["datatype"], item["shape"]) for item in found["inputs"]] == [
        ("images", "UINT8", [-1, -1, -1, 1]),
        ("sizes", "INT32", [-1, 2]),
    ]
    assert [(item["name"], item["datatype"], item["shape"]) for item in found["outputs"]] == [
        ("label", "INT64", [-1]),
        ("probabilities", "FP32", [-1, 3]),
    ]
    assert found["parameters"]["providers"] == ["CPUExecutionProvider"]
    assert client.get_model_metadata("tiny", "3") == found
    with pytest.raises(InferenceServerException, match="known: 3"):
        client.get_model_metadata("tiny", "9")


@pytest.mark.parametrize("binary_in", [False, True])
@pytest.mark.parametrize("binary_out", [False, True])
def test_inference_through_a_published_client(tiny_server: Running, binary_in: bool, binary_out: bool) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 9, 7, 1)).astype(np.uint8)
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in ("probabilities", "label")]
    client = triton_client(tiny_server)
    answer = client.infer("tiny", [images_input(images, binary_in)], outputs=outputs, request_id="job 1")
    truth = np.stack([tiny_models.expected_probabilities(image) for image in images])
    np.testing.assert_allclose(answer.as_numpy("probabilities"), truth, atol=1e-5)
    np.testing.assert_array_equal(answer.as_numpy("label"), truth.argmax(axis=1))
    assert answer.as_numpy("label").dtype == np.int64
    found = answer.get_response()
    assert (found["model_name"], found["model_version"], found["id"]) == ("tiny", "1", "job 1")
    assert [item["name"] for item in found["outputs"]] == ["probabilities", "label"]


def test_all_outputs_come_unless_some_are_asked_for(tiny_server: Running) -> None:
    client = triton_client(tiny_server)
    images = np.full((1, 4, 4, 1), 200, np.uint8)
    both = client.infer("tiny", [images_input(images, True)])
    assert both.as_numpy("label").tolist() == [1]
    assert both.as_numpy("probabilities").shape == (1, 3)
    one = client.infer("tiny", [images_input(images, True)], outputs=[triton.InferRequestedOutput("label")])
    assert one.as_numpy("probabilities") is None


def test_index_and_statistics(settings: Settings, start: Start) -> None:
    serve_tiny(settings)
    client = triton_client(start("tiny"))
    assert client.get_model_repository_index() == [{"name": "tiny", "version": "1", "state": "READY", "reason": ""}]
    before = client.get_inference_statistics("tiny")["model_stats"]
    assert before == [{"name": "tiny", "version": "1", "inference_count": 0, "execution_count": 0}]
    client.infer("tiny", [images_input(np.full((3, 4, 4, 1), 200, np.uint8), True)])
    (after,) = client.get_inference_statistics("tiny", "1")["model_stats"]
    assert after["inference_count"] == 3
    assert 1 <= after["execution_count"] <= 3


def test_sizes_cut_images_from_their_canvas(tiny_server: Running) -> None:
    canvas = np.full((2, 8, 8, 1), 255, np.uint8)
    canvas[1, 3:], canvas[1, :, 5:] = 7, 9  # beyond the size: of no account
    canvas[1, :3, :5] = 100
    sizes = triton.InferInput("sizes", [2, 2], "INT32")
    sizes.set_data_from_numpy(np.array([[8, 8], [3, 5]], np.int32))
    answer = triton_client(tiny_server).infer("tiny", [images_input(canvas, True), sizes])
    truth = [tiny_models.expected_probabilities(np.full((1, 1, 1), level)) for level in (255, 100)]
    np.testing.assert_allclose(answer.as_numpy("probabilities"), truth, atol=1e-5)


def test_more_images_than_a_batch_holds(tiny_server: Running) -> None:
    images = np.arange(100, dtype=np.uint8).repeat(16).reshape(100, 4, 4, 1)
    answer = triton_client(tiny_server).infer("tiny", [images_input(images, True)])
    truth = [tiny_models.expected_probabilities(image) for image in images]
    np.testing.assert_allclose(answer.as_numpy("probabilities"), truth, atol=1e-5)


def test_dense_outputs(settings: Settings, start: Start) -> None:
    serve_dense(settings)
    client = triton_client(start("dense"))
    assert [item["shape"] for item in client.get_model_metadata("dense")["outputs"]] == [
        [-1, -1, -1],
        [-1, 2, -1, -1],
    ]
    images = np.random.default_rng(0).integers(0, 256, (3, 6, 8, 3)).astype(np.uint8)
    plain = client.infer("dense", [images_input(images, True)])
    np.testing.assert_array_equal(plain.as_numpy("label"), images.mean(axis=3) > 127.5)
    assert plain.as_numpy("probabilities") is None  # computed only when asked for
    asked = client.infer("dense", [images_input(images, True)], outputs=[triton.InferRequestedOutput("probabilities")])
    np.testing.assert_allclose(asked.as_numpy("probabilities")[:, 1], images.mean(axis=3) / 255, atol=1e-6)


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "images", "shape": [1, 2, 2, 1], "datatype": "UINT8", "data": [0, 1, 2, 3]} | changes


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"{", "not JSON"),
        (b"[]", "JSON object"),
        (b"\xff\xfe", "not JSON"),
        (b'{"inputs": [' + b"[" * 100_000, "not JSON"),
        (b'{"inputs": [{"name": "images", "shape": [1], "datatype": "UINT8", "data": [NaN]}]}', "not JSON"),
        ({}, "inputs: a list"),
        ({"inputs": {}}, "inputs: a list"),
        ({"inputs": [1]}, "an input must be a JSON object"),
        ({"inputs": [{"shape": [1], "datatype": "UINT8"}]}, "known: images, sizes"),
        ({"inputs": [tensor(name=["images"])]}, "known: images, sizes"),
        ({"inputs": [tensor(parameters=[])]}, "parameters must be a JSON object"),
        ({"inputs": [tensor(parameters={"binary_data_size": "4"})]}, "binary_data_size"),
        ({"inputs": [tensor(parameters={"binary_data_size": 3}) | {"data": None}]}, "both"),
        ({"inputs": [tensor()], "parameters": 1}, "parameters must be a JSON object"),
        ({"inputs": [tensor()], "parameters": {"binary_data_output": 1}}, "binary_data_output must be true or false"),
        ({"inputs": [tensor()], "outputs": {}}, "outputs: a list"),
        ({"inputs": [tensor()], "outputs": ["label"]}, "an output must be a JSON object"),
        ({"inputs": [tensor()], "outputs": [{"name": 5}]}, "an output needs a name"),
        ({"inputs": [tensor()], "outputs": [{"name": "label"}] * 65}, "outputs: a list"),
        ({"inputs": [tensor()], "outputs": [{"name": "label", "parameters": {"binary_data": None}}]}, "true or false"),
        ({"inputs": [tensor()], "id": "x" * 201}, "200 characters"),
        ({"inputs": []}, "missing"),
        ({"inputs": [tensor(name="pixels")]}, "unknown input 'pixels'; known: images, sizes"),
        ({"inputs": [tensor(datatype="FP32")]}, "has the datatype 'FP32'; UINT8 is"),
        ({"inputs": [tensor(shape=[1, 2, 2])]}, "a shape of 4 numbers"),
        ({"inputs": [tensor(shape=[1, 2, 2, 0])]}, "shape"),
        ({"inputs": [tensor(shape=[1, 2, 2, True])]}, "shape"),
        ({"inputs": [tensor(shape=[1, 2**40, 2, 1])]}, "shape"),
        ({"inputs": [tensor(shape=[1, 2, 2, 3])]}, "12 whole numbers"),
        ({"inputs": [tensor(shape=[1, 2, 1, 1], data=[1, 2, 3])]}, "2 whole numbers"),
        ({"inputs": [tensor(data=[0, 1, 2, 256])]}, "255"),
        ({"inputs": [tensor(data=[0, 1, 2, -1])]}, "255"),
        ({"inputs": [tensor(data=[0, 1, 2, 0.5])]}, "whole numbers"),
        ({"inputs": [tensor(data=[0, 1, 2, "3"])]}, "whole numbers"),
        ({"inputs": [tensor(data=[True, False, True, False])]}, "whole numbers"),
        ({"inputs": [tensor(data=[[0, 1], [2]])]}, "unevenly"),
        ({"inputs": [tensor(data="0123")]}, "list of numbers"),
        ({"inputs": [tensor(), tensor()]}, "twice"),
        ({"inputs": [tensor(parameters={"binary_data_size": 4})]}, "both"),
        ({"inputs": [tensor()], "outputs": [{"name": "logits"}]}, "known: label, probabilities"),
        ({"inputs": [tensor()], "outputs": [{}]}, "name"),
        ({"inputs": [tensor()], "outputs": [{"name": "label", "parameters": {"classification": 2}}]}, "classification"),
        ({"inputs": [tensor()], "id": 7}, "id"),
        ({"inputs": [tensor(shape=[1, 2, 1, 2])]}, "channels"),
        ({"inputs": [tensor(), {"name": "sizes", "shape": [1, 2], "datatype": "INT32", "data": [3, 2]}]}, "canvas"),
        ({"inputs": [tensor(), {"name": "sizes", "shape": [2, 2], "datatype": "INT32", "data": [1] * 4}]}, "[1, 2]"),
    ],
    ids=lambda value: str(value)[:60] if not isinstance(value, str) else value,
)
def test_requests_that_do_not_fit_are_errors_of_the_protocol(tiny_server: Running, body: Any, word: str) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = tiny_server.client.post("/v2/models/tiny/infer", content=data)
    assert answer.status_code == 400
    assert word in answer.json()["error"]


@pytest.mark.parametrize("length", ["-1", "9999999", "x", "99999999999999999999"])
def test_a_length_of_the_header_that_does_not_fit(tiny_server: Running, length: str) -> None:
    answer = tiny_server.client.post(
        "/v2/models/tiny/infer", content=b"{}", headers={"Inference-Header-Content-Length": length}
    )
    assert (answer.status_code, "error" in answer.json()) == (400, True)


def test_binary_data_that_is_short_or_left_over(tiny_server: Running) -> None:
    item = {"name": "images", "shape": [1, 2, 2, 1], "datatype": "UINT8", "parameters": {"binary_data_size": 4}}
    head = json.dumps({"inputs": [item]}).encode()
    for tail, status in ((b"1234", 200), (b"123", 400), (b"12345", 400)):
        answer = tiny_server.client.post(
            "/v2/models/tiny/infer",
            content=head + tail,
            headers={"Inference-Header-Content-Length": str(len(head))},
        )
        assert answer.status_code == status


@pytest.mark.parametrize("binary", [False, True])
def test_outputs_larger_than_the_server_holds_are_refused_before_they_are_computed(
    settings: Settings, start: Start, monkeypatch: pytest.MonkeyPatch, binary: bool
) -> None:
    serve_dense(settings)
    pixels = np.zeros((1, 200, 300, 3), np.uint8)
    server = start("dense", max_memory=400_000 if binary else 2**30, max_json=100_000)
    tensor = {"name": "images", "datatype": "UINT8", "shape": list(pixels.shape)}
    tensor["parameters"] = {"binary_data_size": pixels.nbytes}

    def ask(name: str) -> Any:
        request = {"inputs": [tensor], "outputs": [{"name": name, "parameters": {"binary_data": binary}}]}
        text = json.dumps(request).encode()
        headers = {"inference-header-content-length": str(len(text))}
        return server.client.post("/v2/models/dense/infer", content=text + pixels.tobytes(), headers=headers)

    if binary:
        assert ask("label").status_code == 200
    monkeypatch.setattr(server.server.service.shelf.get("dense").model, "run", None)
    refused = ask("probabilities")
    assert (refused.status_code, refused.json()["reason"]) == (413, "too_large")
    assert ("binary" in refused.json()["error"]) == (not binary)
