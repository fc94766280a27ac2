"""Writes and proves the file of a model of patches."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from drillcore.arrays import Array, Doubles
from drillcore.errors import ParityError
from drillcore.export.assemble import IR_VERSION, OPSET, PROBABILITIES, checked_bytes, write_stored
from drillcore.export.builder import GraphBuilder
from drillcore.export.graph import IMAGES
from drillcore.export.heads.adaptation_nodes import write_adaptation, write_aggregation
from drillcore.export.parity import TOLERANCE, odd_images
from drillcore.export.patches.pyramid_nodes import write_pyramid
from drillcore.export.sessions import cpu_session
from drillcore.export.writing import ModelWriter, Proof
from drillcore.heads.adaptation.head import AdaptationHead
from drillcore.json_types import Json
from drillcore.progress import progress
from drillcore.representations.patches.patch_rows import network_of
from drillcore.representations.patches.scores import aggregated
from drillcore.runtime.model.metadata import METADATA_KEY, ModelMetadata
from drillcore.runtime.patches.drawing import OUTPUT

# A point, lines, primes, and a photograph's shape: every level is enlarged, or squashed, or neither.
SIZES = ((1, 1), (1, 37), (31, 7), (97, 211), (240, 180))
_BATCH = 2  # images of one size that are asked together


@dataclass(frozen=True, kw_only=True)
class PatchParity:
    """What was compared.

    Attributes:
        images: different images, made-up ones included.
        rows: answers compared.
        batches: the batch sizes.
        max_difference: largest difference of a probability.
    """

    images: int
    rows: int
    batches: list[int]
    max_difference: float


class PatchWriter(ModelWriter):
    """Pyramid, rows as the store has them, adaptation layers, aggregation; images of one size a batch."""

    def facts(self) -> Json:
        """Return the input's contract: any size, no padding."""
        network = network_of(self.run)
        patches = {"lambdas": list(network.plan.lambdas), "window": network.window}
        rule = {**self.run.backbone.preprocessing, OUTPUT: patches}
        return {"input": {"channels": self.run.backbone.channels, "resize": None, "preprocessing": rule}}

    @property
    def head(self) -> AdaptationHead:
        """Of the run."""
        found: AdaptationHead = self.run.head
        return found

    def write(self, metadata: ModelMetadata) -> bytes:
        """Return the file's bytes."""
        network, head = network_of(self.run), self.head
        model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="drillcore")
        model.opset_import.append(helper.make_opsetid("", OPSET))
        graph, channels, classes = model.graph, network.backbone.channels, len(metadata.classes)
        graph.name = metadata.model
        graph.input.append(helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, ["N", "H", "W", channels]))
        builder = GraphBuilder(graph)
        write_pyramid(builder, network, "pyramid/rows")
        flat = builder.constant("rows/flat", [-1, network.width], np.int64)
        builder.add("Reshape", ["pyramid/rows", flat], "rows/of_patches")
        write_stored(builder, "rows/of_patches", "rows", dtype=network.plan.dtype)
        write_adaptation(builder, head, "rows", "answers")
        count = builder.add("Shape", [IMAGES], "images/count", start=0, end=1)
        rest = builder.constant("answers/rest", [-1, classes], np.int64)
        shape = builder.add("Concat", [count, rest], "answers/shape", axis=0)
        builder.add("Reshape", ["answers", shape], OUTPUT)
        write_aggregation(builder, head, OUTPUT, PROBABILITIES)
        graph.output.append(helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["N", classes]))
        graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", "P", classes]))
        helper.set_model_props(model, {METADATA_KEY: metadata.to_json()})
        return checked_bytes(model)

    def prove(self) -> Proof:
        """Compare the file on every validation image and on odd sizes, alone and two at a time."""
        run, network, head = self.run, network_of(self.run), self.head
        table = run.parity_rows()
        loaded = run.images(table, run.backbone.channels)
        made = odd_images(run.backbone.channels, SIZES)
        titles = [*table["path"], *(f"a made-up image of {height}x{width}" for height, width in SIZES)]
        stored = run.representation.rows(run, table.assign(split="val"))  # no mirror images
        session = cpu_session(run.float_file.read_bytes(), run.settings.cpu_threads)
        worst, count = 0.0, 0
        with progress("parity", len(titles), unit="answers") as advance:
            for number, title in enumerate(titles):
                if number < len(table):
                    image = loaded[number]
                    rows = np.asarray(stored.rows[np.flatnonzero(stored.images == number)])
                else:
                    image = made[number - len(table)]
                    rows = network.rows(image).astype(network.plan.dtype)
                expected = image_probabilities(head, rows)
                batch = np.repeat(image[None], 1 if number < len(table) else _BATCH, axis=0)
                (got,) = session.run([PROBABILITIES], {IMAGES: batch})
                difference = float(np.abs(got - expected).max()) if got.shape == (len(batch), len(expected)) else 1.0
                if not difference <= TOLERANCE:
                    raise ParityError(
                        f"{title}: probabilities differ by {difference:.2g}, {TOLERANCE:g} is allowed; the file does "
                        "not look at patches as the head was fitted"
                    )
                worst, count = max(worst, difference), count + len(got)
                advance(1)
        report = PatchParity(images=len(titles), rows=count, batches=[1, _BATCH], max_difference=worst)
        return Proof(report=dataclasses.asdict(report), note=f"{count:,} answers, largest difference {worst:.1e}")


def image_probabilities(head: AdaptationHead, rows: Array) -> Doubles:
    """Return the probabilities of an image by the rows of its patches, float64 [K]."""
    answers = head.predict_proba(rows)
    scores = aggregated(answers, np.zeros(len(rows), np.int64), head.power_)
    found: Doubles = head.probabilities_of(scores)[0]
    return found
