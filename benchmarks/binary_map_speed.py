"""How long an image of 321 x 481 takes: the bare backbone, with the layer of bits, and with superpixels and merging.

Processor time of one thread, since the machine may be busy with other things; images a second are those of two cores
that do nothing else.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from benchmarks.report import table
from drillcore.export.assemble import IR_VERSION, OPSET
from drillcore.export.builder import GraphBuilder
from drillcore.export.code_writing import build_codes
from drillcore.export.dense.core_nodes import write_core
from drillcore.export.graph import IMAGES
from drillcore.export.sessions import cpu_session
from drillcore.recipes import load_recipe
from drillcore.representations.binary_codes.hashing import HashedTap
from drillcore.representations.core_samples.core import CoreNetwork
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.runtime.segments.segment_params import MergeParams, SegmentParams, SuperpixelParams
from drillcore.runtime.segments.segmenting import Parts
from drillcore.settings import Settings

SIZE, CORES, _REPEATS = (321, 481), 2, 15


def figures_of(settings: Settings) -> tuple[dict[str, Any], str]:
    """Return the figures and the report's text."""
    from drillcore.backbones.catalogue import build_backbone
    from drillcore.representations.core_samples.core_spec import CoreSpec

    recipe = load_recipe(settings, "binary-map")
    backbone = build_backbone(recipe.backbone.name, recipe.backbone.weights, settings, any_size=True)
    core = CoreNetwork(backbone, recipe.backbone.taps, CoreSpec(image=False))
    params, rng = recipe.representation.params, np.random.default_rng(0)
    taps = [
        HashedTap(weights=rng.normal(size=(plane.width, bits)).astype(np.float32), bias=np.zeros(bits, np.float32))
        for plane, bits in zip(core.planes, params["bits"], strict=True)
    ]
    codes = cpu_session(build_codes(core, taps, _metadata()).SerializeToString(), threads=1)
    bare = cpu_session(_bare(core), threads=1)
    image = _picture()
    code = codes.run(None, {IMAGES: image[None]})[0][0]
    segment = SegmentParams(
        bits=tuple(params["bits"]),
        superpixels=SuperpixelParams(**params["superpixels"]),
        merge=MergeParams(**params["merge"]),
    )

    def parted() -> None:
        parts = Parts(image, code, segment)
        parts.segments(parts.groups())

    # In turns: whatever slows the machine down slows both.
    backbone_ms, code_ms = _milliseconds(
        lambda: bare.run(None, {IMAGES: image[None]}), lambda: codes.run(None, {IMAGES: image[None]})
    )
    (superpixel_ms, parts_ms) = _milliseconds(lambda: Parts(image, code, segment), parted)
    whole = code_ms + parts_ms
    figures = {
        "hconv8_vs_backbone": code_ms / backbone_ms,
        "images_per_second": CORES * 1e3 / whole,
        "backbone_ms": backbone_ms,
        "code_ms": code_ms,
        "superpixel_ms": superpixel_ms,
        "segments_ms": parts_ms,
    }
    rows = [
        ("backbone to its taps", f"{backbone_ms:.1f}"),
        ("with bits at every pixel", f"{code_ms:.1f}"),
        ("superpixels alone", f"{superpixel_ms:.1f}"),
        ("superpixels, their codes and colours, and merging", f"{parts_ms:.1f}"),
        ("all", f"{whole:.1f}"),
    ]
    text = (
        f"{recipe.backbone.name} at {SIZE[0]} x {SIZE[1]}, processor time of one thread, median of {_REPEATS}; images "
        f"a second: of {CORES} cores that do nothing else. Wanted: at most 1.1 times the bare backbone, 10 images a "
        "second."
    )
    return figures, f"{text}\n\n{table(('part', 'ms'), rows)}"


def _bare(core: CoreNetwork) -> bytes:
    model = onnx.ModelProto(ir_version=IR_VERSION)
    model.opset_import.append(helper.make_opsetid("", OPSET))
    model.graph.name = "bare"
    model.graph.input.append(helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, ["N", "H", "W", core.channels]))
    for name in write_core(GraphBuilder(model.graph), core).values():
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return bytes(model.SerializeToString())


def _metadata() -> ModelMetadata:
    empty = "0" * 64
    return ModelMetadata(
        task="segments", model="binary-map", classes=[], input={"channels": 3, "resize": None, "preprocessing": {}},
        data_digest=empty, lineage="import-1", git="0" * 40, dirty=False, recipe_sha256=empty, weights_sha256=empty,
        seeds={}, min_size=[1, 1],
    )  # fmt: skip


def _picture() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return blobs of many sizes under noise, which EGS parts into about as many superpixels as a photograph."""
    import cv2

    rng = np.random.default_rng(0)
    total = np.zeros((*SIZE, 3))
    for side in (4, 8, 16, 32, 64):
        coarse = rng.normal(size=(-(-SIZE[0] // side), -(-SIZE[1] // side), 3))
        total += side * cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    total += rng.normal(0, 1, total.shape)
    return np.clip(128 + 1.2 * total, 0, 255).astype(np.uint8)


def _milliseconds(*works: Callable[[], object]) -> list[float]:
    times: list[list[float]] = [[] for _ in works]
    for _ in range(_REPEATS + 1):
        for kept, work in zip(times, works, strict=True):
            started = time.process_time()
            work()
            kept.append(1e3 * (time.process_time() - started))
    return [statistics.median(kept[1:]) for kept in times]
