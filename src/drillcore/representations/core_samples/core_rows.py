"""Core samples as a representation: what is read at pixels of an image, for answers to every pixel (paper 000)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from drillcore.arrays import Array
from drillcore.datasets.decoded_images import another_file
from drillcore.datasets.targets import LabelReader, colour_values, label_reader
from drillcore.digests import sha256_file
from drillcore.errors import InputError
from drillcore.files import read_object
from drillcore.heads.saving import load_head
from drillcore.representations.base import FIT_SPLITS, Representation
from drillcore.representations.core_samples.auto_context import AutoContext
from drillcore.representations.core_samples.core import CoreNetwork
from drillcore.representations.core_samples.drilling import Load, Targets
from drillcore.representations.core_samples.pixel_answers import Answers
from drillcore.representations.core_samples.samples import STORE, CoreSamples, extract

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from drillcore.recipes.cores import CorePlan
    from drillcore.retrain.run import Run

ANSWERS_FILE = "answers.json"
FIRST_FOLDER = "first-head"  # of two stages


class CoreRows(Representation):
    """Core samples of some pixels of each image."""

    name = "core_samples"
    unit = "views"

    def __init__(self, plan: CorePlan) -> None:
        super().__init__(plan)
        self._core: CoreNetwork | None = None

    def core(self, run: Run) -> CoreNetwork:
        """Return the frozen network with the planes of the recipe, made once, on the CPU: drilling moves it."""
        if self._core is None:
            taps = run.recipe.backbone.taps
            self._core = CoreNetwork(run.backbone, taps, self.plan.spec, channels=run.channels)
        self._core.backbone.to("cpu")
        return self._core.to("cpu")

    def check(self, run: Run) -> None:
        """Refuse answers that do not fit the data set's classes."""
        if run.task.named:
            check_classes(self.plan, run.manifest.classes)

    def fit_splits(self, run: Run) -> tuple[str, ...]:
        """Return train, and val unless the figures are measured on it."""
        return tuple(split for split in FIT_SPLITS if split != run.recipe.evaluate.split)

    def kept_rows(self, run: Run) -> pd.DataFrame:
        """Return what the head learns from."""
        return run.fit_rows()

    def unkept(self) -> str:
        """Of a random subset: it is drawn when the head is fitted."""
        return "" if self.plan.storage == STORE else f"a subset of at most {self.plan.max_rows:,} core samples"

    def rows(self, run: Run, table: pd.DataFrame, *, subset: Path | None = None) -> CoreSamples:
        """Return the core samples of images; `subset`: the file of a random part of them."""
        plan, core = self.plan, self.core(run)
        return extract(
            core,
            list(table["sha256"]),
            run.load(table, core.channels),
            self.targets(run, table),
            run.settings,
            sampling=plan.sampling,
            views=plan.views,
            dtype=plan.dtype,
            storage=plan.storage,
            max_rows=plan.max_rows,
            file=subset,
            cluster=run.cluster,
        )

    def targets(self, run: Run, table: pd.DataFrame) -> Targets:
        """Return what is learnt at each pixel of images: labels, or the image's own colours."""
        manifest = run.manifest
        if not run.task.named:
            return Targets(digests=list(table["sha256"]), load=_Colours(run.load(table, 3)), rule="colour")
        return Targets(
            digests=list(table["target_sha256"]),
            load=_Labels(label_reader(run.settings, manifest), table.to_dict("records"), run.cluster is not None),
            classes=len(manifest.classes),
            rule=f"{manifest.layout}: {', '.join(manifest.classes)}",
        )

    def answers(self, run: Run) -> Answers:
        """Return how a fitted run's values become answers: as the recipe says, or with the bias that was fitted."""
        found: Answers = self.plan.answers
        return found if self.plan.bias is None else Answers.from_dict(read_object(run.path / ANSWERS_FILE))

    def context(self, run: Run) -> AutoContext | None:
        """Return the first stage of a fitted run; None where it has one stage."""
        plan = self.plan.context
        return None if plan is None else AutoContext(spec=plan.spec, head=load_head(run.path / FIRST_FOLDER))

    def maps(self, run: Run, image: npt.NDArray[np.uint8]) -> list[tuple[str, Array]]:
        """Return the map of each plane (paper 000, figure 3)."""
        core = self.core(run)
        with torch.inference_mode():
            found = core(torch.from_numpy(image).permute(2, 0, 1)[None].to(torch.float32))
        return [(plane.name, values[0].numpy()) for plane, values in zip(core.planes, found, strict=True)]


@dataclass(frozen=True, slots=True)
class _Colours:
    """The colours of images by number, as values."""

    load: Load

    def __call__(self, number: int) -> npt.NDArray[np.float32]:
        return colour_values(self.load(number))


@dataclass(frozen=True, slots=True)
class _Labels:
    """The labels of the listed rows by number; whether their files are what the rows say is looked at if `checked`."""

    read: LabelReader
    listed: Sequence[Any]
    checked: bool

    def __call__(self, number: int) -> npt.NDArray[np.uint8]:
        row = self.listed[number]
        if self.checked and sha256_file(path := self.read.manifest.target_of(row)) != row["target_sha256"]:
            raise another_file(path)
        return self.read(row)


def check_classes(plan: Any, classes: Sequence[str]) -> None:
    """Raise InputError where a bias is to be fitted, or stands in the recipe, and does not fit the classes."""
    if plan.bias is not None and len(classes) != 2:
        raise InputError(
            f"a bias is fitted where there are two classes, the second one rare; the data set has {len(classes)}: "
            "write it down, one number for each, or leave it out"
        )
    plan.answers.check(len(classes), labels=plan.answers.limit is not None or bool(plan.answers.bias))


def core_rows(run: Run) -> CoreRows:
    """Return a run's representation where it is known to be core samples."""
    found: Any = run.representation
    assert isinstance(found, CoreRows), "named in the row of core samples alone"  # noqa: S101
    return found
