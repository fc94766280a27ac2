"""A model that was trained before, opened for a notebook or a program: images in, answers out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from drillcore.errors import InputError, UnknownNameError
from drillcore.pages.html import Content, Html, element, facts, picture, table
from drillcore.pages.thumbnails import small_picture
from drillcore.runtime.images.given_image import TAKEN, pixels_of
from drillcore.runtime.model.abstaining import NOT_SURE, abstaining_in_words, answered
from drillcore.runtime.model.exported_file import read_exported
from drillcore.runtime.model.ranking import ranked, ranked_classes
from drillcore.runtime.model.reference import is_model_file, parse_reference
from drillcore.runtime.model.session import open_model
from drillcore.runtime.patches.drawing import PRESENT
from drillcore.settings import Settings
from drillcore.tasks import CLASSIFICATION, DENSE_LABELS, MULTILABEL, SEGMENTS

if TYPE_CHECKING:
    from drillcore.api.explained import Explained
    from drillcore.arrays import Bytes
    from drillcore.runtime.images.masks import Colours
    from drillcore.runtime.model.served import ServedModel
    from drillcore.runtime.model.session import Model

_SHOWN = 5  # classes of an answer in a notebook
_LISTED = 12  # answers of a list there


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model says of one image.

    Attributes:
        label: the class: of the image, or of most of its pixels; "": the model names none, or none of its labels.
        probability: of that class, from 0 to 1; of labelled pixels its share of them; NaN where there is no label.
        labels: that the image has: one; of a model of several labels those of at least one half, none too.
        probabilities: by class, the highest first; of labelled pixels their shares.
        answered: False: the model is not sure enough to answer, and `label` is its guess; models whose recipe does not
            say when always answer.
        mask: index of each pixel's class, uint8 [H,W]; None: the model answers for whole images.
        values: of each pixel, float32 [D,H,W]; None: the model gives none.
    """

    label: str
    probability: float
    labels: list[str] = field(default_factory=list)
    probabilities: dict[str, float] = field(default_factory=dict, repr=False)
    answered: bool = True
    mask: Bytes | None = field(default=None, repr=False)
    values: npt.NDArray[np.float32] | None = field(default=None, repr=False)
    _shown: Bytes | None = field(default=None, repr=False)  # uint8 [H,W,C], for notebooks
    _colours: Colours | None = field(default=None, repr=False)  # of the classes, for the mask above it

    def _repr_html_(self) -> str:
        rows = [(name, f"{share:.1%}") for name, share in list(self.probabilities.items())[:_SHOWN]]
        what = "share of the pixels" if self.mask is not None else "probability"
        drawn = self._drawn()
        shown: Content = None if drawn is None else picture(small_picture(drawn), self.label or "an image")
        unsure = None if self.answered else element("p", NOT_SURE)
        return element("div", shown, unsure, table(("class", what), rows) if rows else None)

    def _drawn(self) -> Bytes | None:
        """Return the image, uint8 [H,W,C], half of it the colours of its pixels' classes where they have them."""
        if self._shown is None or self.mask is None or self._colours is None:
            return self._shown
        colours = np.array(self._colours, np.float32)[self.mask]
        mixed: Bytes = np.rint((self._shown.astype(np.float32) + colours) / 2).astype(np.uint8)
        return mixed


class Answers(list[Answer]):
    """The answers to a list of images, in its order."""

    def _repr_html_(self) -> str:
        more = element("p", f"and {len(self) - _LISTED:,} more") if len(self) > _LISTED else None
        shown = [element("td", Html(one._repr_html_()), style="vertical-align: top") for one in self[:_LISTED]]
        rows = [element("tr", shown[start : start + 4]) for start in range(0, len(shown), 4)]
        return element("div", element("table", rows), more)


