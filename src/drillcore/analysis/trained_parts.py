"""The parts a registered classifier was made of, found again: recipe, list of images, backbone, fitted head.

The ONNX file answers; what looks inside (the tree of the classes, pictures of features) needs the parts themselves.
They are where the version was retrained: trained backbones under `.drillcore/backbones`, heads in `.drillcore/runs`.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from drillcore import tracking
from drillcore.analysis.reporting import find_version
from drillcore.arrays import Array
from drillcore.backbones.weights.artifacts import artifacts_folder
from drillcore.datasets.manifest import Manifest, read_manifest
from drillcore.errors import DataError, DrillcoreError, InputError, RegistryError, UnknownNameError
from drillcore.files import read_object
from drillcore.heads.saving import load_head
from drillcore.recipes import Recipe, load_recipe, read_recipe
from drillcore.representations.activations.image_rows import ImageRows
from drillcore.representations.base import Rows
from drillcore.retrain.backbone_stage import recipe_backbone
from drillcore.retrain.opening import HEAD_FOLDER
from drillcore.retrain.records import RunFolder
from drillcore.retrain.run import Run
from drillcore.runtime.model.reference import parse_reference
from drillcore.runtime.model.served import pointer_path
from drillcore.settings import Settings
from drillcore.tasks import CLASSIFICATION, MULTILABEL, get_task

if TYPE_CHECKING:
    from drillcore.backbones.base import Backbone
    from drillcore.heads.base import Classifier
    from drillcore.registry import ModelVersion


_LOGITS = "logits"  # tap of a network's own class scores


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedParts:
    """What a version was made of.

    Attributes:
        version: as registered.
        run: its recipe on its data, with its backbone.
        own_taps: whether these taps are the ones the head reads.
        notes: what a reader should know.
    """

    version: ModelVersion
    run: Run
    own_taps: bool = True
    notes: tuple[str, ...] = ()

    @property
    def recipe(self) -> Recipe:
        """Of the version, which may be older than the one in `models/`; its taps are those that are looked at."""
        return self.run.recipe

    @property
    def manifest(self) -> Manifest:
        """Of the data it learned from."""
        return self.run.manifest

    @property
    def backbone(self) -> Backbone:
        """With its weights."""
        return self.run.backbone

    @property
    def representation(self) -> ImageRows:
        """What makes the rows; one for each image (`find_parts` refuses others, unless it is told)."""
        found = self.run.representation
        assert isinstance(found, ImageRows)  # noqa: S101 - find_parts
        return found

    def features(self, rows: pd.DataFrame) -> Array:
        """Return the features of manifest rows [N, D], from the store where it has them."""
        return np.asarray(self.representation.rows(self.run, rows).rows)

    def features_outside(self, folder: Path, table: pd.DataFrame) -> Rows:
        """Return the features of images that are in no data set, from the store where it has them.

        Args:
            folder: that their paths are below.
            table: `outside_table`.

        Raises:
            BadImageError: an image that cannot be read.
        """
        run = Run(self.run.settings, self.recipe, dataclasses.replace(self.manifest, folder=folder, table=table))
        run.backbone, run.state = self.backbone, self.run.state
        return self.representation.rows(run, table)

    def outside_table(self, images: Sequence[tuple[str, str]]) -> pd.DataFrame:
        """Return images that are in no data set (path, SHA-256) as rows of a manifest."""
        # Where a row must have a label that of the first class stands in.
        label, labels = self.manifest.classes[0], list[str]()
        rows = [(path, sha256, label, labels, "none") for path, sha256 in images]
        return pd.DataFrame(rows, columns=["path", "sha256", "label", "labels", "split"])

    @property
    def name(self) -> str:
        """The version in words."""
        return f"{self.version.model} version {self.version.version}"


def find_parts(
    settings: Settings, reference: str, *, command: str, taps: Sequence[str] = (), images: bool = False
) -> TrainedParts:
    """Return the parts of MODEL[@ALIAS|@VERSION]; without either those of the champion, or of the newest version.

    Where the head reads a network's own class scores (the tap `logits`), the activations right below are looked at:
    what they are scores of, not the scores.

    Args:
        settings: where things are.
        reference: of a classifier.
        command: that needs them, for the errors.
        taps: that are looked at; none: those of the recipe.
        images: whether all models that answer whole images are taken: of several labels, of many rows an image.

    Raises:
        UnknownNameError: no such model, alias, version or tap.
        InputError: no classifier, or its trained parts are not on this machine.
        DataError: the list of its images is not on this machine.
        RegistryError: MLflow cannot be reached.
        IntegrityError: weights that are not what their digest says.
    """
    version = _version(settings, reference, command)
    name = f"{version.model} version {version.version}"
    task = get_task(str(version.metadata.get("task", CLASSIFICATION)))
    if task.name != CLASSIFICATION and not (images and task.name == MULTILABEL):
        what = "answers every pixel" if task.dense else "gives no single class"
        instead = "; `drillcore predict --overlay` shows where it sees what" if images else ""
        raise InputError(f"{name} {what} (its task is {task.name}); {command} is for classifiers of images{instead}")
    recipe = recipe_of(settings, version)
    try:
        manifest = read_manifest(settings, recipe.dataset.name, str(version.metadata.get("data_digest")))
    except DataError as error:
        raise DataError(
            f"the list of images that {name} learned from cannot be read here ({error}); {command} runs where the "
            f"model was retrained, or on the version that `drillcore retrain {version.model}` makes here"
        ) from None
    run = run_of(settings, version, recipe, manifest, command)
    representation = run.representation
    if not images and (not isinstance(representation, ImageRows) or representation.per_image > 1):
        raise InputError(
            f"{name} has other rows than one for each image ({representation.name}); {command} needs those"
        )
    backbone = run.backbone
    own, notes = list(recipe.backbone.taps), list[str]()
    known = list(backbone.taps)
    chosen = list(backbone.check_taps(taps)) if taps else own
    if not taps and own == [_LOGITS] and known.index(_LOGITS) > 0:
        chosen = [known[known.index(_LOGITS) - 1]]
        notes.append(f"the head reads the network's class scores; looked at is what they are made of, {chosen[0]}")
    if chosen != own:
        section = dataclasses.replace(recipe.backbone, taps=chosen)
        run = Run(settings, dataclasses.replace(recipe, backbone=section), manifest)
        run.backbone = backbone
    return TrainedParts(
        version=version,
        run=run,
        own_taps=chosen == own,
        notes=tuple(notes),
    )


def recipe_of(settings: Settings, version: ModelVersion) -> Recipe:
    """Return the recipe a version was made by: the one in `models/` where it is that, else the one its run kept.

    Raises:
        UnknownNameError: there is neither.
        RecipeError: it cannot be read.
    """
    present: Recipe | None
    try:
        present = load_recipe(settings, version.model)
    except DrillcoreError:
        present = None
    if present is not None and present.sha256 == version.metadata.get("recipe_sha256"):
        return present
    with tempfile.TemporaryDirectory() as temporary:
        try:
            kept = tracking.bring_artifacts(settings, version.run_id, Path(temporary), ["recipe.json"]) / "recipe.json"
            text = yaml.safe_dump(read_object(kept), sort_keys=False)
        except (OSError, ValueError, RegistryError):
            return load_recipe(settings, version.model)
        # Read as any recipe is: strictly, and with the defaults of fields that are newer than it.
        path = Path(temporary) / "kept" / f"{version.model}.yaml"
        path.parent.mkdir()
        path.write_text(text, encoding="utf-8")
        return read_recipe(path)


def fitted_head(settings: Settings, parts: TrainedParts) -> Classifier | None:
    """Return the version's fitted head from the folder of its run; None where it is gone (`drillcore gc`)."""
    recipe_sha256 = str(parts.version.metadata.get("recipe_sha256"))
    folder = RunFolder.of(settings, parts.version.model, recipe_sha256, parts.manifest.digest)
    try:
        return load_head(folder.path / HEAD_FOLDER)
    except DrillcoreError:
        return None


