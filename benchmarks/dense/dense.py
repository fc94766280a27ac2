"""`drillcore bench dense`: every pixel scored by hypercolumns in torch and by one graph in three modes.

All on the same weights; labels against labels, and what mode fast costs in accuracy.

Figures are medians of ratios of neighbours in time. Random heads would make labels mean little: the head is trained on
CamVid where that stands beside the checkout, else on the sample's street scenes.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper

from benchmarks.dense.streets import CLASSES, SEED, Street, load_streets, squeezenet, train_head
from benchmarks.report import facts, table, write_report
from drillcore.backbones.catalogue import build_backbone
from drillcore.datasets.layouts.camvid import VOID
from drillcore.evaluation.figures.dense_metrics import dense_figures
from drillcore.export.builder import GraphBuilder
from drillcore.export.dense.assembly import dense_input_contract, export_dense
from drillcore.export.dense.core_nodes import write_core
from drillcore.export.dense.modes import MODES
from drillcore.representations.core_samples.core import CoreNetwork
from drillcore.representations.core_samples.core_spec import CoreSpec
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.runtime.model.session import Model, open_model
from drillcore.settings import Settings

TAPS = ("conv1", "fire3", "fire5", "fire8", "fire9")
VGG_TAPS = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")
CHUNKS = (480, 1_920, 7_680)  # core samples at a time that the baseline is tried with
HIDDEN = (512, 256)
_MEMORY_PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from drillcore.runtime.model.session import open_model
def peak():
    line = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")][0]
    return int(line.split()[1]) * 1024
model = open_model(Path(sys.argv[1]), threads=1)
before = peak()
height, width = int(sys.argv[2]), int(sys.argv[3])
model.run(np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8), None, ("label",))
print(before, peak())
"""

Image = npt.NDArray[np.uint8]


def run(settings: Settings, *, quick: bool = False) -> dict[str, Any]:
    """Measure, write the report (not when quick) and return it."""
    threads = settings.cpu_threads
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    settings.state.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-dense-", dir=settings.state) as name:
            figures, raw = _measure(settings, Path(name), threads, quick)
    finally:
        torch.set_num_threads(before)
    if quick:
        return {**figures, **facts({"head": SEED}), "raw": raw}
    return write_report("dense", figures, raw, _text(raw), seeds={"head": SEED})


