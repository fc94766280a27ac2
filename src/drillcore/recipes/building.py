"""From a recipe to its parts: names and parameters checked with the line they stand in, then built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from drillcore.errors import InputError, RecipeError
from drillcore.recipes.cores import answer_plan, context_plan, core_plan
from drillcore.recipes.schema import Recipe
from drillcore.tasks import CLASSIFICATION, DENSE_LABELS, DENSE_REGRESSION, get_task

if TYPE_CHECKING:
    from drillcore.backbones.base import Backbone
    from drillcore.backbones.training_plan import TrainingPlan
    from drillcore.heads.base import Head

# What the rows of a task are.
REPRESENTATIONS = {CLASSIFICATION: "activations", DENSE_LABELS: "core_samples", DENSE_REGRESSION: "core_samples"}
STORE_DTYPES = ("float16", "float32")
ROW_PARAMS = ("dtype", "views")
VIEW_COUNTS = (1, 2, 4, 8)


def check_parts(recipe: Recipe) -> None:
    """Check every name and parameter of a recipe against the parts there are, before an hour is spent.

    Raises:
        RecipeError: names file, line, field and what is allowed.
    """
    from drillcore.backbones.catalogue import check_weights, get_entry
    from drillcore.heads.catalogue import head_class

    _at(recipe, "backbone.name", lambda: get_entry(recipe.backbone.name))
    _at(recipe, "backbone.weights", lambda: check_weights(recipe.backbone.name, recipe.backbone.weights))
    if recipe.backbone.resize:
        if get_task(recipe.task).dense:
            _fail(recipe, "backbone.resize", f"is given; a model of the task {recipe.task} takes images as they are")
        _at(recipe, "backbone.resize", lambda: _untrained(recipe))
    _at(recipe, "backbone.taps", lambda: _untrained(recipe).check_taps(recipe.backbone.taps))
    _at(recipe, "head.name", lambda: head_class(recipe.head.name))
    _at(recipe, "head.params", lambda: _try_head(recipe))
    if recipe.backbone.train is not None:
        _at(recipe, "backbone.train", lambda: _check_plan(recipe))
        if not get_entry(recipe.backbone.name).trainable:
            _fail(recipe, "backbone.train", f"{recipe.backbone.name} has no training of its own; leave train out")
    if recipe.dataset.params:
        _fail(recipe, "dataset.params", "no data set has parameters; leave params out")
    wanted = REPRESENTATIONS[recipe.task]
    if recipe.representation.name != wanted:
        _fail(recipe, "representation.name", f"is {recipe.representation.name!r}; {recipe.task} needs {wanted}")
    if not get_task(recipe.task).dense:
        store_dtype(recipe)
        views = views_of(recipe)
        _at(recipe, "representation.params.views", lambda: _untrained(recipe).averaged(views))
    else:
        _at(recipe, "representation.params.answers", lambda: answer_plan(recipe))
        _at(recipe, "representation.params.auto_context", lambda: _try_stages(recipe))
        _at(recipe, "representation.params", lambda: core_plan(recipe))
    _check_metrics(recipe)
    _check_refresh(recipe)


def training_plan(recipe: Recipe) -> TrainingPlan:
    """Return the backbone's training plan, with the recipe's augmentation. Raises InputError."""
    from drillcore.backbones.training_plan import TrainingPlan

    given = dict(recipe.backbone.train or {})
    if "augment" in given:
        raise InputError("augment stands at the top of the recipe, as augment: {name: ...}")
    return TrainingPlan.from_dict({**given, "augment": recipe.augment.name})


def build_head(
    recipe: Recipe,
    *,
    n_classes: int,
    n_jobs: int = 1,
    device: str = "cpu",
    params: Mapping[str, Any] | None = None,
) -> Head:
    """Return the recipe's head, not fitted; `params` stand in place of its own. Raises UnknownNameError, InputError."""
    from drillcore.heads.catalogue import build_head as build

    more = {"n_classes": n_classes, "seed": recipe.seeds.train, "n_jobs": n_jobs, "threads": n_jobs, "device": device}
    return build(recipe.head.name, {**recipe.head.params, **(params or {})}, **more)


