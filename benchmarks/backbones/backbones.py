"""`drillcore bench backbones`: networks of many families as ONNX, held against torch; what features of some cost.

Each network has random weights. Its file takes raw images, as a model's does, and passes the checks on model files; its
rows are compared with those of the training path, images of odd sizes among them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from benchmarks.report import RESULTS, table, write_report
from drillcore.backbones.base import Backbone
from drillcore.backbones.networks.timm_networks import build_timm
from drillcore.devices import exact_computing
from drillcore.errors import DrillcoreError
from drillcore.export.backbone import write_backbone
from drillcore.export.builder import GraphBuilder
from drillcore.export.graph import write_preprocessing
from drillcore.progress import progress
from drillcore.runtime.model.safety import check_model_bytes

if TYPE_CHECKING:
    from drillcore.settings import Settings

LIMIT, SEED = 1e-4, 1
# By family networks of timm and the side of their input; 0: their own.
NETWORKS: dict[str, list[tuple[str, int]]] = {
    "ResNet": [("resnet18", 128), ("resnet26d", 97), ("resnetv2_50", 96), ("seresnet18", 96)],
    "RegNet": [("regnetx_002", 128), ("regnety_002", 97)],
    "DenseNet": [("densenet121", 96)],
    "VGG": [("vgg11_bn", 64)],
    "MobileNet": [("mobilenetv2_050", 96), ("mobilenetv3_small_050", 97), ("tf_mobilenetv3_small_075", 97)],
    "MobileNetV4": [("mobilenetv4_conv_small", 96)],
    "EfficientNet": [("efficientnet_b0", 128), ("tf_efficientnet_b0", 128), ("tf_efficientnet_b0", 113),
                     ("tf_efficientnetv2_b0", 111)],
    "EfficientNet-Lite": [("tf_efficientnet_lite0", 0), ("tf_efficientnet_lite0", 225), ("tf_efficientnet_lite1", 0),
                          ("tf_efficientnet_lite2", 131)],
    "ConvNeXt": [("convnext_atto", 96), ("convnextv2_atto", 96)],
    "ViT": [("vit_tiny_patch16_224", 0), ("vit_tiny_patch16_224", 96)],
    "DINOv2": [("vit_small_patch14_dinov2", 126), ("vit_small_patch14_reg4_dinov2", 98)],
    "DeiT": [("deit_tiny_patch16_224", 0), ("deit3_small_patch16_224", 96)],
    "Swin": [("swin_tiny_patch4_window7_224", 0)],
    "MobileViT": [("mobilevit_xxs", 128), ("mobilevitv2_050", 128)],
    "PVT": [("pvt_v2_b0", 96)],
    "MetaFormer": [("poolformer_s12", 96)],
    "MLP-Mixer": [("mixer_s32_224", 0)],
    "GhostNet": [("ghostnet_100", 96)],
    "Inception": [("inception_v3", 129)],
}  # fmt: skip
_QUICK = ("MobileNet", "ConvNeXt")


def run(settings: Settings, *, quick: bool = False, data: Path | None = None) -> dict[str, Any]:
    """Export and compare all networks; with `data`, a folder of zips, what features buy too."""
    chosen = {family: rows[:1] for family, rows in NETWORKS.items() if family in _QUICK} if quick else NETWORKS
    todo = [(family, *row) for family, rows in chosen.items() for row in rows]
    rows: list[dict[str, Any]] = []
    with exact_computing(1), progress("networks", len(todo)) as advance:
        for family, network, side in todo:
            rows.append(measure(family, network, side))
            advance(1)
    done = [row for row in rows if row["difference"] is not None and row["difference"] < LIMIT]
    figures = {
        "networks": len(done),
        "families": len({row["family"] for row in done}),
        "max_difference": max((row["difference"] for row in done), default=None),
    }
    raw: dict[str, Any] = {"table": rows, "refused": [row["network"] for row in rows if row not in done]}
    if data is not None:
        from benchmarks.backbones.features import features_table

        raw["features"] = features_table(settings, data)
    folder = settings.state / "bench" if quick else RESULTS
    return write_report("backbones", figures, raw, text(raw), seeds={"weights": SEED, "images": SEED}, folder=folder)


def measure(family: str, network: str, side: int) -> dict[str, Any]:
    """Return a network's line: difference as a share of the largest value, milliseconds of one image, megabytes."""
    row: dict[str, Any] = {"family": family, "network": network, "side": side, "difference": None}
    try:
        backbone = build_timm(network, seed=SEED, resize=(side, side) if side else None)
        taps = [*backbone.map_taps[-1:], *backbone.row_taps]
        row |= {"side": backbone.resize[0] if backbone.resize else 0, "taps": taps}
        data = export_rows(backbone, taps)
        check_model_bytes(data)
        row |= {"megabytes": round(len(data) / 1e6, 2), "difference": largest_difference(backbone, taps, data)}
        row["milliseconds"] = _milliseconds(data, row["side"])
    except DrillcoreError as error:
        row["reason"] = str(error)[:200]
    return row


