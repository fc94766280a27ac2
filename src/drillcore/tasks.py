"""What an answer is: one declaration for each task, which everything that must know asks.

A task says what a file's outputs are, by which figures its answers are judged, and who does with them what only this
task needs. Those stand on higher floors and are named, as "module:attribute": nothing is imported before it is used.
"""

from __future__ import annotations

from dataclasses import dataclass

from drillcore.errors import UnknownNameError

CLASSIFICATION, DENSE_LABELS, DENSE_REGRESSION = "classification", "dense_labels", "dense_regression"
MULTILABEL, SEGMENTS = "multilabel", "segments"
CLASSES = "classes"  # an axis as long as the model's list of classes


@dataclass(frozen=True, kw_only=True)
class GateLimits:
    """What the gate compares and allows; None where there is no limit. A recipe's `gate` has these defaults.

    Attributes:
        metric: what has to be better.
        confidence: of the paired bootstrap that it is better.
        margin: by how much at least, in the metric's unit.
        max_class_drop: how far the recall of one class may fall.
        min_class_support: images a class needs for the rule above.
        max_ms: latency limit of one image, milliseconds on one CPU core.
        max_mb: size limit of the ONNX file, in units of 1,000,000 bytes.
        speedup: a version so many times as fast as the champion need not be better; None: every version has to be.
        loss: by how much such a version may be worse, in the metric's unit, with `confidence`.
    """

    metric: str = "macro_f1"
    confidence: float = 0.95
    margin: float = 0.0
    max_class_drop: float = 0.15
    min_class_support: int = 20
    max_ms: float | None = None
    max_mb: float | None = None
    speedup: float | None = None
    loss: float = 0.003


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """An output of a model's file.

    Attributes:
        name: of the tensor.
        axes: behind the batch axis: a length, -1 for any, or `CLASSES`.
        datatype: as the Open Inference Protocol calls it.
        asked: whether a plain prediction asks for it.
    """

    name: str
    axes: tuple[int | str, ...] = ()
    datatype: str = "FP32"
    asked: bool = True

    def shape(self, classes: int) -> list[int]:
        """Return the lengths behind the batch axis, -1 for any, of a model with so many classes."""
        return [classes if axis == CLASSES else int(axis) for axis in self.axes]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What an answer is.

    Attributes:
        name: as in recipes and in the metadata of files.
        outputs: of a file.
        dense: whether every pixel is answered: images keep their size, and answers are maps as large.
        named: whether an answer names classes.
        most_classes: that an answer can tell apart; 0: any number.
        blended: the output whose mean blended tiles take; "": there are none.
        channels: of the images, where the task decides; None: the data set's.
        unit: of the values, for the metadata; None: they have none.
        metrics: figures of it, the ones shown first first.
        gate_metrics: those the gate can compare image by image with a paired bootstrap; the first is the default.
        measuring: class that measures answers and asks the gate (`retrain.measuring.Measuring`).
        finish: function (outputs of one image, image, metadata) to the finished outputs, of what comes after the file;
            "": nothing does.
        writer: how a batch writes answers (`drillcore_serving.batch.writing.task_writers.TaskWriter`).
        shown: how a server answers (`drillcore_serving.online.answers.Shown`).
    """

    name: str
    outputs: tuple[Output, ...]
    dense: bool
    named: bool
    most_classes: int = 0
    blended: str = ""
    channels: int | None = None
    unit: str | None = None
    metrics: tuple[str, ...]
    gate_metrics: tuple[str, ...]
    measuring: str
    finish: str = ""
    writer: str
    shown: str

    @property
    def asked(self) -> tuple[str, ...]:
        """Names of the outputs a plain prediction asks for."""
        return tuple(output.name for output in self.outputs if output.asked)

    def output(self, name: str) -> Output | None:
        """Return an output; None where the task has none of that name."""
        return next((output for output in self.outputs if output.name == name), None)


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            name=CLASSIFICATION,
            outputs=(Output(name="label", datatype="INT64"), Output(name="probabilities", axes=(CLASSES,))),
            dense=False,
            named=True,
            metrics=("accuracy", "top5_accuracy", "macro_f1", "log_loss", "expected_calibration_error"),
            gate_metrics=("accuracy", "macro_f1", "log_loss"),
            measuring="drillcore.retrain.judging.classifying:ClassMeasuring",
            writer="drillcore_serving.batch.writing.task_writers:CLASS_WRITER",
            shown="drillcore_serving.online.answers:ClassShown",
        ),
        Task(
            name=MULTILABEL,
            # Independent: an image has any number of the labels, none too.
            outputs=(
                Output(name="probabilities", axes=(CLASSES,)),
                # Of models that look at patches, for maps of where a class is: as many as an image's size makes.
                Output(name="patches", axes=(-1, CLASSES), asked=False),
            ),
            dense=False,
            named=True,
            metrics=("mean_average_precision", "mean_average_precision_11"),
            gate_metrics=("mean_average_precision", "mean_average_precision_11"),
            measuring="drillcore.retrain.judging.multilabel:MultilabelMeasuring",
            writer="drillcore_serving.batch.writing.task_writers:MULTILABEL_WRITER",
            shown="drillcore_serving.online.answers:MultilabelShown",
        ),
        Task(
            name=DENSE_LABELS,
            outputs=(
                Output(name="label", axes=(-1, -1), datatype="UINT8"),
                # Computed only where they are asked for: 4 K bytes for each pixel.
                Output(name="probabilities", axes=(CLASSES, -1, -1), asked=False),
            ),
            dense=True,
            named=True,
            most_classes=256,
            blended="probabilities",
            metrics=(
                "ship_iou",  # these three where the classes are background and ship
                "ship_f1",
                "average_precision",
                "class_average",
                "global_average",
                "mean_iou",
                "accuracy",
                "mean_squared_error",
            ),
            gate_metrics=("mean_iou", "class_average", "global_average", "ship_iou", "ship_f1"),
            measuring="drillcore.retrain.judging.pixel_labels:LabelMeasuring",
            writer="drillcore_serving.batch.writing.task_writers:LABEL_WRITER",
            shown="drillcore_serving.online.answers:LabelShown",
        ),
        Task(
            name=DENSE_REGRESSION,
            outputs=(Output(name="value", axes=(-1, -1, -1)),),
            dense=True,
            named=False,
            blended="value",
            channels=1,  # colour is predicted from grey
            unit="rgb 0..1",
            metrics=("mean_squared_error", "psnr"),
            gate_metrics=("mean_squared_error",),
            measuring="drillcore.retrain.judging.pixel_values:ValueMeasuring",
            writer="drillcore_serving.batch.writing.task_writers:VALUE_WRITER",
            shown="drillcore_serving.online.answers:ValueShown",
        ),
        Task(
            name=SEGMENTS,
            outputs=(Output(name="code", axes=(-1, -1, -1), datatype="UINT8"),),
            dense=True,
            named=False,
            metrics=(
                "covering",
                "covering_ods",
                "covering_ois",
                "segmentation_iou",
                "probabilistic_rand_ods",
                "variation_of_information_ods",
            ),
            gate_metrics=("covering",),
            measuring="drillcore.retrain.judging.segment_agreement:SegmentMeasuring",
            finish="drillcore.runtime.segments.segmenting:finish",
            writer="drillcore_serving.batch.writing.segment_parts:SEGMENT_WRITER",
            shown="drillcore_serving.online.segment_answers:SegmentShown",
        ),
    )
}


def get_task(name: str) -> Task:
    """Return a task by name. Raises UnknownNameError."""
    if name not in TASKS:
        raise UnknownNameError("task", name, TASKS)
    return TASKS[name]
