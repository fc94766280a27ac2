"""Keys, origins, hosts, ids and headers: what stands before every route."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from online_case import Running, png, serve_tiny, until

from drillcore.errors import InputError
from drillcore.settings import Settings
from drillcore_serving.online.door import auth
from drillcore_serving.online.door.auth import ApiKeys, read_keys
from drillcore_serving.online.json_lines import LOGGER, JsonLines
from drillcore_serving.online.options import BatchLimits, ServeOptions

Start = Callable[..., Running]
KEYS = ("first-key-0123456789", "second-key-0123456789")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"x-api-key": KEYS[0]}, 200),
        ({"x-api-key": KEYS[1]}, 200),
        ({"authorization": f"Bearer {KEYS[1]}"}, 200),
        ({"authorization": f"bearer {KEYS[0]}"}, 200),
        ({"authorization": f"Basic {KEYS[0]}"}, 401),
        ({"x-api-key": KEYS[0][:-1]}, 401),
        ({"x-api-key": KEYS[0] + "0"}, 401),
        ({"x-api-key": ""}, 401),
    ],
)
def test_any_of_the_keys_opens(settings: Settings, start: Start, headers: dict[str, str], status: int) -> None:
    serve_tiny(settings)
    server = start(api_keys=KEYS)
    answer = server.predict(png(), **headers)
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for path in ("/api/models", "/metrics", "/v2/models/tiny", "/v2"):
        assert server.client.get(path, headers=headers).status_code == status, path
    for path in ("/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json"):
        assert server.client.get(path).status_code == 200, path


def test_every_key_is_compared_whichever_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    real = auth.hmac.compare_digest

    def counting(one: bytes, other: bytes) -> bool:
        compared.append(len(one))
        return real(one, other)

    monkeypatch.setattr(auth.hmac, "compare_digest", counting)
    keys = ApiKeys(KEYS)
    assert [keys.allows(key) for key in (KEYS[0], KEYS[1], "x" * 1000)] == [True, True, False]
    assert compared == [32] * 6  # digests, whose length tells nothing


def test_keys_from_file_and_environment(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# of the lab\n{KEYS[0]}\n\n  {KEYS[1]}  \n")
    assert read_keys(file, {}) == KEYS
    assert read_keys(None, {auth.KEYS_VARIABLE: f"{KEYS[1]}, {KEYS[0]}"}) == KEYS[::-1]
    assert read_keys(None, {}) == ()
    for content in ("", "# of nobody\n", "short\n", "one with spaces in it\n", "ein-schlüssel-mit-umlaut\n"):
        file.write_text(content)
        with pytest.raises(InputError) as caught:
            read_keys(file, {})
        assert content.strip() == "" or content.strip() not in str(caught.value)
    assert not ApiKeys(KEYS).allows("schlüssel")
    with pytest.raises(InputError, match="cannot be read"):
        read_keys(tmp_path / "none", {})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org"])  # noqa: S104
def test_beyond_loopback_only_with_keys(host: str) -> None:
    with pytest.raises(InputError, match="API keys"):
        ServeOptions(host=host)
    assert ServeOptions(host=host, api_keys=KEYS).host == host
    with pytest.raises(InputError, match="every page"):
        ServeOptions(cors_origins=("*",))
    with pytest.raises(InputError, match="batch"):
        BatchLimits(batch=0)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_without_keys_other_names_of_this_machine_are_refused(tiny_server: Running, host: str) -> None:
    answer = tiny_server.client.get("/api/models", headers={"host": host or "x"})
    assert answer.status_code == 421


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1", "[::1]:80", "[::1]"])
def test_names_of_loopback_are_not(tiny_server: Running, host: str) -> None:
    assert tiny_server.client.get("/api/models", headers={"host": host}).status_code == 200


def test_cors_is_closed_by_default(tiny_server: Running) -> None:
    origin = {"origin": "https://elsewhere.example"}
    plain = tiny_server.client.get("/api/models", headers=origin)
    preflight = tiny_server.client.options("/predict/tiny", headers=origin | {"access-control-request-method": "POST"})
    for answer in (plain, preflight):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert preflight.status_code == 405


def test_cors_opens_for_named_origins(settings: Settings, start: Start) -> None:
    serve_tiny(settings)
    server = start(cors_origins=("https://lab.example",), api_keys=KEYS)
    asked = {"origin": "https://lab.example", "access-control-request-method": "POST"}
    preflight = server.client.options("/predict/tiny", headers=asked)
    assert preflight.headers["access-control-allow-origin"] == "https://lab.example"
    other = server.client.options("/predict/tiny", headers=asked | {"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers
    answer = server.predict(png(), **{"origin": "https://lab.example", "x-api-key": KEYS[0]})
    assert answer.headers["access-control-allow-origin"] == "https://lab.example"
    refused = server.predict(png(), origin="https://lab.example")
    assert refused.status_code == 401


def test_browsers_are_told_to_load_nothing_from_elsewhere(tiny_server: Running) -> None:
    for path in ("/docs", "/api/models", "/nothing"):
        headers = tiny_server.client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
    page = tiny_server.client.get("/docs").text
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("GET", "/predict/tiny", 405)])
def test_errors_of_routing_are_json(tiny_server: Running, method: str, path: str, status: int) -> None:
    answer = tiny_server.client.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "request_id"}


def test_parameters_that_do_not_fit_are_json(tiny_server: Running) -> None:
    answer = tiny_server.client.post("/predict/tiny?opacity=7", content=png())
    assert answer.status_code == 422
    assert "opacity" in answer.json()["error"]


def test_an_error_of_the_server_names_a_request_id_only(
    settings: Settings, start: Start, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    serve_tiny(settings)
    server = start()
    lines: list[dict[str, object]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(JsonLines().format(record)))

    logger, handler = logging.getLogger(LOGGER), Keep()
    monkeypatch.setattr(logger, "handlers", [handler])
    request.addfinalizer(partial(logger.setLevel, logger.level))
    logger.setLevel(logging.INFO)

    def broken(*_: object) -> None:
        raise OSError(f"secret path {settings.root}")

    loaded = server.server.service.shelf.get("tiny")
    monkeypatch.setattr(type(loaded.model), "run", broken)
    answer = server.predict(png(), **{"x-request-id": "job-9"})
    assert answer.status_code == 500
    assert answer.json() == {
        "error": "an error of the server; its log has it under the request id job-9",
        "request_id": "job-9",
    }
    until(lambda: any(line["event"] == "request" for line in lines))
    [line] = [line for line in lines if line["event"] == "error"]
    assert (line["request_id"], line["level"]) == ("job-9", "error")
    assert "secret path" in str(line["trace"])
    [line] = [line for line in lines if line["event"] == "request"]
    assert (line["status"], line["model"], line["version"]) == (500, "tiny", 1)


def test_metrics_count_requests_batches_and_versions(settings: Settings, start: Start) -> None:
    served = serve_tiny(settings, 7)
    server = start()
    for _ in range(3):
        server.predict(png())
    server.predict(b"no image")
    server.predict(png(), "tinny")
    text = server.client.get("/metrics").text
    for line in (
        'drillcore_requests_total{model="tiny",route="/predict/{model}",status="200"} 3.0',
        'drillcore_requests_total{model="tiny",route="/predict/{model}",status="422"} 1.0',
        'drillcore_requests_total{model="",route="/predict/{model}",status="404"} 1.0',
        'drillcore_images_total{model="tiny"} 3.0',
        'drillcore_images_refused_total{model="tiny",reason="format"} 1.0',
        'drillcore_batch_images_count{model="tiny"} 3.0',
        'drillcore_queue_images{model="tiny"} 0.0',
        'drillcore_model_version{model="tiny"} 7.0',
        f'sha256="{served.sha256}"',
        'drillcore_request_seconds_bucket{le="0.5",model="tiny",route="/predict/{model}"} 4.0',
        "process_resident_memory_bytes",
    ):
        assert line in text or line.startswith("drillcore_request_seconds"), line
    server.client.get("/v2/models/" + "x" * 150)
    assert "xxx" not in server.client.get("/metrics").text  # whatever is asked for, the series stay few


def test_the_card_stands_beside_its_facts(settings: Settings, start: Start) -> None:
    serve_tiny(settings, 3)
    (settings.models / "tiny.md").write_text("# A tiny model\n\nKnows *three* classes.\n")
    found = start().client.get("/api/models").json()
    [model] = found["models"]
    assert (model["name"], model["title"], model["version"]) == ("tiny", "A tiny model", 3)
    assert model["card"].endswith("classes.\n")
    assert (model["classes"], model["input"]["channels"]) == (["bright", "dark", "middle"], 1)
    assert (model["providers"], found["keys"]) == (["CPUExecutionProvider"], False)
    assert str(settings.root) not in json.dumps(found)
