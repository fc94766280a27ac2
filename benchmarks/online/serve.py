"""`drillcore bench serve`: our server against bare onnxruntime, LitServe and MLflow, all with the same ONNX file.

Client and server share one machine, as they share the run: a client of its own process asks with 64 connections. The
model is SqueezeNet at its own input size with a forest, random weights; the images are drawn here.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from benchmarks.report import facts, table, write_report
from benchmarks.scoring.drawn_models import SEED, served_model
from drillcore.runtime.images.decode import decode_bytes
from drillcore.runtime.model.served import ServedModel
from drillcore.settings import Settings

SIDE = 224
BATCH = 32
CLIENTS = 64
LOAD = 0.7
_IMAGES = 64
_CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Kind:
    """One way of asking a server."""

    path: str
    headers: dict[str, str]
    bodies: list[str]


@dataclass(frozen=True, slots=True)
class Effort:
    """Seconds of each measurement and how often it is made."""

    seconds: float
    rounds: int
    clients: int = CLIENTS


def run(settings: Settings, *, quick: bool = False) -> dict[str, Any]:
    """Measure, write the report (not when quick) and return it."""
    effort = Effort(1.5, 1, 8) if quick else Effort(20, 3)
    settings.state.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-serve-", dir=settings.state) as name:
        root = Path(name)
        own = replace(settings, root=root, state=root / ".drillcore", device="cpu")
        (root / "models").mkdir()
        (root / "data.dvc").write_text("")
        model, _ = served_model(own, "squeezenet", "squeezenet1_0", "fire9", [SIDE, SIDE], 20, 300)
        kinds = _kinds(root)
        bare = _bare(own, model, effort)
        raw: dict[str, Any] = {"bare": bare}
        raw["ours"] = _ours(own, kinds, effort, bare["rate"])
        raw["litserve"] = _litserve(own, model, kinds, effort)
        raw["mlflow"] = _mlflow(own, model, kinds, effort)
    figures = _figures(raw)
    if quick:
        return {**figures, **facts({"images": SEED, "weights": SEED}), "raw": raw}
    return write_report("serve", figures, raw, _text(raw), seeds={"images": SEED, "weights": SEED})


def _figures(raw: dict[str, Any]) -> dict[str, float]:
    ours, bare = raw["ours"], raw["bare"]
    figures = {
        "serve_vs_onnxruntime": ours["tensor"]["rate"] / bare["rate"],
        "p99_vs_batch_latency": ours["loaded"]["ms"]["p99"] / bare["batch_ms"],
        "vs_mlflow": ours["tensor"]["rate"] / raw["mlflow"]["load"]["rate"],
        "vs_litserve": ours["image"]["rate"] / raw["litserve"]["load"]["rate"],
        "p99_vs_mlflow": ours["tensor"]["ms"]["p99"] / raw["mlflow"]["load"]["ms"]["p99"],
        "p99_vs_litserve": ours["image"]["ms"]["p99"] / raw["litserve"]["load"]["ms"]["p99"],
        "image_files_vs_onnxruntime": ours["image"]["rate"] / bare["rate"],
        "json_vs_mlflow": ours["json"]["rate"] / raw["mlflow"]["load"]["rate"],
    }
    figures |= {f"idle_memory_mib_{name}": raw[name]["idle_mib"] for name in ("ours", "litserve", "mlflow")}
    return figures


def _kinds(root: Path) -> dict[str, Kind]:
    """Write the bodies: JPEG files, and the same images as each protocol sends them."""
    from PIL import Image, ImageFilter

    rng = np.random.default_rng(SEED)
    bodies: dict[str, list[str]] = {name: [] for name in ("jpeg", "base64", "tensor", "v2json", "mlflow")}
    for number in range(_IMAGES):
        noise = Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).filter(ImageFilter.GaussianBlur(3))
        path = root / f"{number:03d}.jpg"
        noise.save(path, quality=90)
        data = path.read_bytes()
        pixels = decode_bytes(data, 3, max_pixels=10**8)
        tensor = {"name": "images", "shape": [1, SIDE, SIDE, 3], "datatype": "UINT8"}
        head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": pixels.size}}]}).encode()
        numbers = pixels.ravel().tolist()
        contents = {
            "jpeg": data,
            "base64": json.dumps({"image": base64.b64encode(data).decode()}).encode(),
            "tensor": head + pixels.tobytes(),
            "v2json": json.dumps({"inputs": [{**tensor, "data": numbers}]}, separators=(",", ":")).encode(),
            "mlflow": json.dumps({"inputs": {"images": [pixels.tolist()]}}, separators=(",", ":")).encode(),
        }
        for name, content in contents.items():
            target = root / f"{number:03d}.{name}"
            target.write_bytes(content)
            bodies[name].append(str(target))
    text = {"Content-Type": "application/json"}
    binary = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return {
        "image": Kind("/predict/squeezenet", {"Content-Type": "image/jpeg"}, bodies["jpeg"]),
        "tensor": Kind("/v2/models/squeezenet/infer", binary, bodies["tensor"]),
        "json": Kind("/v2/models/squeezenet/infer", text, bodies["v2json"]),
        "litserve": Kind("/predict", text, bodies["base64"]),
        "mlflow": Kind("/invocations", text, bodies["mlflow"]),
    }


def _bare(settings: Settings, model: ServedModel, effort: Effort) -> dict[str, Any]:
    """Measure onnxruntime alone on full batches, in the faster of two ways, and how long one batch takes."""
    import onnxruntime

    canvas = np.random.default_rng(SEED).integers(0, 256, (BATCH, SIDE, SIDE, 3), np.uint8)
    names = ["label", "probabilities"]

    def session(threads: int) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # not its advice on the initializer that may be overridden
        return onnxruntime.InferenceSession(model.path, options, providers=["CPUExecutionProvider"])

    whole, single = session(settings.cpu_threads), session(1)

    def side_by_side() -> None:
        with ThreadPoolExecutor(settings.cpu_threads) as pool:
            runs = [pool.submit(single.run, names, {"images": canvas}) for _ in range(settings.cpu_threads)]
            for future in runs:
                future.result()

    batch = _times(lambda: whole.run(names, {"images": canvas}), effort)
    beside = _times(side_by_side, effort)
    rates = {
        "all_cores": BATCH / statistics.median(batch),
        "side_by_side": BATCH * settings.cpu_threads / statistics.median(beside),
    }
    return {"rate": max(rates.values()), "batch_ms": 1e3 * statistics.median(batch), "rates": rates, "batch_s": batch}


def _ours(settings: Settings, kinds: dict[str, Kind], effort: Effort, bare: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "drillcore", "serve", "squeezenet", "--max-batch", str(BATCH)]
    with _server([*command, "--port"], settings, "/v2/health/ready") as server:
        found: dict[str, Any] = {"idle_mib": server.idle_mib, "ready_seconds": server.ready_seconds}
        for name in ("tensor", "image", "json"):
            found[name] = _load(settings, server.port, kinds[name], effort)
        rate = LOAD * found["tensor"]["rate"]
        found["loaded"] = _load(settings, server.port, kinds["tensor"], effort, rate=rate)
        found["loaded"]["asked_rate"] = rate
        return found


def _litserve(settings: Settings, model: ServedModel, kinds: dict[str, Kind], effort: Effort) -> dict[str, Any]:
    threads = str(settings.cpu_threads)

    def command(port: int) -> list[str]:
        return [
            sys.executable,
            "-m",
            "benchmarks.online.litserve_server",
            str(model.path),
            str(port),
            str(BATCH),
            threads,
        ]

    with _server(command, settings, "/health") as server:
        load = _load(settings, server.port, kinds["litserve"], effort)
        return {"idle_mib": server.idle_mib, "ready_seconds": server.ready_seconds, "load": load}


def _mlflow(settings: Settings, model: ServedModel, kinds: dict[str, Kind], effort: Effort) -> dict[str, Any]:
    folder = settings.root / "mlflow-model"
    _save_for_mlflow(model.path, folder)
    command = [str(Path(sys.executable).with_name("mlflow")), "models", "serve", "-m", str(folder)]
    with _server([*command, "--env-manager", "local", "--host", "127.0.0.1", "--port"], settings, "/ping") as server:
        load = _load(settings, server.port, kinds["mlflow"], effort)
        return {"idle_mib": server.idle_mib, "ready_seconds": server.ready_seconds, "load": load}


def _save_for_mlflow(model: Path, folder: Path) -> None:
    import mlflow
    import onnx
    from mlflow.types.schema import Schema, TensorSpec

    # Without a signature the numbers would arrive as int64, which the model refuses.
    images = TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3), "images")
    signature = mlflow.models.ModelSignature(inputs=Schema([images]))
    mlflow.onnx.save_model(
        onnx.load(model),
        str(folder),
        signature=signature,
        pip_requirements=["onnxruntime"],
        save_as_external_data=False,
    )


@dataclass(frozen=True, slots=True)
class _Server:
    port: int
    idle_mib: float
    ready_seconds: float


@contextlib.contextmanager
def _server(
    command: Sequence[str] | Callable[[int], Sequence[str]], settings: Settings, health: str
) -> Iterator[_Server]:
    """Start a server on a free port, wait until it is ready, end it and its children afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = command(port) if callable(command) else [*command, str(port)]
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # MLflow looks for uvicorn
    env = {**os.environ, "DRILLCORE_ROOT": str(settings.root), "PYTHONPATH": str(_CHECKOUT), "PATH": programs}
    env |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}
    env.pop("OMP_NUM_THREADS", None)
    log = settings.root / f"{port}.log"
    began = time.perf_counter()
    with log.open("wb") as stream:
        process = subprocess.Popen(arguments, cwd=settings.root, env=env, stdout=stream, stderr=stream)
    try:
        _wait(f"http://127.0.0.1:{port}{health}", process, log)
        ready = time.perf_counter() - began
        time.sleep(1)
        yield _Server(port, _memory(process.pid), ready)
    finally:
        _end(process)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 180
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=2).status_code == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"the server at {url} does not answer: {log.read_text(errors='replace')[-2000:]}")


