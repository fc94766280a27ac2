"""Three plug-ins that strain the four axes as the coming papers will, small but whole.

1. `Projected`: a state learnt without labels, and rows of 100,000 numbers under a head that takes their Gram matrix.
2. `Bands`: three rows for an image, with targets of their own, and an answer that is gathered behind the head.
3. `Outlines`: no labels to learn and no head; a task with several truths for an image, work behind the ONNX file, and a
   gate that says "not checked" where nothing is known to be true.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pandas as pd
from numpy.typing import NDArray
from onnx import TensorProto, helper
from sklearn.base import BaseEstimator, ClassifierMixin

from drillcore.errors import InputError, ParityError
from drillcore.export.assemble import IR_VERSION, OPSET
from drillcore.export.builder import GraphBuilder
from drillcore.export.writing import ModelWriter, Proof, RowsWriter
from drillcore.heads.base import Classifier, FitRun
from drillcore.heads.catalogue import GRAM, HeadRow
from drillcore.heads.dual import DualClassifier
from drillcore.representations.activations.image_rows import ImageRows
from drillcore.representations.base import Representation, Rows, State
from drillcore.representations.catalogue import RepresentationRow
from drillcore.retrain.judging.measuring import Evidence, Measuring, Truths
from drillcore.runtime.model.metadata import METADATA_KEY, ModelMetadata
from drillcore.schemas import Params
from drillcore.tasks import Output, Task

KEPT, COPIES = 64, 25  # 64 * 64 * 25 = 102,400 numbers


class Plan:
    """Parameters of a representation that has none of its own."""

    dtype = "float32"
    views = 1


def plan(recipe: Any) -> Plan:
    return Plan()


class LinearParams(Params):
    n_classes: int | None = None


class LeastSquares(ClassifierMixin, BaseEstimator, Classifier):
    """Answers are linear in a row; they need not sum to 1."""

    name = "least_squares"
    params = LinearParams

    def __init__(self, n_classes: int | None = None) -> None:
        self.n_classes = n_classes

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, run: FitRun = FitRun()) -> Any:
        rows, onehot = np.asarray(X, np.float64), np.eye(self.n_classes or 0)[y]
        return self._take(np.linalg.lstsq(rows, onehot, rcond=1e-6)[0].T)

    def _take(self, weights: NDArray[np.float64]) -> Any:
        self.weights_, self.classes_, self.n_features_in_ = weights, np.arange(len(weights)), weights.shape[1]
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.asarray(X, np.float64) @ self.weights_.T
        return found

    def predict(self, X: Any) -> Any:
        return self.predict_proba(X).argmax(axis=1)

    def state(self) -> Any:
        return {"weights": self.weights_}, {}

    @classmethod
    def from_state(cls, arrays: Any, meta: Any) -> Any:
        return cls()._take(arrays["weights"])


class Ridge(LeastSquares, DualClassifier):
    """The same from a Gram matrix."""

    name = "ridge"

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, run: FitRun = FitRun()) -> Any:
        products = np.asarray(X, np.float64)
        scale = np.trace(products) / len(products)
        self.dual_ = np.linalg.solve(products + 1e-3 * scale * np.eye(len(products)), np.eye(self.n_classes or 0)[y]).T
        return self

    def dual(self) -> NDArray[np.float64]:
        return self.dual_

    def settle(self, weights: NDArray[np.float64]) -> None:
        self._take(weights)


def write_linear(builder: GraphBuilder, head: LeastSquares, rows: str, output: str) -> None:
    weights = builder.constant("head/weights", head.weights_.T, np.float32)
    builder.add("MatMul", [rows, weights], output)


LEAST_SQUARES = HeadRow(
    head="straining:LeastSquares",
    params="straining:LinearParams",
    writer="straining:write_linear",
    tasks=("classification",),
)
RIDGE = dataclasses.replace(LEAST_SQUARES, head="straining:Ridge", accepts=GRAM)


class Projected(ImageRows):
    """All products of an image's projected activations, many times over."""

    name = "projected"
    fits = 0  # how often a state was learnt, for the test

    def fit(self, run: Any) -> State:
        type(self).fits += 1
        rows = self.activations(run, run.manifest.rows("train")).astype(np.float64)
        mean = rows.mean(axis=0)
        axes = np.linalg.svd(rows - mean, full_matrices=True)[2][:KEPT].T
        return State({"mean": mean.astype(np.float32), "axes": np.ascontiguousarray(axes, np.float32)})

    def transform(self, activations: NDArray[Any], state: State | None) -> NDArray[Any]:
        assert state is not None
        found = (activations - state.arrays["mean"]) @ state.arrays["axes"]
        products = (found[:, :, None] * found[:, None, :]).reshape(len(found), -1)
        return np.concatenate([products] * COPIES, axis=1)


