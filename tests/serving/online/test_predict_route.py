from __future__ import annotations

import base64
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import dense_case
import numpy as np
import pytest
import tiny_models
from online_case import DENSE_COLOURS, Running, encoded, png, serve_dense, serve_tiny
from PIL import Image

from drillcore.runtime.model.session import open_model
from drillcore.settings import Settings

Start = Callable[..., Running]


def test_one_image_is_answered_in_json(settings: Settings, start: Start) -> None:
    served = serve_tiny(settings, version=3)
    answer = start().predict(png(200))
    assert answer.status_code == 200
    found = answer.json()
    truth = tiny_models.expected_probabilities(np.full((9, 7, 1), 200, np.uint8))
    names = tiny_models.CLASSES
    assert (found["model"], found["version"], found["model_sha256"]) == ("tiny", 3, served.sha256)
    assert found["task"] == "classification"
    assert found["label"] == names[int(truth.argmax())]
    assert found["probability"] == pytest.approx(truth.max(), abs=1e-5)
    assert [item["label"] for item in found["top5"]] == [names[index] for index in np.argsort(-truth)]
    assert set(found["ms"]) == {"decode", "queue", "infer"}
    assert answer.headers["x-model-version"] == "3"


def test_a_model_that_may_not_be_sure_says_whether_it_is(settings: Settings, start: Start) -> None:
    serve_tiny(settings, abstain=tiny_models.UNSURE)
    server = start()
    for level in (200, 255, 120):
        found = server.predict(png(level)).json()
        assert found["answered"] is (found["probability"] >= 0.6)
    assert server.client.get("/api/models").json()["models"][0]["abstain"] == tiny_models.UNSURE
    schema = server.client.get("/openapi.json").json()["components"]["schemas"]["Answer"]["properties"]
    assert schema["answered"]["type"] == "boolean"


@pytest.mark.parametrize(("kind", "name"), [("image/jpeg", "JPEG"), ("image/webp", "WEBP"), ("image/bmp", "BMP")])
def test_other_formats(tiny_server: Running, kind: str, name: str) -> None:
    answer = tiny_server.predict(png(255, kind=name), **{"content-type": kind})
    assert answer.json()["label"] == "dark"  # the second class of the tiny model is the one of bright images


def test_several_files_in_a_form_one_of_them_damaged(settings: Settings, start: Start) -> None:
    serve_tiny(settings)
    whole = png(200)
    files = [("file", ("a.png", whole)), ("file", ("b.png", whole[:-30])), ("file", ("c.png", png(0)))]
    answer = start().client.post("/predict/tiny", files=files)
    assert answer.status_code == 200
    first, second, third = answer.json()["images"]
    assert (first["name"], first["label"], third["label"]) == ("a.png", "dark", "bright")
    assert (second["name"], second["reason"]) == ("b.png", "truncated")
    assert "label" not in second


def test_many_at_a_time_share_batches_and_keep_their_answers(settings: Settings, start: Start) -> None:
    serve_tiny(settings)
    server = start()
    levels = [0, 255] * 40
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda level: server.predict(png(level)).json(), levels))
    assert [item["label"] for item in found] == ["bright", "dark"] * 40
    assert max(item["batch"] for item in found) > 1


def test_dense_labels_as_json_mask_and_overlay(settings: Settings, start: Start) -> None:
    serve_dense(settings)
    server = start("dense")
    pixels = np.zeros((12, 20, 3), np.uint8)
    pixels[:, 15:] = 255
    image = encoded(pixels)
    found = server.predict(image, "dense").json()
    assert found["size"] == [12, 20]
    assert [(item["label"], item["share"], item["colour"]) for item in found["shares"]] == [
        ("dark", 0.75, DENSE_COLOURS[0]),
        ("light", 0.25, DENSE_COLOURS[1]),
    ]
    mask = server.predict(image, "dense", accept="image/png")
    assert mask.headers["content-type"] == "image/png"
    picture = Image.open(io.BytesIO(mask.content))
    assert picture.mode == "P"
    np.testing.assert_array_equal(np.asarray(picture), (pixels[:, :, 0] > 127).astype(np.uint8))
    np.testing.assert_array_equal(np.asarray(picture.convert("RGB"))[0, 0], DENSE_COLOURS[0])
    assert "infer;dur=" in mask.headers["server-timing"]
    overlay = server.client.post(
        "/predict/dense?opacity=1", content=image, headers={"content-type": "image/png", "accept": "image/jpeg"}
    )
    colours = np.asarray(Image.open(io.BytesIO(overlay.content))).astype(int)
    assert np.abs(colours[2, 2] - DENSE_COLOURS[0]).max() < 12
    with_mask = server.client.post("/predict/dense?mask=true", content=image, headers={"content-type": "image/png"})
    kind, _, text = with_mask.json()["mask"].partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(text) == mask.content