def input_size(recipe: Recipe) -> tuple[int, int] | None:
    """Return height and width of a classifier's input; None: the backbone's own."""
    side = recipe.backbone.resize
    return (side, side) if side else None


def views_of(recipe: Recipe) -> int:
    """Return over how many flips and turns a classifier's rows are averaged. Raises RecipeError."""
    views = recipe.representation.params.get("views", 1)
    if isinstance(views, bool) or views not in VIEW_COUNTS:
        allowed = ", ".join(map(str, VIEW_COUNTS))
        _fail(recipe, "representation.params.views", f"is {views!r}; allowed: {allowed}")
    return int(views)


def store_dtype(recipe: Recipe) -> str:
    """Return the store's dtype, float16 unless the recipe says float32. Raises RecipeError."""
    params = recipe.representation.params
    for name in params:
        if name not in ROW_PARAMS:
            allowed = ", ".join(ROW_PARAMS)
            _fail(recipe, f"representation.params.{name}", f"is not a parameter of activations; allowed: {allowed}")
    dtype = params.get("dtype", STORE_DTYPES[0])
    if dtype not in STORE_DTYPES:
        _fail(recipe, "representation.params.dtype", f"is {dtype!r}; allowed: {', '.join(STORE_DTYPES)}")
    return str(dtype)


def _untrained(recipe: Recipe) -> Backbone:
    """Return the recipe's backbone with random weights and two classes: it has the taps of the real one."""
    from drillcore.backbones.catalogue import get_entry

    dense = get_task(recipe.task).dense
    build = get_entry(recipe.backbone.name).build
    return build(None, 0, "any") if dense else build(2, 0, input_size(recipe))


def _try_stages(recipe: Recipe) -> None:
    plan = context_plan(recipe)
    for params in (plan.first, plan.second) if plan else ():
        _try_head(recipe, params)


def _try_head(recipe: Recipe, params: Mapping[str, Any] | None = None) -> None:
    """Fit the head to a handful of rows: every head checks its parameters where it fits, as scikit-learn's do."""
    import numpy as np

    from drillcore.heads.catalogue import head_class

    rows = np.arange(48, dtype=np.float32).reshape(12, 4)
    truth = np.arange(12) % 2 if get_task(recipe.task).named else rows[:, :3] / 48
    logits = getattr(head_class(recipe.head.name), "takes_logits", False)
    build_head(recipe, n_classes=rows.shape[1] if logits else 2, params=params).fit(rows, truth)


def _check_plan(recipe: Recipe) -> None:
    plan, backbone = training_plan(recipe), _untrained(recipe)
    if plan.native and "letterbox" not in backbone.preprocessing:
        raise InputError(f"augment warp needs a backbone that letterboxes images, {backbone.name} squashes them")


def _check_metrics(recipe: Recipe) -> None:
    task = get_task(recipe.task)
    known = {"evaluate.metrics": task.metrics, "gate.metric": task.gate_metrics}
    for dotted, named in (("evaluate.metrics", recipe.evaluate.metrics), ("gate.metric", [recipe.gate.metric])):
        for name in named:
            if name not in known[dotted]:
                _fail(recipe, dotted, f"has {name!r}; a model of the task {recipe.task} has {', '.join(known[dotted])}")


def _check_refresh(recipe: Recipe) -> None:
    refresh = recipe.backbone.refresh
    named = isinstance(refresh, str) and refresh in ("never", "always")
    share = isinstance(refresh, int | float) and 0 < refresh <= 1
    if not named and not share:
        _fail(recipe, "backbone.refresh", f"is {refresh!r}; allowed: never, always, or a share above 0 and up to 1")


def _at(recipe: Recipe, dotted: str, check: Any) -> None:
    try:
        check()
    except RecipeError:
        raise
    except InputError as error:
        raise RecipeError(f"{recipe.where(dotted)}: {dotted}: {error}") from None


def _fail(recipe: Recipe, dotted: str, text: str) -> None:
    raise RecipeError(f"{recipe.where(dotted)}: {dotted} {text}")
