"""The command as a process: what it imports, how it starts, what it refuses, how it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import dense_case
import httpx
import pytest
from online_case import environment, png, serve_tiny

from drillcore.runtime.model.served import write_pointer
from drillcore.settings import Settings

HEAVY = (
    "torch",
    "torchvision",
    "sklearn",
    "scipy",
    "mlflow",
    "prefect",
    "dvc",
    "great_expectations",
    "matplotlib",
    "pandas",
    "pyarrow",
    "sqlalchemy",
    "distributed",
    "rasterio",
)
PROGRAM = """
import json, os, signal, sys, threading, urllib.request
from pathlib import Path
from drillcore.settings import Settings
from drillcore_serving.online.options import ServeOptions
from drillcore_serving.online.server import serve

image = Path(sys.argv[2]).read_bytes()
answers = {}

def ask(url):
    try:
        for model, accept in (("tiny", "application/json"), ("tiny-dense", "image/jpeg")):
            headers = {"content-type": "image/png", "accept": accept}
            request = urllib.request.Request(f"{url}/predict/{model}", image, headers)
            with urllib.request.urlopen(request, timeout=60) as answer:
                answers[model] = answer.status
        for path in ("/", "/docs", "/metrics", "/api/models", "/v2/models/tiny"):
            with urllib.request.urlopen(url + path, timeout=60) as answer:
                answers[path] = answer.status
    finally:
        os.kill(os.getpid(), signal.SIGTERM)

settings = Settings.load(Path(sys.argv[1]))
serve(settings, ["tiny", "tiny-dense"], ServeOptions(port=0), opened=lambda url, _: threading.Thread(
    target=ask, args=(url,)).start())
print(json.dumps([answers, sorted({name.partition(".")[0] for name in sys.modules} & set(sys.argv[3:]))]))
"""


@contextmanager
def serving(settings: Settings, *arguments: str, **env: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `drillcore serve` on a free port; yields the process and its address."""
    command = [sys.executable, "-m", "drillcore", "serve", *arguments, "--port", "0"]
    process = subprocess.Popen(
        command, env=environment(settings, **env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().split(" ")[0]
    finally:
        process.kill()
        process.communicate()


def refused(settings: Settings, *arguments: str, **env: str) -> str:
    """Run `drillcore serve`, which must end with an error of one line; return the line."""
    command = [sys.executable, "-m", "drillcore", "serve", *arguments]
    done = subprocess.run(
        command, env=environment(settings, **env), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode not in (0, 70), done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_serving_imports_nothing_heavy(settings: Settings, tmp_path: Path) -> None:
    serve_tiny(settings)
    dense_case.serve_dense(settings)
    image = tmp_path / "image.png"
    image.write_bytes(png())
    command = [sys.executable, "-c", PROGRAM, str(settings.root), str(image), *HEAVY]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    answers, heavy = json.loads(done.stdout)
    assert set(answers.values()) == {200}, done.stderr
    assert len(answers) == 7
    assert heavy == []


def test_the_command_serves_logs_and_ends_with_0_on_sigterm(settings: Settings) -> None:
    serve_tiny(settings, 3)
    with serving(settings, "tiny", "--drain-seconds", "0.3") as (process, url):
        answer = httpx.post(f"{url}/predict/tiny", content=png(), headers={"content-type": "image/png"})
        assert (answer.status_code, answer.json()["version"]) == (200, 3)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0
    lines = [json.loads(line) for line in errors.splitlines()]
    assert [line["event"] for line in lines] == ["model open", "ready", "request", "stopping", "stopped"]
    request = lines[2]
    assert (request["request_id"], request["status"]) == (answer.headers["x-request-id"], 200)
    assert lines[0]["providers"] == ["CPUExecutionProvider"]


def test_requests_in_flight_are_answered_after_sigterm(settings: Settings) -> None:
    serve_tiny(settings)
    with serving(settings, "tiny") as (process, url), ThreadPoolExecutor(8) as pool:
        sent, go = threading.Semaphore(0), threading.Event()

        def body() -> Iterator[bytes]:
            yield png()[:20]
            sent.release()
            go.wait(60)
            yield png()[20:]

        def ask(_: int) -> int:
            headers = {"content-type": "image/png"}
            return httpx.post(f"{url}/predict/tiny", content=body(), headers=headers, timeout=60).status_code

        answers = [pool.submit(ask, number) for number in range(8)]
        for _ in answers:
            assert sent.acquire(timeout=60)
        httpx.get(f"{url}/v2/health/live")  # what was sent before has arrived
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        while "stopping" not in process.stderr.readline():
            pass
        go.set()
        assert [answer.result() for answer in answers] == [200] * 8
        process.communicate(timeout=60)
        assert process.returncode == 0


def test_what_cannot_be_served_is_one_line(settings: Settings, tmp_path: Path) -> None:
    served = serve_tiny(settings)
    keys = tmp_path / "keys"
    keys.write_text("short\n")
    assert "API keys" in refused(settings, "tiny", "--host", "0.0.0.0", "--port", "0")  # noqa: S104
    assert "API key 1" in refused(settings, "tiny", "--api-keys", str(keys), "--port", "0")
    assert "number" in refused(settings, "tiny", "--max-batch", "tiny=many")
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert "--port" in refused(settings, "tiny", "--port", str(other.getsockname()[1]))
    served.path.write_bytes(b"damaged")
    assert "digest" in refused(settings, "tiny", "--port", "0")


def test_cuda_that_is_not_there_is_an_error_unless_the_cpu_is_allowed(settings: Settings) -> None:
    from drillcore.runtime.model.session import cuda_devices

    if cuda_devices():
        pytest.skip("there is a CUDA device")
    serve_tiny(settings)
    assert "CUDA" in refused(settings, "tiny", "--device", "cuda", "--port", "0")
    with serving(settings, "tiny", "--device", "cuda", "--allow-cpu") as (process, url):
        providers = httpx.get(f"{url}/v2/models/tiny").json()["parameters"]["providers"]
        assert providers == ["CPUExecutionProvider"]
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert any(json.loads(line)["event"] == "no CUDA, the CPU answers" for line in errors.splitlines())


def test_keys_and_limits_by_option_and_environment(settings: Settings) -> None:
    serve_tiny(settings)
    write_pointer(settings, "other", 4, serve_tiny(settings).sha256)
    key = "of-the-environment-0123"
    arguments = ("tiny", "other", "--host", "0.0.0.0", "--max-batch", "other=3", "--max-delay-ms", "1")  # noqa: S104
    with serving(settings, *arguments, DRILLCORE_API_KEYS=key) as (_, url):
        local = url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        assert httpx.get(f"{local}/api/models").status_code == 401
        found = httpx.get(f"{local}/api/models", headers={"x-api-key": key}).json()
        assert [model["name"] for model in found["models"]] == ["tiny", "other"]