class LoadedModel:
    """A model's file, checked and open; made by `load_model`.

    Attributes:
        name: of the model.
        version: registered; 0: of a file that no registry gave one.
        sha256: of the file.
        path: of the file.
        task: what an answer is.
        classes: names in the order of its outputs.
        abstain: when it does not answer, as `runtime.model.metadata.ModelMetadata` has it; None: it always answers.
    """

    def __init__(self, served: ServedModel, model: Model, settings: Settings) -> None:
        self.name, self.version, self.sha256, self.path = served.model, served.version, served.sha256, served.path
        self.task, self.classes = model.metadata.task, list(model.metadata.classes)
        self.abstain = model.metadata.abstain
        self._model, self._settings = model, settings

    @overload
    def predict(self, images: list[Any] | tuple[Any, ...]) -> Answers: ...  # type: ignore[overload-overlap]
    @overload
    def predict(self, images: object) -> Answer: ...
    def predict(self, images: object) -> Answer | Answers:
        """Answer for an image, or for each of a list.

        Args:
            images: a path, the bytes of a file, a PIL image, a uint8 array [H,W] or [H,W,C], or a list of such.

        Returns:
            An `Answer`; of a list one for each, in its order.

        Raises:
            InputError: something else was given, or an image that the model cannot take.
            BadImageError: an image cannot be read; says why.

        Example:
            >>> drillcore.load_model("shells.onnx").predict("new.jpg").label  # doctest: +SKIP
            'whelk'
        """
        if isinstance(images, list | tuple):
            decoded = [self._decoded(one, f"image {number} of the list: ") for number, one in enumerate(images)]
            return Answers(self._answers(decoded))
        if isinstance(images, Iterable) and not isinstance(images, str | bytes | bytearray | memoryview | np.ndarray):
            raise InputError(f"a {type(images).__name__} is no image; {TAKEN}, or a list of them, is expected")
        return self._answers([self._decoded(images)])[0]

    def explain(self, image: object, label: str | None = None) -> Explained:
        """Say where in an image spoke for a class: parts of it are hidden, and the model is asked again.

        It needs the file alone, and about fifty answers; models of patches say it with one. These are the maps of
        `drillcore explain`, but for models whose representation has maps of its own beside the file, as pooled maps do.

        Args:
            image: as `predict` takes one.
            label: a class; None: the most probable one.

        Raises:
            InputError: something else was given, an image that the model cannot take, no such class, or a model that
                answers every pixel: its answer is a map already.
            BadImageError: the image cannot be read; says why.

        Example:
            >>> drillcore.load_model("shells.onnx").explain("new.jpg").map.shape  # doctest: +SKIP
            (480, 640)
        """
        from drillcore.api.explained import explained

        if self.task not in (CLASSIFICATION, MULTILABEL):
            raise InputError(f"{self.name} answers every pixel: what predict gives is a map already")
        if label is not None and label not in self.classes:
            raise UnknownNameError(f"class of {self.name}", label, self.classes)
        return explained(self._model, self._decoded(image), None if label is None else self.classes.index(label))

    def __repr__(self) -> str:
        return f"<LoadedModel {self.name}{f' version {self.version}' if self.version else ''}: {self.task}>"

    def _repr_html_(self) -> str:
        classes = f"{len(self.classes)}: {', '.join(self.classes[:12])}{', ...' if len(self.classes) > 12 else ''}"
        return facts(
            [
                ("model", self.name),
                ("version", self.version or None),
                ("task", self.task),
                ("classes", classes if self.classes else None),
                ("not sure", abstaining_in_words(self.abstain) if self.abstain else None),
                ("sha256", self.sha256[:12]),
            ]
        )

    def _decoded(self, given: object, where: str = "") -> Bytes:
        about, limits = self._model.metadata, self._settings
        try:
            return pixels_of(
                given,
                about.channels,
                max_pixels=limits.max_pixels,
                max_side=limits.max_side,
                value_range=about.value_range,
            )
        except InputError as error:
            if type(error) is InputError and where:
                raise InputError(f"{where}{error}") from None
            raise

    def _answers(self, images: list[Bytes]) -> list[Answer]:
        if self.task in (CLASSIFICATION, MULTILABEL):
            rows = self._model.classify(images).probabilities
            return [self._of_image(row, image) for row, image in zip(rows, images, strict=True)]
        return [self._of_pixels(image) for image in images]

    def _of_image(self, row: npt.NDArray[np.float32], image: Bytes) -> Answer:
        told = dict(ranked_classes(self.classes, row, None))
        label, probability = next(iter(told.items()))
        labels = [name for name, one in told.items() if one >= PRESENT] if self.task == MULTILABEL else [label]
        if not labels:
            label, probability = "", float("nan")
        sure = answered(self._model.metadata, row)
        return Answer(label, probability, labels, told, answered=sure is None or bool(sure), _shown=image)

    def _of_pixels(self, image: Bytes) -> Answer:
        from drillcore.runtime.images.masks import class_colours, class_pixels

        about = self._model.metadata
        if self.task != DENSE_LABELS:
            return Answer("", float("nan"), values=self._model.regress(image), _shown=image)
        mask = self._model.segment(image).label
        counts = class_pixels(mask, len(self.classes))
        order = [index for index in ranked(counts).tolist() if counts[index]]
        shares = {self.classes[index]: int(counts[index]) / mask.size for index in order}
        label, share = next(iter(shares.items()))
        return Answer(label, share, list(shares), shares, mask=mask, _shown=image, _colours=class_colours(about))


def load_model(
    model: str | Path, *, device: str | None = None, settings: Settings | None = None, project: str | Path | None = None
) -> LoadedModel:
    """Open a model that was trained before; torch is not imported.

    Args:
        model: an exported `FILE.onnx`, or, in a project, `NAME`, `NAME@ALIAS` or `NAME@VERSION`; a name alone is the
            champion.
        device: auto, cpu or cuda; None: that of the settings.
        settings: threads, limits and places; None: those of the project, overridden by `DRILLCORE_*` variables.
        project: its folder; None: the one this process works in.

    Raises:
        InputError: no such file, a task that has no single answer, or something that is no model's name.
        UnknownNameError: no such model, alias or version.
        ProjectError: a name, and there is no project here.
        UnsafeModelError: the file is no model that drillcore exported, or could do more than answer images.
        RegistryError, IntegrityError: the file cannot be brought, or is not the one that was registered.

    Example:
        >>> model = drillcore.load_model("shells-lite@champion")  # doctest: +SKIP
        >>> model.predict(["a.jpg", "b.jpg"])  # doctest: +SKIP
    """
    if not isinstance(model, str | Path):
        raise InputError(
            f"a {type(model).__name__} is no model; FILE.onnx, or NAME, NAME@ALIAS or NAME@VERSION is expected"
        )
    root = Path(project).expanduser() if project is not None else None
    if is_model_file(str(model)):
        limits = settings or Settings.load_anywhere()
        served = read_exported(Path(model).expanduser(), limits)
    else:
        limits = settings or Settings.load(root)
        served = _registered(limits, str(model))
    limits = replace(limits, device=device) if device else limits
    opened = open_model(served.path, sha256=served.sha256, device=limits.device, threads=limits.cpu_threads)
    if opened.metadata.task == SEGMENTS:
        raise InputError(f"{served.model} makes segments: drillcore.segments(FILE.onnx, image) answers with them")
    return LoadedModel(served, opened, limits)


def _registered(settings: Settings, text: str) -> ServedModel:
    """Return the file of a reference; the registry is asked only where it must be."""
    from drillcore.registry.known import brought

    def fetch() -> None:
        from drillcore.registry import fetch

        fetch(settings, text)

    return brought(settings, parse_reference(text), fetch)
