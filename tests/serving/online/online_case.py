"""A server in a thread on a free port of loopback, tiny models with answers worked out by hand, and images for them."""

from __future__ import annotations

import asyncio
import io
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
import tiny_models
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from scoring_case import serve_tiny

from drillcore.runtime.model.metadata import METADATA_KEY
from drillcore.runtime.model.served import ServedModel, put_blob, resolve, write_pointer
from drillcore.settings import Settings
from drillcore_serving.online.options import ServeOptions
from drillcore_serving.online.server import OnlineServer, listening

__all__ = ["Running", "dense_model", "png", "serve_dense", "serve_tiny", "until"]

DENSE_CLASSES = ["dark", "light"]
DENSE_COLOURS = [[10, 20, 30], [200, 100, 50]]
REGRESSION = "dense_regression"


class Running:
    """A server in a thread of this process."""

    def __init__(self, settings: Settings, models: Sequence[str], options: Mapping[str, Any]) -> None:
        self.options = ServeOptions(port=0, **options)
        self._opened: Future[str] = Future()
        self._settings, self._models = settings, models
        self._thread = threading.Thread(target=self._run, name="server")
        self._thread.start()
        self.url = self._opened.result(timeout=60)
        self.client = httpx.Client(base_url=self.url, timeout=60)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rpartition(":")[2])

    def predict(self, data: bytes, model: str = "tiny", **headers: str) -> httpx.Response:
        """Send one image."""
        return self.client.post(f"/predict/{model}", content=data, headers={"content-type": "image/png", **headers})

    def call(self, coroutine: Any) -> Any:
        """Run a coroutine in the server's loop and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout=60)

    def stop(self) -> None:
        """Stop as SIGTERM does, and wait for it."""
        self.client.close()
        if self._thread.is_alive():
            self.call(self.server.stop())
        self._thread.join(timeout=60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        async def main() -> None:
            self.loop = asyncio.get_running_loop()
            with listening("127.0.0.1", 0) as door:
                self.server = OnlineServer(
                    self._settings, self._models, self.options, door, lambda url, _: self._opened.set_result(url)
                )
                await self.server.serve()

        try:
            asyncio.run(main())
        except BaseException as error:
            if not self._opened.done():
                self._opened.set_exception(error)
            else:
                raise


class SlowModel:
    """Holds every run of a server's model until it is let go."""

    def __init__(self, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate, self.entered = threading.Event(), threading.Event()
        model = server.server.service.shelf.get("tiny").model
        run = model.run

        def held(*arguments: Any, **options: Any) -> Any:
            self.entered.set()
            assert self.gate.wait(60)
            return run(*arguments, **options)

        monkeypatch.setattr(model, "run", held)


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until something has happened."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def png(level: int = 0, size: tuple[int, int] = (9, 7), kind: str = "PNG") -> bytes:
    """An image file of one grey level; size is (height, width)."""
    return encoded(np.full(size, level, np.uint8), kind)


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    """An image file of uint8 [H,W] or [H,W,3]."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def dense_model(task: str = "dense_labels", colours: bool = True) -> onnx.ModelProto:
    """Labels: 1 where the mean of a pixel's channels is above 127; regression: that mean over 255."""
    metadata = tiny_models.tiny_metadata(
        model="dense",
        task=task,
        classes=DENSE_CLASSES if task == "dense_labels" else [],
        colours=DENSE_COLOURS if task == "dense_labels" and colours else None,
        input={"channels": 3, "resize": None, "preprocessing": {}},
    )
    node = helper.make_node
    nodes = [
        node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        node("ReduceMean", ["pixels", "axis"], ["mean"], keepdims=0),
        node("Div", ["mean", "white"], ["share"]),
    ]
    made = helper.make_tensor_value_info
    if task == "dense_labels":
        nodes += [
            node("Greater", ["share", "half"], ["above"]),
            node("Cast", ["above"], ["label"], to=TensorProto.UINT8),
            node("Unsqueeze", ["share", "one_axis"], ["light"]),
            node("Sub", ["one", "light"], ["dark"]),
            node("Concat", ["dark", "light"], ["probabilities"], axis=1),
        ]
        outputs = [
            made("label", TensorProto.UINT8, ["N", "H", "W"]),
            made("probabilities", TensorProto.FLOAT, ["N", 2, "H", "W"]),
        ]
    else:
        nodes.append(node("Unsqueeze", ["share", "one_axis"], ["value"]))
        outputs = [made("value", TensorProto.FLOAT, ["N", 1, "H", "W"])]
    constants = {
        "axis": np.array([3]),
        "one_axis": np.array([1]),
        "white": np.array(255, np.float32),
        "half": np.array(0.5, np.float32),
        "one": np.array(1, np.float32),
    }
    images = [made("images", TensorProto.UINT8, ["N", "H", "W", 3])]
    used = {name for item in nodes for name in item.input}
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items() if name in used]
    graph = helper.make_graph(nodes, "dense", images, outputs, tensors)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: metadata.to_json()})
    onnx.checker.check_model(model)
    return model


def serve_dense(settings: Settings, name: str = "dense", **choices: Any) -> ServedModel:
    """Bring a dense model as if it had been fetched."""
    source = Path(settings.state) / f"{name}.onnx"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_bytes(dense_model(**choices).SerializeToString(deterministic=True))
    write_pointer(settings, name, 1, put_blob(settings, source))
    return resolve(settings, name)


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header states a size that its few bytes unpack to."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(width + 1)) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def environment(settings: Settings, **more: str) -> dict[str, str]:
    own = {"DRILLCORE_ROOT": str(settings.root), "DRILLCORE_THREADS": "1", "DRILLCORE_WORKERS": "1"}
    return {**os.environ, **own, **more}