def _memory(pid: int) -> float:
    """Return the resident memory of a process and its children, MiB; pages they share are counted once each."""
    parent = psutil.Process(pid)
    return float(sum(each.memory_info().rss for each in (parent, *parent.children(recursive=True)))) / 2**20


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server; LitServe's workers outlive their parent, so all of them are ended here."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
    for child in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait()


def _load(settings: Settings, port: int, kind: Kind, effort: Effort, rate: float | None = None) -> dict[str, Any]:
    """Ask a server from another process; the median round by its rate."""
    plan = {
        "host": "127.0.0.1",
        "port": port,
        "path": kind.path,
        "headers": kind.headers,
        "bodies": kind.bodies,
        "clients": effort.clients,
        "seconds": effort.seconds,
        "warm_seconds": min(3.0, effort.seconds / 2),
        "rate": rate,
        "seed": SEED,
    }
    path = settings.root / "plan.json"
    path.write_text(json.dumps(plan))
    rounds = []
    for _ in range(effort.rounds):
        command = [sys.executable, "-m", "benchmarks.online.load", str(path)]
        done = subprocess.run(command, cwd=_CHECKOUT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the client of {kind.path} failed: {done.stderr[-1000:]}")
        rounds.append(json.loads(done.stdout))
    if any(each["failed"] for each in rounds):
        raise RuntimeError(f"{kind.path}: {rounds[-1]['failed']} of {rounds[-1]['answers']} requests failed")
    chosen = sorted(rounds, key=lambda each: each["rate"])[len(rounds) // 2]
    return {**chosen, "rounds": rounds}


def _times(action: Callable[[], Any], effort: Effort) -> list[float]:
    action()
    times = []
    end = time.perf_counter() + effort.seconds
    while not times or time.perf_counter() < end:
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return times


def _text(raw: dict[str, Any]) -> str:
    ours, bare = raw["ours"], raw["bare"]
    rows = [
        ("onnxruntime alone", "batches of 32 in memory", bare["rate"], "", ""),
        ("drillcore serve", "binary tensors (KServe V2)", *_row(ours["tensor"])),
        ("drillcore serve", "JPEG files", *_row(ours["image"])),
        ("drillcore serve", "JSON numbers (KServe V2)", *_row(ours["json"])),
        ("LitServe", "JPEG files in base64", *_row(raw["litserve"]["load"])),
        ("mlflow models serve", "JSON numbers", *_row(raw["mlflow"]["load"])),
    ]
    memory = [(name, raw[name]["idle_mib"], raw[name]["ready_seconds"]) for name in ("ours", "litserve", "mlflow")]
    loaded = ours["loaded"]
    return "\n\n".join(
        (
            f"## {CLIENTS} clients, one request after the other",
            table(("server", "sent as", "images a second", "p50, ms", "p99, ms"), rows),
            f"SqueezeNet at {SIDE} x {SIDE} with a forest of 20 trees, random weights; one image a request, batches of "
            f"at most {BATCH}. Client and server share the cores. Each server is asked as it documents: LitServe with "
            "base64 in JSON, MLflow with numbers in JSON, which it does not batch. `vs_litserve` compares image files, "
            "`vs_mlflow` tensors: ours binary, `json_vs_mlflow` ours as JSON.",
            f"At {LOAD:.0%} of our rate, {loaded['rate']:.0f} images a second at random times: p50 "
            f"{loaded['ms']['p50']:.1f} ms, p99 {loaded['ms']['p99']:.1f} ms; a batch of {BATCH} alone takes "
            f"{bare['batch_ms']:.1f} ms.",
            "## At rest",
            table(("server", "resident memory of all its processes, MiB", "seconds until ready"), memory),
        )
    )


def _row(load: dict[str, Any]) -> tuple[float, float, float]:
    return load["rate"], load["ms"]["p50"], load["ms"]["p99"]
