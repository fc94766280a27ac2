"""Writing and proving the file of binary codes: raw images of any size in, a code for every pixel out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from drillcore.arrays import Array, Bytes
from drillcore.errors import ParityError
from drillcore.export.assemble import IR_VERSION, OPSET
from drillcore.export.builder import GraphBuilder
from drillcore.export.dense.core_nodes import write_core
from drillcore.export.graph import IMAGES
from drillcore.export.scope import Scope
from drillcore.export.writing import ModelWriter, Proof
from drillcore.json_types import Json
from drillcore.representations.binary_codes.hashing import SMALLEST, HashedTap, HashLayer, cell_of, hashed_taps
from drillcore.representations.core_samples.planes import Grid
from drillcore.runtime.model.metadata import METADATA_KEY, ModelMetadata
from drillcore.runtime.model.session import open_model
from drillcore.runtime.segments.segment_params import SegmentParams
from drillcore.runtime.segments.segmenting import CODE

if TYPE_CHECKING:
    from drillcore.representations.binary_codes.code_rows import BinaryCodes
    from drillcore.representations.core_samples.core import CoreNetwork
    from drillcore.retrain.run import Run

# A bit whose sigmoid lies this near to 0.5 may fall either way: sums round in another order here and there.
TIE = 1e-4
_PARITY_IMAGES, ODD_SIZES = 6, ((1, 1), (8, 8), (5, 77), (97, 131))


class CodeWriter(ModelWriter):
    """For `BinaryCodes`: network, one convolution for each tap, bits, bytes; superpixels come behind the file."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        representation: BinaryCodes = run.representation  # type: ignore[assignment]
        self.plan, self.core = representation.plan, representation.core(run)
        assert run.state is not None, "binary codes are fitted"  # noqa: S101
        self.taps = hashed_taps(run.state.arrays, self.core.taps)

    def facts(self) -> Json:
        """Return the input's contract, and how codes become segments."""
        rule = {**self.core.backbone.preprocessing, "resize": None, "core": self.core.to_dict()}
        rule["taps"] = list(self.core.taps)
        params = SegmentParams(bits=self.plan.bits, superpixels=self.plan.superpixels, merge=self.plan.merge)
        return {
            "input": {"channels": self.core.channels, "resize": None, "preprocessing": rule},
            "answers": params.model_dump(mode="json"),
        }

    def write(self, metadata: ModelMetadata) -> bytes:
        """Return the file's bytes."""
        model = build_codes(self.core, self.taps, metadata)
        data: bytes = model.SerializeToString(deterministic=True)
        onnx.checker.check_model(data)
        return data

    def prove(self) -> Proof:
        """Compare every pixel's bits with network and layer in torch, on some images and on odd sizes."""
        rows = self.run.parity_rows()
        rows = rows.iloc[:: max(1, len(rows) // _PARITY_IMAGES)][:_PARITY_IMAGES]
        rng, channels = np.random.default_rng(0), self.core.channels
        images: list[Bytes] = list(self.run.images(rows, channels))
        images += [rng.integers(0, 256, (*size, channels)).astype(np.uint8) for size in ODD_SIZES]
        names = [*rows["path"], *(f"noise of {height} x {width}" for height, width in ODD_SIZES)]
        model, bits, ties = open_model(self.run.float_file), 0, 0
        for name, image in zip(names, images, strict=True):
            wrong, near, count = compare(model.run(image[None])[CODE][0], torch_values(self.core, self.taps, image))
            if wrong:
                raise ParityError(f"{name}: {wrong} of {count} bits differ that are no ties")
            bits, ties = bits + count, ties + near
        report = {"images": len(images), "bits": bits, "ties": ties}
        return Proof(report=report, note=f"{bits:,} bits alike, {ties} of them ties at the threshold")


def build_codes(core: CoreNetwork, taps: Sequence[HashedTap], metadata: ModelMetadata) -> onnx.ModelProto:
    """Return the model: images uint8 [N, H, W, C] to code uint8 [N, bytes, H, W]."""
    model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="drillcore")
    model.opset_import.append(helper.make_opsetid("", OPSET))
    graph = model.graph
    graph.name = metadata.model
    graph.input.append(helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, ["N", "H", "W", core.channels]))
    builder = GraphBuilder(graph)
    maps = write_core(builder, core)
    codes = [
        _write_tap(Scope(builder, f"hconv8/{plane.name}"), maps[plane.name], tap, plane.grid)
        for plane, tap in zip(core.planes, taps, strict=True)
    ]
    count = sum(-(-len(tap.bias) // 8) for tap in taps)
    builder.add("Concat", codes, CODE, axis=1)
    graph.output.append(helper.make_tensor_value_info(CODE, TensorProto.UINT8, ["N", count, "H", "W"]))
    helper.set_model_props(model, {METADATA_KEY: metadata.to_json()})
    return model


def _write_tap(scope: Scope, source: str, tap: HashedTap, grid: Grid) -> str:
    """Write one tap's bits, packed, at every pixel."""
    bits = len(tap.bias)
    weights = scope.array(np.asarray(tap.weights, np.float32).T[:, :, None, None], np.float32)
    found = scope.op("Conv", source, weights, scope.array(tap.bias, np.float32))
    length = scope.op("ReduceL2", found, scope.whole(1), keepdims=1)
    length = scope.op("Max", length, scope.array([SMALLEST], np.float32))
    value = scope.op("Sigmoid", scope.op("Div", found, length))
    bit = scope.cast(scope.op("Greater", value, scope.array([0.5], np.float32)), "float32")
    powers = np.zeros((-(-bits // 8), bits, 1, 1), np.float32)
    for number in range(bits):
        powers[number // 8, number] = 2.0 ** (7 - number % 8)
    code = scope.cast(scope.op("Conv", bit, scope.array(powers, np.float32)), "uint8")
    for axis in (3, 2):  # columns while there are few rows; then rows are copied whole
        code = scope.op("Gather", code, _write_cells(scope, source, grid, axis), axis=axis)
    return code


def _write_cells(scope: Scope, source: str, grid: Grid, axis: int) -> str:
    """Write `hashing.cell_of`: the cell of each pixel along an axis of the map, int64 [side]."""
    pixel = scope.cast(scope.counting(scope.side(IMAGES, axis - 1)), "float64")
    place = scope.op("Div", scope.op("Sub", pixel, scope.number(grid.origin)), scope.number(grid.stride))
    last = scope.op("Sub", scope.side(source, axis), scope.whole(1))
    cell = scope.cast(scope.op("Round", place), "int64")
    return scope.op("Min", scope.op("Max", cell, scope.whole(0)), last)


def torch_values(core: CoreNetwork, taps: Sequence[HashedTap], image: Bytes) -> list[Array]:
    """Return the sigmoid's value of each tap's bits at each pixel, float32 [B, H, W] each, by network and layer."""
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()[None]
    found = []
    with torch.no_grad():
        for plane, tap, values in zip(core.planes, taps, core(pixels), strict=True):
            value = HashLayer(tap)(values)[0].numpy()
            rows, columns = (cell_of(plane.grid, image.shape[axis], value.shape[1 + axis]) for axis in (0, 1))
            found.append(value[:, rows][:, :, columns])
    return found


def compare(code: Bytes, values: Sequence[Array]) -> tuple[int, int, int]:
    """Return how many bits are wrong, how many are ties, and how many there are.

    Args:
        code: of the file, uint8 [bytes, H, W].
        values: of each tap float32 [B, H, W], `torch_values`.
    """
    wrong = ties = count = start = 0
    for value in values:
        width = -(-len(value) // 8)
        bits = np.unpackbits(code[start : start + width], axis=0)[: len(value)].astype(bool)
        near = np.abs(value - 0.5) <= TIE
        wrong += int(((bits != (value > 0.5)) & ~near).sum())
        ties, count, start = ties + int(near.sum()), count + value.size, start + width
    return wrong, ties, count
