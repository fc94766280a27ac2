"""From loaded images to a model: the stages of a retrain without registry, gate and flows."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from drillcore.api.images import Images
from drillcore.digests import sha256_file
from drillcore.errors import DataError, InputError
from drillcore.evaluation.figures.abstaining import abstaining_figures
from drillcore.evaluation.figures.metrics import align_columns, classification_metrics, predictions
from drillcore.files import atomic_path
from drillcore.json_types import Values
from drillcore.pages.html import facts, table
from drillcore.recipes.building import build_head, training_plan
from drillcore.recipes.own_images import BACKBONE, TAP, TRAINED_HEAD, frozen_head
from drillcore.recipes.reading import is_model_name
from drillcore.recipes.schema import (
    SCHEMA,
    AbstainSection,
    AugmentSection,
    BackboneSection,
    DatasetSection,
    HeadSection,
    Recipe,
    SeedsSection,
)
from drillcore.retrain.abstaining import require_images
from drillcore.retrain.backbone_stage import prepare_backbone
from drillcore.retrain.evaluating import evaluate_run
from drillcore.retrain.exporting import export_model, prove_parity
from drillcore.retrain.fitting.head_fitting import fill_store, fit_head
from drillcore.retrain.opening import answers, open_for_batches
from drillcore.retrain.records import BackboneDone, Evaluated, Exported, Fitted, Proven
from drillcore.retrain.run import Run
from drillcore.runtime.model.abstaining import answered

if TYPE_CHECKING:
    import pandas as pd

    from drillcore.backbones.catalogue import Entry


REFRESH = 0.2  # the share of new images from which on a backbone is trained anew


class Figures(dict[str, object]):
    """Figures by the names they have everywhere; prints as a short table, the classes left out."""

    def __str__(self) -> str:
        """Return one line for each figure."""
        rows = [(name, value) for name, value in self.items() if not isinstance(value, dict)]
        width = max((len(name) for name, _ in rows), default=0)
        return "\n".join(f"{name:<{width}}  {_shown(value)}" for name, value in rows)

    def _repr_html_(self) -> str:
        rows = [(name, _shown(value)) for name, value in self.items() if not isinstance(value, dict)]
        return table(("figure", "value"), rows)


def train(
    images: Images,
    *,
    backbone: str = BACKBONE,
    taps: Sequence[str] | None = None,
    head: str | None = None,
    image_size: int | None = None,
    params: Values | None = None,
    training: Values | Literal[False] | None = None,
    weights: str | None = None,
    augment: str = "none",
    abstain: float | None = None,
    seed: int = 7,
    name: str | None = None,
) -> TrainedModel:
    """Take a backbone as it comes (or train it on the images), extract features, fit a head on them.

    Unless something else is said: EfficientNet-Lite0 with ImageNet weights, frozen, in colour at 224 pixels, and
    logistic regression.

    The same images and arguments give the same model; with a `state` folder what was done before is found again.

    Args:
        images: from `load_folder`.
        backbone: a name of `drillcore.backbones.catalogue.BACKBONES`.
        taps: the layers whose activations are read; None: what the backbone would give its own classifier.
        head: a name of `drillcore.heads.catalogue.HEADS`; None: logistic, or forest on a trained backbone.
        image_size: side of the input, for backbones that take several; None: the backbone's own.
        params: of the head, for instance `{"n_estimators": 100}`.
        training: of the backbone, fields of `TrainingPlan`, for instance `{"epochs": 10}`; None: its defaults where it
            can be trained; False: frozen as it comes.
        weights: `package:NAME`, `hub:OWNER/NAME@REVISION`, `FILE.safetensors#sha256=DIGEST`, a name of torchvision's,
            or `seed:N`; None: ImageNet's where there are such, else a seed.
        augment: how training images are varied.
        abstain: accuracy that the answered images are to have, 0.95 for instance: the model is not sure of the others,
            and its head leaves the validation images to the threshold; None: it always answers.
        seed: of training and of the head.
        name: of the model; None: data set and head.

    Raises:
        UnknownNameError: an unknown backbone, tap, head or parameter; names the known ones.
        InputError: a value that is out of range.
        DataError: too few images: a class needs three to be judged, `abstain` more to validate on.

    Example:
        >>> model = drillcore.train(images, params={"n_estimators": 100})  # doctest: +SKIP
        >>> print(model.evaluate())  # doctest: +SKIP
    """
    from drillcore.backbones.catalogue import default_weights, get_entry

    entry = get_entry(backbone)
    plan = _plan(backbone, entry, training)
    head = head or (frozen_head(images.manifest.task) if plan is None else TRAINED_HEAD)
    recipe = Recipe(
        schema=SCHEMA,
        name=name or f"{images.name}-{head.replace('_', '-')}",
        task=images.manifest.task,
        dataset=DatasetSection(name=images.name),
        backbone=BackboneSection(
            name=backbone,
            weights=_absolute(weights or default_weights(backbone)),
            taps=list(taps) if taps is not None else _taps(backbone, entry, image_size),
            resize=image_size or 0,
            train=plan,
            refresh=REFRESH,
        ),
        augment=AugmentSection(name=augment),
        abstain=_abstain(abstain),
        head=HeadSection(name=head, params=dict(params or {})),
        seeds=SeedsSection(train=seed),
    )
    model = TrainedModel(images, recipe)
    _check(model)
    model._fit()
    return model


class TrainedModel:
    """A backbone and a head that were fitted on images; made by `train`.

    Attributes:
        images: what it learned from.
        recipe: what it is made of.
        settings: device, threads and limits.
    """

    def __init__(self, images: Images, recipe: Recipe) -> None:
        self.images, self.recipe, self.settings = images, recipe, images.settings

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.recipe.name

    @property
    def classes(self) -> list[str]:
        """Class names, in the order of the outputs."""
        return self.images.classes

    @property
    def curve(self) -> list[dict[str, object]]:
        """The backbone's learning curve, one row per epoch; empty where it came as it is."""
        return list(self._run.record(BackboneDone).curve)

    @property
    def onnx(self) -> Path:
        """The model's ONNX file, exported and proven when first asked for. Raises ParityError."""
        self._run.once(Exported, export_model)
        self._run.once(Proven, prove_parity)
        return self._run.model_file

    @property
    def pictures(self) -> list[Path]:
        """Confusion matrix, calibration, bars per class and shares of the classes, as PNG files."""
        return [self._run.path / name for name in self._evaluated().pictures]

    def evaluate(self, images: Images | None = None) -> Figures:
        """Measure the exported ONNX file on labelled images.

        Args:
            images: other images, all of which are used; None: the test split of those it was trained on.

        Returns:
            `accuracy`, `top5_accuracy`, `macro_f1`, `log_loss`, `expected_calibration_error` as fractions from 0 to 1
            (with `abstain` also `coverage` and `answered_accuracy`), `images`, `set_aside`, `model`, `model_sha256`,
            and `per_class`.

        Raises:
            DataError: there is no test image, or one cannot be read any more.
            ParityError: the ONNX file does not answer as what was trained.
        """
        about = {"model": self.name, "model_sha256": sha256_file(self.onnx)}
        if images is None:
            record = self._evaluated()
            return Figures({**record.figures, "images": record.images, "set_aside": 0, **about})
        return Figures({**_measure(self, images), **about})

    def export(self, path: str | Path) -> Path:
        """Write one ONNX file that takes raw uint8 images; it is proven to answer as what was trained.

        Raises:
            InputError: the path cannot be written.
            ParityError: the answers differ; nothing is written.
        """
        target = Path(path).expanduser()
        made = self.onnx
        try:
            with atomic_path(target) as partial:
                shutil.copyfile(made, partial)
        except OSError as error:
            raise InputError(
                f"{target} cannot be written: {error.strerror}; name a file in a folder of yours"
            ) from None
        return target

    def score(self, inputs: str | Path | Iterable[str | Path]) -> pd.DataFrame:
        """Classify images without labels, see `drillcore.score`."""
        from drillcore.api.scored_frame import score

        return score(self.onnx, inputs, settings=self.settings)

    def __repr__(self) -> str:
        recipe = self.recipe
        taps = "+".join(recipe.backbone.taps)
        made_of = f"{recipe.head.name} on {recipe.backbone.name} {taps}"
        return f"<TrainedModel {self.name}: {made_of}, {len(self.classes)} classes>"

    def _repr_html_(self) -> str:
        backbone, images = self.recipe.backbone, self.images
        return facts(
            [
                ("model", self.name),
                ("head", self.recipe.head.name),
                ("backbone", f"{backbone.name} {'+'.join(backbone.taps)}, weights {backbone.weights}"),
                ("images", f"{len(images):,} of {images.name}"),
                ("classes", ", ".join(self.classes)),
            ]
        )

    @cached_property
    def _run(self) -> Run:
        return Run(self.settings, self.recipe, self.images.manifest)

    def _fit(self) -> None:
        self._run.once(BackboneDone, prepare_backbone)
        fill_store(self._run)
        self._run.once(Fitted, fit_head)

    def _evaluated(self) -> Evaluated:
        _ = self.onnx
        return self._run.once(Evaluated, evaluate_run)