def export_rows(backbone: Backbone, taps: Sequence[str]) -> bytes:
    """Return a model file from raw images to the rows of `taps`, as models begin."""
    model = onnx.ModelProto(ir_version=10)
    model.opset_import.append(helper.make_opsetid("", 20))
    model.graph.name = "rows"
    for name, kind, shape in (
        ("images", TensorProto.UINT8, ["N", "H", "W", 3]),
        ("sizes", TensorProto.INT32, ["M", 2]),
    ):
        model.graph.input.append(helper.make_tensor_value_info(name, kind, shape))
    builder = GraphBuilder(model.graph)
    write_preprocessing(builder, backbone.preprocessing, "input")
    write_backbone(builder, backbone, taps, "input", "rows")
    width = backbone.flat_width(taps)
    model.graph.output.append(helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", width]))
    return bytes(model.SerializeToString())


def largest_difference(backbone: Backbone, taps: Sequence[str], data: bytes) -> float:
    """Return the largest difference of any value, as a share of the largest value of its tap."""
    session = _session(data)
    generator = np.random.default_rng(SEED)
    worst = 0.0
    for batch, height, width in ((2, 75, 91), (1, 160, 97), (3, 64, 64)):
        images = generator.integers(0, 256, (batch, height, width, 3), np.uint8)
        found = session.run(["rows"], {"images": images, "sizes": np.zeros((1, 2), np.int32)})[0]
        prepared = torch.from_numpy(np.stack([backbone.prepare(image) for image in images]))
        wanted, start = backbone.rows(prepared, taps).numpy(), 0
        for tap in taps:
            end = start + backbone.taps[tap].flat
            scale = max(float(np.abs(wanted[:, start:end]).max()), 1e-12)
            worst = max(worst, float(np.abs(found[:, start:end] - wanted[:, start:end]).max()) / scale)
            start = end
    return worst


def _session(data: bytes) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _milliseconds(data: bytes, side: int) -> float:
    session, times = _session(data), []
    feeds = {"images": np.zeros((1, side, side, 3), np.uint8), "sizes": np.zeros((1, 2), np.int32)}
    for _ in range(6):
        started = time.process_time()  # of this process: the machine may be busy
        session.run(["rows"], feeds)
        times.append(time.process_time() - started)
    return round(statistics.median(times[1:]) * 1e3, 2)


def text(raw: dict[str, Any]) -> str:
    """Return the report's tables."""
    head = ("family", "network", "side", "difference", "ms", "MB")
    rows = [
        (row["family"], row["network"], row["side"], f"{row['difference']:.1e}", row["milliseconds"], row["megabytes"])
        if row["difference"] is not None
        else (row["family"], row["network"], row["side"], row["reason"], "", "")
        for row in raw["table"]
    ]
    parts = [
        "Networks of timm with random weights, one thread: rows of the exported file, from raw images, against those "
        "of torch. The difference is the largest of any value, as a share of the largest value of its tap; "
        f"{LIMIT:g} is allowed. Milliseconds are processor time of one image.",
        table(head, rows),
    ]
    if "features" in raw:
        names = ("data", "backbone", "weights", "test_images", "accuracy", "milliseconds", "megabytes")
        shown = [tuple(row[name] for name in names) for row in raw["features"]]
        parts += [
            "## What frozen features buy",
            "A linear SVM with its defaults on the rows of each network, learnt from the data sets' training images "
            "and judged once on their own test images by the exported file; nothing is tuned. Milliseconds are "
            "processor time of one image, megabytes those of the file.",
            table(("data set", "backbone and tap", "weights", "test images", "accuracy", "ms", "MB"), shown),
        ]
    return "\n\n".join(parts)
