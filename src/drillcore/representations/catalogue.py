"""The representations there are, by the name a recipe gives them, and what packages add to them."""

from __future__ import annotations

from dataclasses import dataclass

from drillcore.plugins import REPRESENTATIONS as GROUP
from drillcore.plugins import attribute, names, row_of
from drillcore.representations.base import Representation
from drillcore.tasks import CLASSIFICATION, DENSE_LABELS, DENSE_REGRESSION, MULTILABEL, SEGMENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class RepresentationRow:
    """A representation of the catalogue, or the one a package offers under `drillcore.representations`.

    Its parts are named as "module:attribute".

    Attributes:
        representation: its class, a `representations.base.Representation`.
        plan: function of a recipe to its checked parameters, or a pydantic model of them (`schemas.Params`).
        tasks: whose answers are made of its rows.
        one_size: whether images are brought to the backbone's input size; if not, they are taken as they are.
        writer: class that writes its part of the file and proves it (`export.writing.ModelWriter`).
        check: function of a recipe to its mistakes (`schemas.Mistake`); "": the plan is a model, which tells them.
        headless: whether it answers by itself, and its recipes have `head: {name: none}`.
        fitting: function of a run that fits the head on its rows; "": the one all have.
        heads: that it goes with; none named: all of its tasks.
    """

    representation: str
    plan: str
    tasks: tuple[str, ...]
    one_size: bool = True
    writer: str
    check: str = ""
    headless: bool = False
    fitting: str = ""
    heads: tuple[str, ...] = ()


REPRESENTATIONS: dict[str, RepresentationRow] = {
    "activations": RepresentationRow(
        representation="drillcore.representations.activations.image_rows:Activations",
        plan="drillcore.recipes.rows:RowPlan",
        tasks=(CLASSIFICATION, MULTILABEL),
        writer="drillcore.export.writing:RowsWriter",
    ),
    "cross_pooling": RepresentationRow(
        representation="drillcore.representations.cross_pooling.cross_rows:CrossPooling",
        plan="drillcore.representations.cross_pooling.params:PoolingPlan",
        tasks=(CLASSIFICATION, MULTILABEL),
        writer="drillcore.export.cross_pooling_nodes:CrossPoolingWriter",
    ),
    "patches": RepresentationRow(
        representation="drillcore.representations.patches.patch_rows:Patches",
        plan="drillcore.representations.patches.params:PatchPlan",
        tasks=(MULTILABEL,),
        one_size=False,
        writer="drillcore.export.patches.patch_writing:PatchWriter",
        heads=("adaptation",),
        fitting="drillcore.retrain.fitting.patch_fitting:fit_patches",
    ),
    "core_samples": RepresentationRow(
        representation="drillcore.representations.core_samples.core_rows:CoreRows",
        plan="drillcore.recipes.cores:core_plan",
        tasks=(DENSE_LABELS, DENSE_REGRESSION),
        one_size=False,
        writer="drillcore.export.dense.core_writing:CoreWriter",
        check="drillcore.recipes.parts:core_mistakes",
        fitting="drillcore.retrain.fitting.core_fitting:fit_head",
    ),
    "binary_codes": RepresentationRow(
        representation="drillcore.representations.binary_codes.code_rows:BinaryCodes",
        plan="drillcore.representations.binary_codes.params:CodeParams",
        tasks=(SEGMENTS,),
        one_size=False,
        writer="drillcore.export.code_writing:CodeWriter",
        headless=True,
    ),
}


def representation_names() -> list[str]:
    """Return all names, those of packages last."""
    return names(GROUP, REPRESENTATIONS)


def representation_row(name: str) -> RepresentationRow:
    """Return the row of a representation.

    Raises:
        UnknownNameError: no such representation; names the known ones.
        InputError: a package offers one that cannot be loaded.
    """
    return row_of(GROUP, "representation", name, REPRESENTATIONS)


def representation_class(name: str) -> type[Representation]:
    """Return the class of a representation; raises as `representation_row`."""
    found: type[Representation] = attribute(representation_row(name).representation)
    return found