def head_importances(settings: Settings, parts: TrainedParts, width: int) -> NDArray[np.float64] | None:
    """Return how much each feature tells the fitted head, float64 [width], summing to 1.

    None where the head does not know (only forests do), where other taps are looked at than it reads, or where it is
    gone.
    """
    head = fitted_head(settings, parts) if parts.own_taps else None
    found = head.importances() if head is not None else None
    return found if found is not None and found.shape == (width,) else None


def _version(settings: Settings, reference: str, command: str) -> ModelVersion:
    wanted = parse_reference(reference)
    try:
        return find_version(settings, reference)
    except UnknownNameError:
        if not pointer_path(settings, wanted.name, wanted.key).is_file():
            raise
        raise InputError(
            f"{wanted} is here as an ONNX file alone, and the registry of this machine does not know it; {command} "
            f"needs the trained parts: run it where the model was retrained, or `drillcore retrain {wanted.name}` here"
        ) from None


def run_of(settings: Settings, version: ModelVersion, recipe: Recipe, manifest: Manifest, command: str) -> Run:
    """Return a recipe on data with a version's backbone: the trained one by its digest, else the recipe's own weights.

    Raises:
        InputError: the trained backbone is not on this machine; `command` needs it.
    """
    trained, sha256 = recipe.backbone.train is not None, str(version.metadata.get("weights_sha256"))
    run = Run(settings, recipe, manifest)
    try:
        run.backbone = recipe_backbone(
            settings,
            recipe,
            f"sha256:{sha256}" if trained else recipe.backbone.weights,
            len(version.metadata["classes"]),
            run.representation,
        )
    except UnknownNameError:
        if not trained:
            raise
        folder = artifacts_folder(settings, recipe.backbone.name) / sha256
        raise InputError(
            f"{command} needs the trained backbone of {version.model} version {version.version}, which is not inside "
            f"the ONNX file in a form that can be taken apart: bring {folder} from the machine that retrained it, or "
            f"ask the version that `drillcore retrain {version.model}` makes here"
        ) from None
    return run
