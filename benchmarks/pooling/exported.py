"""What pooling costs in a model's file beside the backbone there, by the forms of its nodes, for `bench cross-pooling`.

The nodes are those that the exporter writes, from a prepared image to a row. A form is a writer of its own: the one
that ships, the one before it, and others that were tried; all give the same rows.
"""

from __future__ import annotations

import statistics
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx
from onnx import TensorProto, helper

from benchmarks.pooling.features import NETWORKS, build
from drillcore.export.assemble import ACTIVATIONS, IR_VERSION, OPSET, ROWS
from drillcore.export.backbone import write_backbone
from drillcore.export.builder import GraphBuilder
from drillcore.export.cross_pooling_nodes import CrossPoolingWriter
from drillcore.export.scope import Scope
from drillcore.export.sessions import cpu_session
from drillcore.representations.base import State
from drillcore.representations.cross_pooling.cross_rows import CrossPooling
from drillcore.representations.cross_pooling.params import PoolingPlan
from drillcore.representations.cross_pooling.pooling import LENGTH, NOTHING

if TYPE_CHECKING:
    from drillcore.settings import Settings

TIMES, SEED = 31, 7
SHIPPED = "as the exporter writes it"
NEAR = 1e-5  # of a row's largest number: what forms may differ by


class _Before(CrossPoolingWriter):
    """The power by its sign, the length by a pass of its own."""

    def _normalised(self, scope: Scope, values: str, kind: str) -> str:
        if kind != "power":
            return super()._normalised(scope, values, kind)
        values = scope.op("Mul", scope.op("Sign", values), scope.op("Sqrt", scope.op("Abs", values)))
        length = scope.op("ReduceL2", values, scope.whole(1), keepdims=1)
        length = scope.op("Max", length, scope.array([NOTHING], np.float32))
        return scope.op("Mul", values, scope.op("Div", scope.array([LENGTH], np.float32), length))


class _Shifted(CrossPoolingWriter):
    """The subarray's cells as shifted slices, side by side: the projection is a convolution of one cell."""

    def _projected(self, scope: Scope, local: str, axes: Any, offset: str) -> str:
        kept, _, high, wide = axes.shape
        turned = axes.transpose(0, 2, 3, 1).reshape(kept, -1, 1, 1)
        return scope.op("Conv", self._beside(scope, local, high, wide), scope.array(turned, np.float32), offset)

    def _beside(self, scope: Scope, local: str, high: int, wide: int) -> str:
        rows, columns = self.pooling.layout.parts[0].local.shape[1:]
        cells = [(top, left) for top in range(high) for left in range(wide)]
        ends = [
            (scope.whole(*cell), scope.whole(cell[0] + rows - high + 1, cell[1] + columns - wide + 1)) for cell in cells
        ]
        return scope.op("Concat", *(scope.op("Slice", local, *end, scope.whole(2, 3)) for end in ends), axis=1)


class _Product(_Shifted):
    """The same as one matrix product with constant axes."""

    def _projected(self, scope: Scope, local: str, axes: Any, offset: str) -> str:
        kept, depth, high, wide = axes.shape
        rows, columns = self.pooling.layout.parts[0].local.shape[1:]
        sides, width = (rows - high + 1, columns - wide + 1), depth * high * wide
        x = scope.shape(self._beside(scope, local, high, wide), -1, width, sides[0] * sides[1])
        x = scope.shape(scope.op("Transpose", x, perm=[0, 2, 1]), -1, width)
        turned = np.ascontiguousarray(axes.transpose(2, 3, 1, 0).reshape(width, kept))
        x = scope.shape(scope.op("Gemm", x, scope.array(turned, np.float32), offset), -1, sides[0] * sides[1], kept)
        return scope.shape(scope.op("Transpose", x, perm=[0, 2, 1]), -1, kept, *sides)


class _Nine(CrossPoolingWriter):
    """Each cell through the axes of all places of the subarray in one product, then the sum of shifted slices."""

    def _projected(self, scope: Scope, local: str, axes: Any, offset: str) -> str:
        kept, depth, high, wide = axes.shape
        rows, columns = self.pooling.layout.parts[0].local.shape[1:]
        sides = (rows - high + 1, columns - wide + 1)
        x = scope.op("Transpose", scope.shape(local, -1, depth, rows * columns), perm=[0, 2, 1])
        turned = np.ascontiguousarray(axes.transpose(1, 2, 3, 0).reshape(depth, -1))
        y = scope.op("MatMul", scope.shape(x, -1, depth), scope.array(turned, np.float32))
        y = scope.shape(y, -1, rows, columns, high * wide * kept)
        parts = []
        for number in range(high * wide):
            top, left = divmod(number, wide)
            start = scope.whole(top, left, number * kept)
            stop = scope.whole(top + sides[0], left + sides[1], (number + 1) * kept)
            parts.append(scope.op("Slice", y, start, stop, scope.whole(1, 2, 3)))
        return scope.op("Transpose", scope.op("Add", scope.op("Sum", *parts), offset), perm=[0, 3, 1, 2])