def test_labels_without_colours_get_different_ones(settings: Settings, start: Start) -> None:
    serve_dense(settings, colours=False)
    shares = start("dense").predict(png(0), "dense").json()["shares"]
    assert shares[0]["colour"] != shares[1]["colour"]


def test_dense_regression_is_a_grey_picture(settings: Settings, start: Start) -> None:
    serve_dense(settings, task="dense_regression")
    server = start("dense")
    pixels = np.full((5, 6, 3), 102, np.uint8)
    pixels[:2] = 51
    image = encoded(pixels)
    found = server.predict(image, "dense").json()["values"][0]
    assert found == {"min": pytest.approx(0.2), "max": pytest.approx(0.4), "mean": pytest.approx(0.32)}
    picture = Image.open(io.BytesIO(server.predict(image, "dense", accept="image/png").content))
    np.testing.assert_array_equal(np.asarray(picture)[:, 0], [0, 0, 255, 255, 255])
    values = Image.open(io.BytesIO(server.predict(image, "dense", accept="image/tiff").content))
    np.testing.assert_allclose(np.asarray(values)[:, 0], [0.2, 0.2, 0.4, 0.4, 0.4], atol=1e-6)
    assert server.predict(image, "dense", accept="image/jpeg").headers["content-type"] == "image/jpeg"


def test_what_speaks_for_a_class_is_red_in_an_overlay(tiny_server: Running) -> None:
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:, 32:] = 255
    image = encoded(pixels)
    found = tiny_server.client.post(
        "/predict/tiny?label=dark&opacity=1",  # the class of bright images
        content=image,
        headers={"content-type": "image/png", "accept": "image/jpeg"},
    )
    assert found.status_code == 200
    assert found.headers["content-type"] == "image/jpeg"
    shown = np.asarray(Image.open(io.BytesIO(found.content)).convert("RGB")).astype(int)
    assert shown.shape == (64, 64, 3)
    red = shown[..., 0] - shown[..., 2]
    assert red[:, 44:].mean() > red[:, :20].mean() + 2
    unknown = tiny_server.client.post(
        "/predict/tiny?label=nobody", content=image, headers={"content-type": "image/png", "accept": "image/jpeg"}
    )
    assert unknown.status_code == 404
    assert "no class 'nobody'" in unknown.json()["error"]


def test_scenes_larger_than_a_tile_are_answered_as_the_whole(settings: Settings, start: Start) -> None:
    served = dense_case.serve_dense(settings)
    name = served.model
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90)).astype(np.uint8)
    whole = open_model(served.path, threads=1).run(pixels[None, :, :, None], None, ("label",))["label"][0]
    answer = start(name).predict(encoded(pixels), name, accept="image/png")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), whole)


@pytest.mark.parametrize(
    ("model", "headers", "status", "word"),
    [
        ("tinny", {}, 404, "known: tiny"),
        ("tiny", {"accept": "image/png"}, 406, "application/json"),
        ("tiny", {"content-type": "text/html"}, 415, "text/html"),
        ("tiny", {"content-type": "multipart/form-data"}, 400, "boundary"),
        ("tiny", {"x-deadline-ms": "soon"}, 400, "X-Deadline-Ms"),
        ("tiny", {"content-encoding": "gzip"}, 415, "Content-Encoding"),
    ],
)
def test_what_cannot_be_answered(
    tiny_server: Running, model: str, headers: dict[str, str], status: int, word: str
) -> None:
    answer = tiny_server.predict(png(), model, **headers)
    assert answer.status_code == status
    assert word in answer.json()["error"]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty"), (b"no image", "format"), (png()[:-30], "truncated"), (b"%PDF-1.7..", "format")],
    ids=["empty", "text", "cut off", "gif"],
)
def test_what_is_no_image_says_why(tiny_server: Running, data: bytes, reason: str) -> None:
    answer = tiny_server.predict(data)
    assert (answer.status_code, answer.json()["reason"]) == (422, reason)


def test_images_smaller_than_the_model_takes(settings: Settings, start: Start) -> None:
    serve_tiny(settings, min_size=[8, 8])
    answer = start().predict(png(size=(9, 7)))
    assert (answer.status_code, answer.json()["reason"]) == (422, "too_small")


def test_a_request_id_comes_back_and_a_strange_one_does_not(tiny_server: Running) -> None:
    server = tiny_server
    assert server.predict(png(), **{"x-request-id": "job-17.a"}).headers["x-request-id"] == "job-17.a"
    assert server.predict(png(), **{"x-request-id": "a b\t<script>"}).headers["x-request-id"] != "a b\t<script>"
