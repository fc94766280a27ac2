"""One ONNX file that answers for every pixel of an image of any size (CONTRACTS, MODEL): labels, or values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from drillcore.errors import InputError, UnknownNameError
from drillcore.export.assemble import IR_VERSION, LABEL, MAX_BYTES, ML_OPSET, OPSET, PROBABILITIES
from drillcore.export.builder import GraphBuilder
from drillcore.export.dense.modes import MODES, STEPS, Values, is_layered, outputs_of, write_values
from drillcore.export.graph import IMAGES
from drillcore.export.heads.forest_nodes import ML_DOMAIN
from drillcore.export.scope import Scope
from drillcore.export.sessions import cpu_session
from drillcore.representations.core_samples.auto_context import GRID, AutoContext
from drillcore.representations.core_samples.core import CoreNetwork
from drillcore.representations.core_samples.pixel_answers import Answers
from drillcore.runtime.model.metadata import METADATA_KEY, ModelMetadata
from drillcore.tasks import get_task

VALUE = "value"
LOGITS = "logits"
# Difference of the two largest logits below which mode refined looks again, where no calibration images are given. On
# street scenes with a trained head `fit_threshold` gave 0.8; this is on the safe side, and slower.
THRESHOLD = 3.0
# Share of the calibration pixels that may end with another label; a fifth of what is promised for new images.
_ALLOWED = 2e-5
_TALLEST = 255  # labels are uint8

Image = npt.NDArray[np.uint8]


def dense_input_contract(core: CoreNetwork, context: AutoContext | None = None) -> dict[str, object]:
    """Return what stands under `input` in the metadata of a model with this core, and this first stage."""
    rule = {**core.backbone.preprocessing, "resize": None, "core": core.to_dict(), "taps": list(core.taps)}
    if context is not None:
        rule["auto_context"] = context.spec.to_dict()
    return {"channels": core.channels, "resize": None, "preprocessing": rule}


def tile_geometry(
    core: CoreNetwork, mode: str, answers: Answers | None = None, context: AutoContext | None = None
) -> tuple[int, int] | None:
    """Return halo and align in pixels of a model's tiles (metadata); None where it cannot work in tiles.

    A lattice of positions has to lie on a tile as on the whole scene, and one more position counts around it; so do
    the window of the answers and what a second stage sees around a pixel: each of its cells reads a core of its own.
    """
    _check_mode(mode)
    if not core.tileable:
        return None
    step = STEPS[mode]
    align = math.lcm(core.align, step, int(GRID.stride) if context else 1)
    reach = core.halo + (step if step > 1 else 0) + (answers.reach if answers else 0)
    reach += context.spec.reach if context else 0
    return math.ceil(reach / align) * align, align


def export_dense(
    core: CoreNetwork,
    head: Any,
    *,
    mode: str,
    metadata: ModelMetadata,
    calibration: Sequence[Image] = (),
    answers: Answers | None = None,
    context: AutoContext | None = None,
    dtype: str = "float32",
) -> bytes:
    """Return the model file's bytes, the same for the same parts.

    Args:
        core: frozen.
        head: fitted on samples of the core; one of layers has `mean_, scale_, layers_, activation`.
        mode: "exact", "refined" (labels only) or "fast"; see `modes`.
        metadata: written under "drillcore"; its task decides about the outputs.
        calibration: images uint8 [h, w, C] on which mode refined's threshold is fitted; none: `THRESHOLD`.
        answers: how values become answers, as the metadata say; None: as they are.
        context: the first stage, where the head is the second of two.
        dtype: of the stored samples, "float16" or "float32"; a head that is no layers is given its rows so.

    Raises:
        InputError: parts that do not fit together.
        UnknownNameError: another mode.
    """
    _check_mode(mode)
    answers = answers or Answers()
    _check_parts(core, head, mode, metadata, answers, context)
    threshold = THRESHOLD
    if mode == "refined" and calibration:
        threshold = fit_threshold(core, head, calibration, answers, context)
    more: Any = {"threshold": threshold, "answers": answers, "context": context, "dtype": dtype}
    model = build_dense(core, head, mode=mode, metadata=metadata, **more)
    if model.ByteSize() > MAX_BYTES:
        raise InputError(f"the model would have {model.ByteSize() / 1e9:.1f} GB, ONNX files end at 2.1 GB")
    data: bytes = model.SerializeToString(deterministic=True)
    onnx.checker.check_model(data)
    return data


def build_dense(
    core: CoreNetwork,
    head: Any,
    *,
    mode: str,
    metadata: ModelMetadata,
    threshold: float = THRESHOLD,
    answers: Answers | None = None,
    context: AutoContext | None = None,
    dtype: str = "float32",
) -> onnx.ModelProto:
    """Return the model; arguments as `export_dense`, whose checks are not made here.

    Args:
        core: frozen.
        head: fitted.
        mode: one of MODES.
        metadata: of the file.
        threshold: of mode refined.
        answers: of the file.
        context: the first stage.
        dtype: of the stored samples.
    """
    model, builder = _start(core, metadata.model, head)
    more: Any = {"threshold": threshold, "answers": answers, "context": context, "dtype": dtype}
    values = write_values(builder, core, head, mode=mode, **more)
    outputs = outputs_of(head)
    if get_task(metadata.task).named:
        _write_labels(builder, values, outputs)
    else:
        _write_regression(builder, values, outputs)
    helper.set_model_props(model, {METADATA_KEY: metadata.to_json()})
    return model


def logits_model(
    core: CoreNetwork,
    head: object,
    mode: str,
    threshold: float = THRESHOLD,
    *,
    answers: Answers | None = None,
    context: AutoContext | None = None,
) -> bytes:
    """Return a model without metadata, with the one output logits float32 [N, H, W, K]; for calibration and parity.

    Args:
        core: frozen.
        head: fitted.
        mode: one of MODES.
        threshold: of mode refined.
        answers: that the logits are to be those of; None: the last layer's.
        context: the first stage.
    """
    model, builder = _start(core, LOGITS, head)
    values = write_values(builder, core, head, mode=mode, threshold=threshold, answers=answers, context=context)
    outputs = outputs_of(head)
    found = values.name if values.writer is None else values.writer.write_in_order(values.name, outputs)
    builder.add("Identity", [found], LOGITS)
    model.graph.output.append(helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["N", "H", "W", outputs]))
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def fit_threshold(
    core: CoreNetwork,
    head: object,
    images: Sequence[Image],
    answers: Answers | None = None,
    context: AutoContext | None = None,
) -> float:
    """Return the threshold of mode refined with which all but 2 of 100,000 of the images' pixels keep their label.

    A pixel would be wrong where the label of the values interpolated from every second pixel is not that of its own;
    it is put right where the difference of the two largest interpolated values is below the threshold.

    Args:
        core: frozen.
        head: fitted.
        images: uint8 [h, w, C], at least some of them unlike each other.
        answers: of the file.
        context: the first stage.
    """
    # A threshold of minus infinity leaves the interpolated values as they are (but for one block, see modes).
    exact, coarse = (
        cpu_session(logits_model(core, head, mode, -np.inf, answers=answers, context=context), threads=1)
        for mode in ("exact", "refined")
    )
    wrong: list[npt.NDArray[np.float32]] = []
    count = 0
    for image in images:
        truth = exact.run([LOGITS], {IMAGES: image[None]})[0].argmax(axis=3)
        found = coarse.run([LOGITS], {IMAGES: image[None]})[0]
        best = np.partition(found, -2, axis=3)[..., -2:]
        margin = best[..., 1] - best[..., 0]
        wrong.append(margin[found.argmax(axis=3) != truth])
        count += truth.size
    margins = np.sort(np.concatenate(wrong))[::-1]
    allowed = int(count * _ALLOWED)
    # The largest margin that has to be looked at again, and a little: Less is strict.
    return float(margins[allowed]) * 1.05 if len(margins) > allowed else 0.0


def _start(core: CoreNetwork, name: str, head: object) -> tuple[onnx.ModelProto, GraphBuilder]:
    model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="drillcore")
    model.opset_import.append(helper.make_opsetid("", OPSET))
    if not is_layered(head):  # a forest's trees
        model.opset_import.append(helper.make_opsetid(ML_DOMAIN, ML_OPSET))
    model.graph.name = name
    model.graph.input.append(helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, ["N", "H", "W", core.channels]))
    return model, GraphBuilder(model.graph)


def _write_labels(builder: GraphBuilder, values: Values, outputs: int) -> None:
    scope = Scope(builder, "answers")
    label = scope.op("ArgMax", values.name, axis=-1, keepdims=0)  # the lowest index on ties
    label = scope.cast(label, "uint8")
    probability = scope.op("Softmax", values.name, axis=-1)
    if values.writer is not None:
        label = scope.op("Squeeze", values.writer.write_in_order(label, 1), scope.whole(3))
        probability = values.writer.write_in_order(probability, outputs)
    builder.add("Identity", [label], LABEL)
    builder.add("Transpose", [probability], PROBABILITIES, perm=[0, 3, 1, 2])
    builder.graph.output.extend(
        [
            helper.make_tensor_value_info(LABEL, TensorProto.UINT8, ["N", "H", "W"]),
            helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["N", outputs, "H", "W"]),
        ]
    )


def _write_regression(builder: GraphBuilder, values: Values, outputs: int) -> None:
    found = values.name if values.writer is None else values.writer.write_in_order(values.name, outputs)
    builder.add("Transpose", [found], VALUE, perm=[0, 3, 1, 2])
    builder.graph.output.append(helper.make_tensor_value_info(VALUE, TensorProto.FLOAT, ["N", outputs, "H", "W"]))


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        raise UnknownNameError("dense mode", mode, MODES)


def _check_parts(
    core: CoreNetwork, head: Any, mode: str, metadata: ModelMetadata, answers: Answers, context: AutoContext | None
) -> None:
    task = get_task(metadata.task)
    if not task.dense:
        raise InputError(f"a dense model is expected, the metadata's task is {metadata.task!r}")
    outputs = outputs_of(head)
    if not is_layered(head) and (mode != "exact" or context is not None):
        raise InputError(f"the head {head.name} answers each pixel for itself: it is exported exact, with one stage")
    if task.named and not 2 <= outputs <= _TALLEST:
        raise InputError(f"a dense model has 2 to {_TALLEST} classes, the head has {outputs}")
    if task.named and outputs != len(metadata.classes):
        raise InputError(f"the head has {outputs} classes, the metadata name {len(metadata.classes)}")
    if not task.named and mode == "refined":
        raise InputError("mode refined looks again where labels are doubtful; a regression is exported exact or fast")
    if metadata.channels != core.channels:
        raise InputError(f"the core takes {core.channels} channels, the metadata's input has {metadata.channels}")
    if metadata.weights_sha256 != core.backbone.weights_sha256:
        raise InputError("the metadata's weights digest is not the backbone's")
    answers.check(outputs, labels=task.named)
    if metadata.answers != (None if answers.plain else answers.to_dict()):
        raise InputError(f"the metadata say {metadata.answers} of the answers, the file would have {answers.to_dict()}")
    said = metadata.input["preprocessing"].get("auto_context")
    if said != (None if context is None else context.spec.to_dict()):
        raise InputError(f"the metadata say {said} of the first stage; take their input from dense_input_contract")
    geometry = tile_geometry(core, mode, answers, context)
    if metadata.tile is not None and (metadata.halo, metadata.align) != geometry:
        raise InputError(f"tiles with halo {metadata.halo} and align {metadata.align} do not fit; {geometry} would")