FORMS: dict[str, type[CrossPoolingWriter]] = {
    SHIPPED: CrossPoolingWriter,
    "power by its sign (before)": _Before,
    "shifted slices, a convolution of one cell": _Shifted,
    "shifted slices, one product": _Product,
    "one product of cells, nine slices summed": _Nine,
}


def pooling_of(settings: Settings, key: str, side: int, components: int, *, blocks: bool) -> tuple[Any, Any]:
    """Return a fitted run in the little that a writer asks of it, and its taps: CL-45, or with `blocks` CL-45C.

    The axes are drawn: what they hold changes no time.
    """
    network = NETWORKS[key]
    representation = CrossPooling(PoolingPlan(components=components, blocks=(2, 2) if blocks else None))
    backbone = representation.look(build(settings, key, side), network.pair45)
    rng, arrays = np.random.default_rng(SEED), {}
    for part in representation.layout.parts:
        width = part.local.shape[0] * 9
        arrays[f"{part.name}/mean"] = rng.normal(size=width).astype(np.float32)
        axes = np.linalg.qr(rng.normal(size=(width, components)))[0].T
        arrays[f"{part.name}/axes"] = np.ascontiguousarray(axes, np.float32)
    run = SimpleNamespace(representation=representation, state=State(arrays), backbone=backbone)
    return cast(Any, run), network.pair45


def file_times(settings: Settings, key: str, side: int, components: int) -> dict[str, Any]:
    """Return seconds of the processor of one picture on one thread, in a model's file.

    `backbone` and `pooling` of CL-45, `blocks_backbone` and `blocks_pooling` of CL-45C (five looks), and `forms`: of
    CL-45's pooling by form. Pooling is what a file takes above its backbone, the median of pairs that follow each
    other.
    """
    run, taps = pooling_of(settings, key, side, components, blocks=False)
    backbone, forms = _in_turn(run, taps, FORMS)
    blocks_run, _ = pooling_of(settings, key, side, components, blocks=True)
    blocks_backbone, blocks = _in_turn(blocks_run, taps, {SHIPPED: CrossPoolingWriter})
    return {
        "backbone": backbone,
        "pooling": forms[SHIPPED],
        "blocks_backbone": blocks_backbone,
        "blocks_pooling": blocks[SHIPPED],
        "forms": forms,
    }


def _in_turn(
    run: Any, taps: tuple[str, str], writers: dict[str, type[CrossPoolingWriter]]
) -> tuple[float, dict[str, float]]:
    """Return the median seconds of the backbone, and of what each form takes above it."""
    images = np.random.default_rng(SEED).normal(size=(1, run.backbone.planes, *run.backbone.resize)).astype(np.float32)
    bare = cpu_session(_file(run, taps, None), 1)
    files = {name: cpu_session(_file(run, taps, writer(run)), 1) for name, writer in writers.items()}
    _check_alike([files[name].run(None, {"images": images})[0] for name in files])
    alone: list[float] = []
    above: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(TIMES):
        for name, file in files.items():
            alone.append(_seconds(bare, images))
            above[name].append(_seconds(file, images) - alone[-1])
    return statistics.median(alone), {name: statistics.median(values) for name, values in above.items()}


def _seconds(session: Any, images: Any) -> float:
    start = time.process_time()
    session.run(None, {"images": images})
    return time.process_time() - start


def _check_alike(rows: list[Any]) -> None:
    """Raise AssertionError where a form has other rows: powers are compared before the root, as parity does."""
    first, *others = (found * np.abs(found) for found in rows)
    for found in others:
        np.testing.assert_allclose(found, first, rtol=4e-3, atol=NEAR * float(np.abs(first).max()))


def _file(run: Any, taps: tuple[str, str], writer: CrossPoolingWriter | None) -> bytes:
    """Return a model from prepared images to rows, or without a writer to activations."""
    model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="drillcore")
    model.opset_import.append(helper.make_opsetid("", OPSET))
    model.graph.name = "pooled"
    shape = ["N", run.backbone.planes, *run.backbone.resize]
    model.graph.input.append(helper.make_tensor_value_info("images", TensorProto.FLOAT, shape))
    builder = GraphBuilder(model.graph)
    write_backbone(builder, run.backbone, taps, "images", ACTIVATIONS)
    if writer is not None:
        writer.write_rows(builder, ACTIVATIONS, ROWS)
    result = ACTIVATIONS if writer is None else ROWS
    model.graph.output.append(helper.make_tensor_value_info(result, TensorProto.FLOAT, None))
    data: bytes = model.SerializeToString()
    return data
