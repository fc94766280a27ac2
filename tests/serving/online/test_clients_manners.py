"""Requests as the clients there are send them: HEAD, slashes, media types, names of files; what strangers are told."""

from __future__ import annotations

import logging
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dense_case
import numpy as np
import pytest
from online_case import Running, encoded, png, serve_dense, serve_tiny

from drillcore.settings import Settings
from drillcore_serving.online.json_lines import LOGGER

Start = Callable[..., Running]
KEY = "a-key-of-the-manners-0123"
GETS = (
    "/",
    "/docs",
    "/docs.css",
    "/openapi.json",
    "/static/app.js",
    "/metrics",
    "/api/models",
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/tiny",
    "/v2/models/tiny/ready",
    "/v2/models/tiny/versions/1",
    "/nothing",
)


@pytest.mark.parametrize("path", GETS)
def test_head_wherever_get(tiny_server: Running, path: str) -> None:
    head, get = tiny_server.client.head(path), tiny_server.client.get(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


def test_head_where_there_is_no_get(tiny_server: Running) -> None:
    assert tiny_server.client.head("/predict/tiny").status_code == 405
    assert tiny_server.client.post("/v2/health/live").headers["allow"] == "GET, HEAD"
    options = tiny_server.client.options("/predict/tiny")
    assert (options.status_code, options.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("image/jpeg", 200),
        ("image/jpg", 200),
        ("image/pjpeg", 200),
        ("IMAGE/JPEG; q=1", 200),
        ("image/x-unknown", 200),
        ("application/octet-stream", 200),
        ("binary/octet-stream", 200),
        ("application/x-www-form-urlencoded", 200),  # what curl --data-binary says
        ("", 200),
        ("image/gif", 200),
        ("text/plain", 415),
        ("application/json", 415),
    ],
)
def test_the_content_decides_not_what_it_is_called(tiny_server: Running, kind: str, status: int) -> None:
    headers = {"content-type": kind} if kind else {}
    answer = tiny_server.client.post("/predict/tiny", content=png(kind="JPEG"), headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.tif", "x", "x.txt", "../x.webp"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_an_image_in_a_form_may_have_any_name(tiny_server: Running, name: str, kind: str) -> None:
    answer = tiny_server.client.post("/predict/tiny", files={"file": (name, png(kind=kind))})
    assert answer.json()["images"][0]["label"] == "bright"


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/vnd.x+json; charset=UTF-8", ""])
def test_v2_whatever_its_json_is_called(tiny_server: Running, kind: str) -> None:
    text = '{"id":null,"inputs":[{"name":"images","datatype":"UINT8","shape":[1,2,2,1],"data":[0,255,255,0]}]}'
    headers = {"content-type": kind} if kind else {}
    answer = tiny_server.client.post("/v2/models/tiny/infer", content=text, headers=headers)
    assert answer.status_code == 200
    assert "id" not in answer.json()


@pytest.mark.parametrize("path", ["/v2/health/live/", "/v2/", "/docs/", "/v2/models/tiny/"])
def test_a_slash_at_the_end_says_nothing(tiny_server: Running, path: str) -> None:
    assert tiny_server.client.get(path).status_code == 200
    assert tiny_server.client.post("/predict/tiny/", content=png()).status_code == 200


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/", "/v2/health/ready", "/nothing"])
def test_who_has_no_key_learns_no_name(settings: Settings, start: Start, path: str) -> None:
    serve_tiny(settings)
    served = dense_case.serve_dense(settings)
    server = start("tiny", served.model, api_keys=(KEY,))
    for method in ("GET", "HEAD", "POST"):
        answer = server.client.request(method, path)
        assert "tiny" not in answer.text + str(answer.headers)
    assert server.client.get("/predict/tiny").status_code == server.client.get("/predict/none").status_code == 401
    with_key = server.client.get("/openapi.json", headers={"x-api-key": KEY}).text
    assert f'"enum":["tiny","{served.model}"]' in with_key


@pytest.mark.parametrize("models", [("tiny",), ("dense",), ("tiny", "dense"), ("dense", "tiny")])
def test_the_examples_of_the_page_of_docs_run(
    settings: Settings, start: Start, tmp_path: Path, models: tuple[str, ...]
) -> None:
    serve_tiny(settings)
    serve_dense(settings)
    server = start(*models)
    for name, kind in (("image.jpg", "JPEG"), ("image.png", "PNG")):
        (tmp_path / name).write_bytes(png(150, (40, 60), kind))
    page = server.client.get("/docs").text.replace("&#x27;", "'")
    assert "NAME-OF" not in page
    assert "plankton" not in page
    asked = re.findall(r"curl [^<\n]*", page)
    assert len(asked) == (4 if "dense" in models else 2)
    for command in asked:
        ours = command.replace("curl ", "curl --silent --show-error --fail ", 1)
        done = subprocess.run(["bash", "-c", ours], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stderr)
    document = server.client.get("/openapi.json").json()
    example = document["paths"]["/v2/models/{model}/infer"]["post"]["requestBody"]["content"]["application/json"]
    (model,) = {
        item["example"]
        for item in document["paths"]["/v2/models/{model}/infer"]["post"]["parameters"]
        if item["name"] == "model"
    }
    answer = server.client.post(f"/v2/models/{model}/infer", json=example["example"])
    assert answer.status_code == 200, answer.text
    assert server.client.get("/docs", headers={"host": "localhost"}).text.count("localhost/predict") == len(asked)


ENGINE = (
    "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Abs node. "
    "Name:'resize/columns/distance' Status "
    "Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:360 void* Failed to allocate memory"
)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (ENGINE, 503),
        ("std::bad_alloc", 503),
        ("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : /a/b.cc:1 Gather node 'x/y' indices out of bounds", 400),
    ],
)
def test_errors_of_the_engine_stay_in_the_log(
    settings: Settings, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: Any, text: str, status: int
) -> None:
    serve_tiny(settings)
    server = start()
    session = server.server.service.shelf.get("tiny").model._session

    class Failing:
        def run(self, *_: object) -> None:
            raise RuntimeError(text)

        def __getattr__(self, name: str) -> Any:
            return getattr(session, name)

    logging.getLogger(LOGGER).propagate = True
    monkeypatch.setattr(server.server.service.shelf.get("tiny").model, "_session", Failing())
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 2, 2, 1], "data": [0, 1, 2, 3]}
    for answer in (
        server.predict(png()),
        server.client.post("/predict/tiny", files={"file": ("a.png", encoded(np.zeros((4, 4), np.uint8)))}),
        server.client.post("/v2/models/tiny/infer", json={"inputs": [tensor]}),
    ):
        assert answer.status_code == status
        for secret in ("onnx", "ONNX", "node", "Abs", "resize", ".cc", "/", "alloc"):
            assert secret not in answer.json()["error"]
        assert ("retry-after" in answer.headers) == (status == 503)
    monkeypatch.undo()
    assert server.predict(png()).status_code == 200
