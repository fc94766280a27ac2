"""An S3 store that is not there, or that fails in the middle: one clear line, and the last good state stays."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from drillcore import registry
from drillcore.digests import sha256_file
from drillcore.errors import DrillcoreError
from drillcore.settings import Settings
from drillcore.tracking import start_run


class Store:
    """moto's S3 behind a counter: after `puts` writes it answers 503 to every further one."""

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        self.puts = -1
        self._inner = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] == "PUT" and environ["PATH_INFO"].count("/") > 1:
            if self.puts == 0:
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                start_response("503 Slow Down", [("Content-Length", "0")])
                return []
            self.puts -= 1
        return self._inner(environ, start_response)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    from moto.backends import get_backend

    started = Store()
    monkeypatch.setenv("AWS_ENDPOINT_URL", started.url)
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", started.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    yield started
    started.close()
    get_backend("s3").reset()


def make_bucket(store: Store, name: str) -> Any:
    import boto3

    client = boto3.client("s3", endpoint_url=store.url)
    client.create_bucket(Bucket=name)
    return client


def registered(settings: Settings, file: Path) -> int:
    with start_run(settings, "tiny") as run:
        return registry.register(settings, file, name="tiny", run_id=run.id, sha256=sha256_file(file), metadata={})


@pytest.mark.parametrize("puts", [0, 2])
def test_artifacts_on_a_store_that_fails(
    tracked: Settings, tiny_models: ModuleType, tmp_path: Path, store: Store, puts: int
) -> None:
    settings = dataclasses.replace(tracked, artifact_root="s3://models")
    first, second = (tiny_models.write_tiny_model(tmp_path / f"{bias}.onnx", bias=bias) for bias in (1, 2))
    fails(settings, first, "NoSuchBucket")
    assert registry.versions(settings, "tiny") == []
    make_bucket(store, "models")
    assert registered(settings, first) == 1
    registry.promote(settings, "tiny", 1)
    store.puts = puts
    fails(settings, second, "503")
    assert [row.version for row in registry.versions(settings, "tiny")] == [1]
    assert registry.aliases(settings, "tiny")["champion"] == 1
    store.puts = -1
    assert registry.fetch(settings, "tiny").sha256 == sha256_file(first)
    assert registered(settings, second) == 2


def test_artifacts_without_the_client_of_s3(
    tracked: Settings, tiny_model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    fails(dataclasses.replace(tracked, artifact_root="s3://models"), tiny_model_file, "boto3")


def fails(settings: Settings, file: Path, part: str) -> None:
    with pytest.raises(DrillcoreError, match=part) as caught:
        registered(settings, file)
    assert "s3://models" in str(caught.value)
    assert "\n" not in str(caught.value)