class ProjectedWriter(RowsWriter):
    exact = False  # a matrix product rounds in another order

    def write_rows(self, builder: GraphBuilder, activations: str, rows: str) -> None:
        state = self.run.state
        assert state is not None
        mean = builder.constant("projected/mean", state.arrays["mean"], np.float32)
        axes = builder.constant("projected/axes", state.arrays["axes"], np.float32)
        centred = builder.add("Sub", [activations, mean], "projected/centred")
        found = builder.add("MatMul", [centred, axes], "projected/found")
        tall, wide = (
            builder.add("Reshape", [found, builder.constant(f"projected/{name}/shape", shape, np.int64)], name)
            for name, shape in (("projected/tall", [-1, KEPT, 1]), ("projected/wide", [-1, 1, KEPT]))
        )
        products = builder.add("Mul", [tall, wide], "projected/products")
        shape = builder.constant("projected/flat/shape", [-1, KEPT * KEPT], np.int64)
        flat = builder.add("Reshape", [products, shape], "projected/flat")
        builder.add("Concat", [flat] * COPIES, rows, axis=1)


class Bands(ImageRows):
    """A third of the activations each; a band's class is its image's, moved on by the number of the band."""

    name = "bands"
    per_image = 3

    def transform(self, activations: NDArray[Any], state: State | None) -> NDArray[Any]:
        return activations[:, : 3 * (activations.shape[1] // 3)]

    def targets(self, run: Any, table: pd.DataFrame) -> NDArray[Any]:
        classes = len(run.manifest.classes)
        found: NDArray[Any] = (run.manifest.label_indices(table)[:, None] + np.arange(3)) % classes
        return found.reshape(-1)

    def gather(self, answers: NDArray[Any], images: NDArray[np.int64]) -> NDArray[Any]:
        bands = answers.reshape(-1, 3, answers.shape[1])
        assert (np.bincount(images) == 3).all()
        return np.mean([np.roll(bands[:, band], -band, axis=1) for band in range(3)], axis=0)


class BandsWriter(RowsWriter):
    def write_rows(self, builder: GraphBuilder, activations: str, rows: str) -> None:
        width = 3 * (self.run.backbone.flat_width(self.run.recipe.backbone.taps) // 3)
        ends = [
            builder.constant(f"bands/{name}", [at], np.int64) for name, at in (("from", 0), ("to", width), ("axis", 1))
        ]
        cut = builder.add("Slice", [activations, *ends], "bands/cut")
        shape = builder.constant("bands/shape", [-1, width // 3], np.int64)
        builder.add("Reshape", [cut, shape], rows)

    def write_gather(self, builder: GraphBuilder, answers: str, gathered: str) -> None:
        classes = len(self.run.manifest.classes)
        back = np.concatenate([np.roll(np.eye(classes), -band, axis=1) for band in range(3)]) / 3
        shape = builder.constant("bands/image/shape", [-1, 3 * classes], np.int64)
        flat = builder.add("Reshape", [answers, shape], "bands/image")
        builder.add("MatMul", [flat, builder.constant("bands/back", back, np.float32)], gathered)


class Outlines(Representation):
    """How steep an image is at each pixel: nothing is learnt."""

    name = "outlines"

    def unkept(self) -> str:
        return "nothing is learnt from rows"

    def rows(self, run: Any, table: pd.DataFrame) -> Rows:
        raise InputError("outlines have no rows")


def steepness(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return differences to the next pixel, float32 [1, H, W], 0 at the lower and right edge."""
    grey = image[..., 0].astype(np.float32)
    found = np.zeros_like(grey)
    found[:-1] += np.abs(grey[1:] - grey[:-1])
    found[:, :-1] += np.abs(grey[:, 1:] - grey[:, :-1])
    return found[None]


class OutlinesWriter(ModelWriter):
    """The whole file: there is no head to write."""

    def facts(self) -> dict[str, Any]:
        rule = {"steepness": "to the next pixel"}
        return {"input": {"channels": 1, "resize": None, "preprocessing": rule}}

    def write(self, metadata: ModelMetadata) -> bytes:
        model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="drillcore")
        model.opset_import.append(helper.make_opsetid("", OPSET))
        graph = model.graph
        graph.name = metadata.model
        graph.input.append(helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 1]))
        builder = GraphBuilder(graph)
        grey = builder.add("Cast", ["images"], "grey", to=TensorProto.FLOAT)
        planes = builder.add("Transpose", [grey], "planes", perm=[0, 3, 1, 2])
        kernel = np.zeros((2, 1, 2, 2), np.float32)
        kernel[0, 0, :, 0] = kernel[1, 0, 0, :] = [-1, 1]
        mode: dict[str, Any] = {"mode": "edge"}
        pads = builder.constant("pads", [0, 0, 0, 0, 0, 0, 1, 1], np.int64)
        wide = builder.add("Pad", [planes, pads], "wide", **mode)
        both = builder.add(
            "Abs", [builder.add("Conv", [wide, builder.constant("kernel", kernel, np.float32)], "both")], "abs"
        )
        builder.add("ReduceSum", [both, builder.constant("axes", [1], np.int64)], "value", keepdims=1)
        graph.output.append(helper.make_tensor_value_info("value", TensorProto.FLOAT, ["N", 1, "H", "W"]))
        helper.set_model_props(model, {METADATA_KEY: metadata.to_json()})
        data: bytes = model.SerializeToString(deterministic=True)
        return data

    def prove(self) -> Proof:
        from drillcore.runtime.model.session import open_model

        model, table = open_model(self.run.model_file), self.run.parity_rows()
        for path, image in zip(table["path"], self.run.images(table, 1), strict=True):
            worst = float(np.abs(model.run(image[None])["value"][0] - steepness(image)).max())
            if worst > 1e-3:
                raise ParityError(f"{path}: outlines differ by {worst:.2g}")
        return Proof(report={"images": len(table)}, note="outlines")


def outlined(outputs: dict[str, NDArray[Any]], image: NDArray[np.uint8], metadata: ModelMetadata) -> dict[str, Any]:
    """What comes behind the file: the steepest tenth of an image's pixels are its outline."""
    value = outputs["value"][0]
    return {"outline": value >= np.quantile(value, 0.9), **outputs}


class OutlineEvidence(Evidence):
    """Each image's best overlap with one of its truths; images without one give no number."""

    def __init__(self, model: Any, truths: Truths, channels: int = 1) -> None:
        from drillcore.runtime.images.decode import decode_file
        from drillcore.runtime.model.finishing import finished

        self.bad, self.overlaps = [], list[float]()
        for number, path in enumerate(truths.paths):
            image = decode_file(path, channels, max_pixels=10**7)
            answer = finished(model.metadata, model.run(image[None]), image)["outline"]
            found = [float((answer & one).sum() / max(1, (answer | one).sum())) for one in truths.of(number)]
            self.overlaps += [max(found)] if found else []

    @property
    def numbers(self) -> NDArray[np.float64]:
        return np.array(self.overlaps)

    def figures(self) -> dict[str, Any]:
        return {"segmentation_iou": float(np.mean(self.overlaps))} if self.overlaps else {}


class OutlineMeasuring(Measuring):
    evidence_file = "overlaps.npy"
    people = 2  # who drew an outline of each image; 0: nobody did

    def truths(self, run: Any) -> Truths:
        rows = run.evaluated_rows()
        images = run.images(rows, 1)

        def drawn(number: int) -> list[NDArray[np.bool_]]:
            value = steepness(images[number])[0]
            return [value >= np.quantile(value, 0.9 - 0.1 * person) for person in range(self.people)]

        return Truths(paths=run.paths(rows), of=drawn)

    def outside(self, settings: Any, model: Any, items: Sequence[Any], layout: Any) -> Truths:
        return Truths(paths=[item.source for item in items], of=lambda number: ())

    def evidence(self, settings: Any, model: Any, truths: Truths, *, whole: bool = True) -> OutlineEvidence:
        return OutlineEvidence(model, truths)

    def draw(self, run: Any, model: Any, evidence: Any, figures: dict[str, Any]) -> list[str]:
        return []

    def said(self, recipe: Any, figures: dict[str, Any]) -> str:
        return ", ".join(f"{name} {value:.3f}" for name, value in figures.items()) or "nothing known to be true"

    def judge(self, run: Any, challenger: Any, champion: Any) -> Any:
        raise NotImplementedError("a gate of overlaps is not what is tried here")


OUTLINES = Task(
    name="outlines",
    outputs=(Output(name="value", axes=(1, -1, -1)),),
    dense=True,
    named=False,
    channels=1,
    metrics=("segmentation_iou",),
    gate_metrics=("segmentation_iou",),
    measuring="straining:OutlineMeasuring",
    finish="straining:outlined",
    writer="drillcore_serving.batch.writing.task_writers:VALUE_WRITER",
    shown="drillcore_serving.online.answers:ValueShown",
)
PROJECTED = RepresentationRow(
    representation="straining:Projected",
    plan="straining:plan",
    tasks=("classification",),
    writer="straining:ProjectedWriter",
)
BANDS = RepresentationRow(
    representation="straining:Bands", plan="straining:plan", tasks=("classification",), writer="straining:BandsWriter"
)
OUTLINE_ROWS = RepresentationRow(
    representation="straining:Outlines",
    plan="straining:plan",
    tasks=("outlines",),
    one_size=False,
    writer="straining:OutlinesWriter",
    headless=True,
)