def _measure(settings: Settings, folder: Path, threads: int, quick: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    hidden = (32, 16) if quick else HIDDEN
    (folder / "data").mkdir()
    streets, real = load_streets(settings, folder / "data", real=not quick, most=3 if quick else 400)
    if quick:
        streets = [_cropped(street) for street in streets]
    train = [street for street in streets if street.split == "train"]
    val = [street for street in streets if street.split == "val"] or train
    backbone, weights = squeezenet(settings)
    core = CoreNetwork(backbone, TAPS, CoreSpec())
    head = train_head(core, train, pixels=200 if quick else 400, hidden=hidden, epochs=2 if quick else 6)
    # Of other sequences than those that are answered below, as far as train has them.
    calibration = [street.image for street in train[:: max(len(train) // 12, 1)]]
    models = _models(core, head, folder, threads, calibration, MODES)
    found = _race(core, head, models, val[0].image, 1 if quick else 7)
    quality = _quality(models, val)
    vgg = _vgg(settings, folder, threads, val[0].image, hidden, 1 if quick else 5)
    memory = {
        f"{height}x{width}": _peak_memory(folder / "exact.onnx", height, width)
        for height, width in ([(64, 80)] if quick else [(360, 480), (1024, 1024)])
    }
    ratio = found["ratios"]
    figures = {
        "exact_speedup": ratio["exact"],
        "refined_speedup": ratio["refined"],
        "fast_speedup": ratio["fast"],
        "exact_label_agreement": found["agreement_of_exact_with_torch"],
        "refined_label_agreement": quality["agreement"]["refined"],
        "fast_class_average_loss": quality["class_average"]["exact"] - quality["class_average"]["fast"],
        "vgg16_exact_vs_backbone": vgg["ratios"]["exact"],
        "vgg16_fast_vs_backbone": vgg["ratios"]["fast"],
    }
    raw = {
        "squeezenet1_0": found,
        "quality": quality,
        "vgg16": vgg,
        "peak_memory": memory,
        "threads": threads,
        "weights": weights,
        "data": "camvid" if real else "sample",
        "image": list(val[0].image.shape),
        "hidden": list(hidden),
    }
    return figures, raw


def _cropped(street: Street) -> Street:
    return Street(name=street.name, split=street.split, image=street.image[:64, :80], label=street.label[:64, :80])


def _models(
    core: CoreNetwork, head: Any, folder: Path, threads: int, calibration: Sequence[Image], modes: Sequence[str]
) -> dict[str, Model]:
    """Export and open the modes as they are served."""
    metadata = ModelMetadata(
        task="dense_labels",
        model="streets",
        classes=CLASSES,
        input=dense_input_contract(core),
        data_digest="",
        lineage="sample",
        git="",
        dirty=False,
        recipe_sha256="",
        weights_sha256=core.backbone.weights_sha256,
        seeds={"head": SEED},
        min_size=[1, 1],
    )
    models = {}
    for mode in modes:
        path = folder / f"{mode}.onnx"
        path.write_bytes(export_dense(core, head, mode=mode, metadata=metadata, calibration=calibration))
        models[mode] = open_model(path, threads=threads)
    return models


def _race(core: CoreNetwork, head: Any, models: Mapping[str, Model], image: Image, rounds: int) -> dict[str, Any]:
    """Time hypercolumns in torch, the modes and the bare backbone in turn on one image."""
    trials = {chunk: _timed(lambda chunk=chunk: hypercolumns(core, head, image, chunk)) for chunk in CHUNKS}  # type: ignore[misc]
    chunk = min(trials, key=trials.__getitem__)
    works: dict[str, Callable[[], object]] = {"hypercolumns": lambda: hypercolumns(core, head, image, chunk)}
    for mode, model in models.items():
        works[mode] = lambda model=model: model.run(image[None], None, ("label",))  # type: ignore[misc]
    works["backbone in torch"] = lambda: core(_planar(image))
    seconds = _interleaved(works, rounds)
    truth = hypercolumns(core, head, image, chunk)
    label = models["exact"].run(image[None], None, ("label",))["label"][0]
    return {
        "seconds": seconds,
        "chunk": chunk,
        "chunk_seconds": {str(size): value for size, value in trials.items()},
        "ratios": {name: _ratio(seconds["hypercolumns"], seconds[name]) for name in works if name != "hypercolumns"},
        "agreement_of_exact_with_torch": float((label == truth).mean()),
    }


def hypercolumns(core: CoreNetwork, head: Any, image: Image, chunk: int) -> npt.NDArray[np.uint8]:
    """Label an image the paper's way: the samples of `chunk` pixels at a time, standardised, through the head."""
    height, width = image.shape[:2]
    mean, scale = torch.as_tensor(head.mean_), 1 / torch.as_tensor(head.scale_)
    layers = [(torch.as_tensor(weight), torch.as_tensor(bias)) for weight, bias in head.layers_]
    labels = np.empty(height * width, np.uint8)
    with torch.no_grad():
        maps = core(_planar(image))
        for first in range(0, height * width, chunk):
            ys, xs = np.divmod(np.arange(first, min(first + chunk, height * width)), width)
            rows = core.sample(maps, (height, width), ys, xs).sub_(mean).mul_(scale)
            for number, (weight, bias) in enumerate(layers):
                rows = torch.addmm(bias, rows, weight)
                if number < len(layers) - 1:
                    rows.relu_()
            labels[first : first + chunk] = rows.argmax(1).numpy()
    return labels.reshape(height, width)


def _quality(models: Mapping[str, Model], streets: Sequence[Street]) -> dict[str, Any]:
    """Answer labelled images in every mode: class average, and the share of the labels that are exact's."""
    classes = len(CLASSES)
    counts = {mode: np.zeros((classes, classes), np.int64) for mode in models}
    same = dict.fromkeys(models, 0)
    pixels = 0
    for street in streets:
        labels = {mode: model.run(street.image[None], None, ("label",))["label"][0] for mode, model in models.items()}
        known = street.label != VOID
        for mode, label in labels.items():
            code = street.label[known].astype(np.int64) * classes + label[known]
            counts[mode] += np.bincount(code, minlength=classes * classes).reshape(classes, classes)
            same[mode] += int((label == labels["exact"]).sum())
        pixels += street.label.size
    figures = {mode: dense_figures(matrix, CLASSES) for mode, matrix in counts.items()}
    return {
        "images": len(streets),
        "class_average": {mode: found["class_average"] for mode, found in figures.items()},
        "global_average": {mode: found["global_average"] for mode, found in figures.items()},
        "mean_iou": {mode: found["mean_iou"] for mode, found in figures.items()},
        "agreement": {mode: count / pixels for mode, count in same.items()},
    }


def _vgg(
    settings: Settings, folder: Path, threads: int, image: Image, hidden: tuple[int, ...], rounds: int
) -> dict[str, Any]:
    """Time VGG-16 with random weights: the modes against the bare backbone, the faster of torch and onnxruntime."""
    core = CoreNetwork(build_backbone("vgg16", f"seed:{SEED}", settings, any_size=True), VGG_TAPS, CoreSpec())
    rng = np.random.default_rng(SEED)
    widths = (core.width, *hidden, len(CLASSES))
    head = SimpleNamespace(
        mean_=np.zeros(core.width, np.float32),
        scale_=np.ones(core.width, np.float32),
        layers_=[
            (rng.standard_normal((rows, columns), np.float32) / np.float32(rows**0.5), np.zeros(columns, np.float32))
            for rows, columns in itertools.pairwise(widths)
        ],
        activation="relu",
    )
    (folder / "vgg").mkdir()
    models = _models(core, head, folder / "vgg", threads, [], ("exact", "fast"))
    bare = _bare_session(core, threads)
    works: dict[str, Callable[[], object]] = {
        "backbone in torch": lambda: core(_planar(image)),
        "backbone in onnxruntime": lambda: bare.run(None, {"images": image[None]}),
    }
    for mode, model in models.items():
        works[mode] = lambda model=model: model.run(image[None], None, ("label",))  # type: ignore[misc]
    seconds = _interleaved(works, rounds)
    names = [name for name in works if name.startswith("backbone")]
    fastest = min(names, key=lambda name: statistics.median(seconds[name]))
    return {
        "seconds": seconds,
        "backbone": fastest,
        "ratios": {mode: _ratio(seconds[mode], seconds[fastest]) for mode in models},
    }


def _bare_session(core: CoreNetwork, threads: int) -> Any:
    """Return the backbone alone in onnxruntime, its taps the outputs."""
    import onnxruntime

    model = onnx.ModelProto(ir_version=10)
    model.opset_import.append(helper.make_opsetid("", 20))
    model.graph.name = "backbone"
    model.graph.input.append(helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 3]))
    maps = write_core(GraphBuilder(model.graph), core)
    model.graph.output.extend(helper.make_tensor_value_info(maps[tap], TensorProto.FLOAT, None) for tap in core.taps)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _interleaved(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):  # the first warms up
        for name, work in works.items():
            taken = _timed(work)
            if number:
                seconds[name].append(taken)
    return seconds


def _ratio(one: Sequence[float], other: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _planar(image: Image) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float()


def _peak_memory(path: Path, height: int, width: int) -> dict[str, int]:
    command = [sys.executable, "-c", _MEMORY_PROGRAM, str(path), str(height), str(width)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).resolve().parents[2])
    opened, peak = (int(number) for number in done.stdout.split()[-2:])
    return {"opened": opened, "peak": peak}


def _text(raw: dict[str, Any]) -> str:
    race, quality, vgg = raw["squeezenet1_0"], raw["quality"], raw["vgg16"]
    times = [
        (name, statistics.median(values), race["ratios"].get(name, 1.0)) for name, values in race["seconds"].items()
    ]
    judged = [
        (
            mode,
            quality["agreement"][mode],
            *(quality[key][mode] for key in ("class_average", "global_average", "mean_iou")),
        )
        for mode in quality["agreement"]
    ]
    others = [(name, statistics.median(values)) for name, values in vgg["seconds"].items()]
    memory = [
        (size, round(found["opened"] / 2**20), round(found["peak"] / 2**20))
        for size, found in raw["peak_memory"].items()
    ]
    return f"""{table(("SqueezeNet, " + "x".join(map(str, raw["image"])), "seconds", "times faster"), times)}

Five taps and the image, a head of {" and ".join(map(str, raw["hidden"]))} hidden units, {raw["threads"]} threads,
weights: {raw["weights"]}. `hypercolumns`: core samples read by one gather per plane, standardised and put through the
head in torch, {race["chunk"]:,} pixels at a time, the fastest of {", ".join(f"{size:,}" for size in CHUNKS)}. The modes
are opened and asked for labels as serving does.

{table(("mode", "labels as exact", "class average", "global average", "mean IoU"), judged)}

On {quality["images"]} labelled images of {raw["data"]} (val; the head has seen train). Exact and hypercolumns in torch
agree on {race["agreement_of_exact_with_torch"]:.4%} of the first one's pixels.

{table(("VGG-16, random weights", "seconds"), others)}

Against the faster bare backbone ({vgg["backbone"]}), which hands out its taps.

{table(("exact, size of the image", "opened, MiB", "peak, MiB"), memory)}
"""
