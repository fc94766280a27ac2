"""One model on one version of its data: what every stage of a retrain takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from drillcore.arrays import Bytes
from drillcore.datasets.decoded_images import DecodedImages
from drillcore.datasets.manifest import Manifest
from drillcore.errors import DataError
from drillcore.heads.catalogue import head_row
from drillcore.heads.saving import load_head, load_regressor
from drillcore.plugins import attribute
from drillcore.recipes import Recipe
from drillcore.recipes.building import representation_plan
from drillcore.recipes.parts import value_range
from drillcore.representations.catalogue import representation_class
from drillcore.retrain.backbone_stage import recipe_backbone
from drillcore.retrain.opening import FLOAT_FILE, HEAD_FOLDER, MODEL_FILE
from drillcore.retrain.provenance import git_facts
from drillcore.retrain.records import BackboneDone, Done, RunFolder
from drillcore.retrain.states import run_state
from drillcore.runtime.model.precision import FLOAT32
from drillcore.settings import Settings
from drillcore.tasks import Task, get_task

if TYPE_CHECKING:
    import pandas as pd

    from drillcore.backbones.base import Backbone
    from drillcore.cluster.address import Cluster
    from drillcore.representations.base import Representation, State
    from drillcore.retrain.judging.measuring import Measuring
    from drillcore.retrain.provenance import GitFacts

PARITY_SPLIT = "val"
D = TypeVar("D", bound=Done)


class Run:
    """Settings, recipe, list of images and folder, with what is made of them once: backbone, representation, records.

    Args:
        settings: where things are.
        recipe: of the model.
        manifest: the data.
        folder: of the records; None: the one that recipe and data name.
        cluster: whose workers compute what the store lacks; None: threads here.

    Attributes:
        done: the records of the stages that have run here.
    """

    def __init__(
        self,
        settings: Settings,
        recipe: Recipe,
        manifest: Manifest,
        folder: RunFolder | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        self.settings, self.recipe, self.manifest, self.cluster = settings, recipe, manifest, cluster
        self.folder = folder or RunFolder.of(settings, recipe.name, recipe.sha256, manifest.digest)
        self.done: dict[str, Done] = {}

    @property
    def path(self) -> Path:
        """The folder."""
        return self.folder.path

    @property
    def model_file(self) -> Path:
        """The exported file."""
        return self.path / MODEL_FILE

    @property
    def float_file(self) -> Path:
        """The file that answers as what was trained, to rounding: the exported one, or the one int8 was made of."""
        return self.path / (MODEL_FILE if self.recipe.export.precision == FLOAT32 else FLOAT_FILE)

    @cached_property
    def git(self) -> GitFacts:
        """Which code this is; a rebuild says here which it was."""
        return git_facts(self.settings.root)

    @property
    def task(self) -> Task:
        """What an answer is."""
        return get_task(self.recipe.task)

    @property
    def channels(self) -> int:
        """Channels of the images: those of the data, or what the task decides."""
        return self.task.channels or self.manifest.channels

    def once(self, kind: type[D], work: Callable[[Run], tuple[D, list[str]]]) -> D:
        """Return the record of a stage, doing its work only where there is none."""
        record = self.folder.once(kind, lambda: work(self))
        self.done[kind.stage] = record
        return record

    def record(self, kind: type[D]) -> D:
        """Return the record of a stage that has run. Raises DataError: it has not, or its files are gone."""
        found = self.done.get(kind.stage) or self.folder.read(kind)
        if found is None:
            raise DataError(f"{self.path} has lost what its stage {kind.stage} left there; train the model again")
        self.done[kind.stage] = found
        return found  # type: ignore[return-value]

    @cached_property
    def backbone(self) -> Backbone:
        """The backbone of the run's record, its weights verified; loaded once. Raises IntegrityError."""
        return self.backbone_of(self.record(BackboneDone).weights)

    def backbone_of(self, weights: str) -> Backbone:
        """Return the recipe's backbone with weights of a form that `build_backbone` reads.

        Raises:
            UnknownNameError, InputError, IntegrityError: as `build_backbone`.
        """
        classes = len(self.manifest.classes)
        return recipe_backbone(self.settings, self.recipe, weights, classes, self.representation)

    @cached_property
    def representation(self) -> Representation:
        """What makes the rows, with its parameters. Raises RecipeError, InputError."""
        return representation_class(self.recipe.representation.name)(representation_plan(self.recipe))

    @cached_property
    def state(self) -> State | None:
        """What the representation has learnt without labels; None: nothing."""
        return run_state(self)

    @cached_property
    def measuring(self) -> Measuring:
        """How answers of the task are measured and judged."""
        found: Measuring = attribute(self.task.measuring)()
        return found

    @property
    def head(self) -> Any:
        """The fitted head, read from the folder."""
        return (load_head if self.task.named else load_regressor)(self.path / HEAD_FOLDER)

    @property
    def head_splits(self) -> tuple[str, ...]:
        """Splits the head learns from.

        Where a threshold is fitted on the validation images, heads leave those to it; one that fits no more than a
        temperature on them does not see their labels by heart.
        """
        splits = head_row(self.recipe.head.name).fit_splits
        if self.recipe.abstain is None:
            return splits
        return tuple(name for name in splits if name != PARITY_SPLIT) or splits

    def fit_rows(self) -> pd.DataFrame:
        """Return the rows of the manifest the head learns from."""
        return self.manifest.rows(list(self.representation.fit_splits(self)))

    def evaluated_rows(self) -> pd.DataFrame:
        """Return the rows the figures are measured on. Raises DataError: there are none."""
        return self.manifest.rows(self.recipe.evaluate.split)

    def parity_rows(self) -> pd.DataFrame:
        """Return the rows parity is proven on; of data too small for a validation split: what was fitted on."""
        present = (self.manifest.table["split"] == PARITY_SPLIT).any()
        return self.manifest.rows(PARITY_SPLIT if present else "train")

    def paths(self, table: pd.DataFrame) -> list[Path]:
        """Return the files of some rows of the manifest."""
        return [self.manifest.path_of(path) for path in table["path"]]

    def images(self, table: pd.DataFrame, channels: int, *, most: int | None = None) -> DecodedImages:
        """Return the images of some rows, decoded as they are asked for; `most`: pixels of a side that are kept."""
        # Other machines may see another version of the data under the same paths.
        digests = None if self.cluster is None else list(table["sha256"])
        return DecodedImages(self.settings, self.paths(table), channels, value_range(self.recipe), most, digests)

    def load(self, table: pd.DataFrame, channels: int) -> Callable[[int], Bytes]:
        """Return what decodes the image of a number, as the exported model's users will."""
        return self.images(table, channels)