def _shown(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _plan(
    backbone: str, entry: Entry, training: Mapping[str, object] | Literal[False] | None
) -> dict[str, object] | None:
    """Return the recipe's `backbone.train`: a mapping where the backbone is trained, None where it is frozen."""
    if training is False or (training is None and not entry.trainable):
        return None
    if not entry.trainable:
        raise InputError(f"{backbone} has no training of its own; leave training out")
    return dict(training or {})


def _abstain(accuracy: float | None) -> AbstainSection | None:
    if accuracy is None:
        return None
    try:
        return TypeAdapter(AbstainSection).validate_python({"accuracy": accuracy})
    except ValidationError:
        raise InputError(f"abstain is {accuracy!r}; the accuracy of the answered images, 0.95 for instance") from None


def _taps(backbone: str, entry: Entry, size: int | None) -> list[str]:
    """Return the taps that make a good row; the highest one where none is known for that."""
    if backbone == BACKBONE:
        return [TAP]
    made = entry.build(2, 0, (size, size) if size else None)
    return made.default_taps()


def _absolute(weights: str) -> str:
    """Return weights in a file with the file's whole path; others as they are."""
    file, sign, digest = weights.partition("#sha256=")
    return f"{Path(file).expanduser().resolve()}{sign}{digest}" if sign else weights


def _check(model: TrainedModel) -> None:
    """Find a wrong name or value before the first minute is spent on it."""
    from drillcore.backbones.catalogue import build_backbone

    recipe = model.recipe
    if not is_model_name(recipe.name):
        raise InputError(f"{recipe.name!r} is no model name; lower-case letters, digits and single dashes are allowed")
    require_images(recipe, model.images.manifest)
    build_head(recipe, n_classes=len(model.classes))
    if recipe.backbone.train is not None:
        training_plan(recipe)
    section = recipe.backbone
    size = (section.resize,) * 2 if section.resize else None
    made = build_backbone(section.name, section.weights, model.settings, units=len(model.classes), resize=size)
    made.check_taps(recipe.backbone.taps)


def _measure(model: TrainedModel, images: Images) -> dict[str, object]:
    """Return the figures of a model on all usable rows of other images; classes it does not know count as misses."""
    started = time.monotonic()
    rows = images.manifest.rows()
    opened = open_for_batches(model.settings, model.onnx)
    found = answers(model.settings, opened, [images.manifest.path_of(path) for path in rows["path"]])
    if not len(found.rows):
        raise DataError(f"none of the {len(rows)} images of {images.name} could be scored")
    labels = list(rows["label"].iloc[found.rows])
    classes = sorted({*labels, *model.classes})
    truth = [classes.index(label) for label in labels]
    aligned = align_columns(found.probabilities, model.classes, classes)
    sure = answered(opened.metadata, found.probabilities)
    unsure = {} if sure is None else abstaining_figures(predictions(aligned) == np.array(truth), sure)
    return {
        **classification_metrics(truth, aligned, classes),
        **unsure,
        "images": len(found.rows),
        "set_aside": len(found.set_aside) + len(images.manifest.quarantine),
        "seconds": round(time.monotonic() - started, 3),
    }
