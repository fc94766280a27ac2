"""What can be said of a recipe before torch, scikit-learn or a data set is looked at: names, tasks, parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from drillcore.backbones.tap_names import tap_names
from drillcore.backbones.training.training_plan import TrainingParams
from drillcore.errors import InputError, UnknownNameError
from drillcore.heads.catalogue import LOGITS, HeadRow, head_names, head_params, head_row
from drillcore.json_types import Values
from drillcore.plugins import attribute
from drillcore.recipes.cores import HELD_OUT, answer_plan, context_plan, core_plan
from drillcore.recipes.ranges import is_open, settled
from drillcore.representations.catalogue import RepresentationRow, representation_names, representation_row
from drillcore.runtime.images.value_range import VALUE_RANGE, Range, read_range
from drillcore.schemas import Mistake, mistakes
from drillcore.tasks import CLASSIFICATION, MULTILABEL, get_task

if TYPE_CHECKING:
    from drillcore.recipes.schema import Recipe

NO_HEAD = "none"
# Ways to draw pixels that a retrain can go: none has a map of hard pixels, and values have no classes to balance.
CLASS_SAMPLINGS, VALUE_SAMPLINGS = ("uniform", "class_balanced", "targets"), ("uniform",)


def part_mistakes(recipe: Recipe) -> Iterator[Mistake]:
    """Yield all that is wrong with the parts a recipe names and with what it tells them, as far as words tell."""
    try:
        row = representation_row(recipe.representation.name)
    except InputError as error:
        yield Mistake(("representation", "name"), f"is {recipe.representation.name!r}: {error}")
        return
    yield from _head(recipe, row)
    for name, value in recipe.head.params.items():
        if is_open(value):
            finds = f"drillcore tune {recipe.name} finds a value and writes a recipe that has it"
            own = f"give it a value: {recipe.representation.name} fit their head in a way of their own"
            text = f"is left open; {own if row.fitting else finds}"
            yield Mistake(("head", "params", name), text)
    sections = {"head": recipe.head, "backbone": recipe.backbone, "augment": recipe.augment}
    yield from params_mistakes({name: vars(section) for name, section in sections.items()})
    yield from _values(recipe.dataset.params)
    if recipe.task == MULTILABEL and recipe.backbone.train is not None:
        yield Mistake(("backbone", "train"), "is for one class an image; leave it out: a frozen network is learnt from")
    if recipe.abstain is not None and recipe.task != CLASSIFICATION:
        text = f"is for models of the task {CLASSIFICATION}, this one has {recipe.task}; leave it out"
        yield Mistake(("abstain",), text)
    if recipe.abstain is not None and recipe.evaluate.split == "val":
        text = "is val, on which abstain fits its threshold: its figures would be of the images it was fitted on"
        yield Mistake(("evaluate", "split"), text)
    if recipe.backbone.resize and not row.one_size:
        yield Mistake(("backbone", "resize"), f"is given; a model of the task {recipe.task} takes images as they are")
    if recipe.task not in row.tasks:
        able = ", ".join(name for name in representation_names() if recipe.task in _tasks_of(name, representation_row))
        yield Mistake(("representation", "name"), f"is {recipe.representation.name!r}; {recipe.task} needs {able}")
    elif row.check:
        yield from attribute(row.check)(recipe)
    else:
        yield from _fitting(attribute(row.plan), recipe.representation.params, ("representation", "params"))
    yield from _taps(recipe)
    yield from _metrics(recipe)
    yield from _refresh(recipe)


def _taps(recipe: Recipe) -> Iterator[Mistake]:
    known = tap_names(recipe.backbone.name)
    if known is None:
        return
    for tap in recipe.backbone.taps:
        if tap not in known:
            error = UnknownNameError(f"tap of {recipe.backbone.name}", tap, known)
            yield Mistake(("backbone", "taps"), f": {error}")


def value_range(recipe: Recipe) -> Range | None:
    """Return the stored numbers (low, high) that become grey levels 0 and 255, None where none are stated."""
    return read_range(recipe.dataset.params)


def _values(params: Mapping[str, object]) -> Iterator[Mistake]:
    for name in params:
        if name != VALUE_RANGE:
            yield Mistake(("dataset", "params", name), f"is no parameter of a data set; allowed: {VALUE_RANGE}")
    try:
        read_range(params)
    except InputError as error:
        yield Mistake(("dataset", "params", VALUE_RANGE), str(error).removeprefix(f"{VALUE_RANGE} "))


def params_mistakes(values: Values) -> Iterator[Mistake]:
    """Yield what is wrong with the parameters of the head and of the backbone's training, of plain values."""
    head, backbone, augment = (values.get(name) for name in ("head", "backbone", "augment"))
    params = head.get("params", {}) if isinstance(head, Mapping) else None
    kind = _params_of(str(head.get("name"))) if isinstance(head, Mapping) else None
    if kind is not None and isinstance(params, Mapping):
        yield from _fitting(kind, settled(params), ("head", "params"))
    train = backbone.get("train") if isinstance(backbone, Mapping) else None
    named = augment.get("name", "none") if isinstance(augment, Mapping) else "none"
    if isinstance(train, Mapping | None):
        yield from _training(dict(train or {}), named)


def _training(train: dict[str, object], augment: object) -> Iterator[Mistake]:
    place = ("backbone", "train")
    if "augment" in train:
        yield Mistake((*place, "augment"), "stands at the top of the recipe, as augment: {name: ...}")
    for one in _fitting(TrainingParams, {**train, "augment": augment}, place):
        yield Mistake(("augment", "name"), one.text) if one.place == (*place, "augment") else one


def _params_of(head: str) -> type[BaseModel] | None:
    """Return the model of a head's parameters; None where the name says nothing."""
    try:
        return head_params(head)
    except InputError:
        return None


def _fitting(kind: type[BaseModel], given: Mapping[str, object], place: tuple[str, ...]) -> Iterator[Mistake]:
    try:
        kind.model_validate(dict(given))
    except ValidationError as error:
        for one in mistakes(error, kind.model_json_schema(), given):
            apart = one.place or one.text.startswith("lacks")
            yield Mistake((*place, *one.place), one.text if apart else f": {one.text}")


def _head(recipe: Recipe, rows: RepresentationRow) -> Iterator[Mistake]:
    place, name = ("head", "name"), recipe.head.name
    able = [one for one in head_names() if recipe.task in _tasks_of(one, head_row)]
    if rows.headless:
        if name != NO_HEAD:
            yield Mistake(place, f"is {name!r}; {recipe.representation.name} answers by itself: allowed: {NO_HEAD}")
        return
    if name == NO_HEAD:
        allowed = ", ".join(able) or "none"
        yield Mistake(place, f"is none; {recipe.representation.name} needs a head: allowed: {allowed}")
        return
    try:
        row = head_row(name)
    except InputError as error:
        yield Mistake(place, f"is {name!r}: {error}")
        return
    if rows.heads and name not in rows.heads:
        allowed = ", ".join(rows.heads)
        yield Mistake(place, f"is {name!r}; {recipe.representation.name} goes with: {allowed}")
    elif recipe.task not in row.tasks:
        allowed = ", ".join(able or [NO_HEAD])
        yield Mistake(place, f"is {name!r}, which has not the task {recipe.task}; allowed: {allowed}")
    elif row.accepts == LOGITS and len(recipe.backbone.taps) != 1:
        yield Mistake(
            ("backbone", "taps"), f"has {len(recipe.backbone.taps)} entries; the head {name} takes one, the logits"
        )
    elif get_task(recipe.task).dense and not row.layered:
        yield from _pixel_by_pixel(recipe, row)


def _tasks_of(name: str, row: Callable[[str], HeadRow | RepresentationRow]) -> tuple[str, ...]:
    try:
        return row(name).tasks
    except InputError:  # another package's, which cannot be loaded
        return ()


def _pixel_by_pixel(recipe: Recipe, row: HeadRow) -> Iterator[Mistake]:
    """Yield what a head that is no layers cannot do for pixels."""
    name, params, place = recipe.head.name, recipe.representation.params, ("representation", "params")
    if recipe.export.dense_mode not in ("", "exact"):
        mode = recipe.export.dense_mode
        yield Mistake(("export", "dense_mode"), f"is {mode!r}; the head {name} answers each pixel: allowed: exact")
    if "auto_context" in params:
        yield Mistake((*place, "auto_context"), f"is for heads of layers, such as dbn; leave it out with {name}")
    answers = params.get("answers")
    if isinstance(answers, Mapping) and answers.get("bias") == HELD_OUT:
        text = f"is {HELD_OUT}, which is for heads of layers, such as dbn; write numbers down, or leave it out"
        yield Mistake((*place, "answers", "bias"), text)
    if not row.weighs and params.get("weighted"):
        yield Mistake((*place, "weighted"), f"is for heads that weigh rows; {name} draws them: leave it out")


def core_mistakes(recipe: Recipe) -> Iterator[Mistake]:
    """Yield what is wrong with the parameters of core samples; named in their row of the catalogue."""
    params, place = recipe.representation.params, ("representation", "params")
    sampling = params.get("sampling")
    method = sampling.get("method", "uniform") if isinstance(sampling, Mapping) else "uniform"
    known = CLASS_SAMPLINGS if get_task(recipe.task).named else VALUE_SAMPLINGS
    if method not in known:
        allowed = ", ".join(known)
        yield Mistake((*place, "sampling", "method"), f"is {method!r}; allowed for {recipe.task}: {allowed}")
    for inner, read in ((("answers",), answer_plan), (("auto_context",), context_plan), ((), core_plan)):
        try:
            read(recipe)
        except InputError as error:
            yield Mistake((*place, *inner), f": {error}")
            return
    kind, plan, around = _params_of(recipe.head.name), context_plan(recipe), (*place, "auto_context")
    for stage in (plan.first, plan.second) if plan and kind else ():
        assert kind is not None, "asked for above"  # noqa: S101
        for one in _fitting(kind, {**recipe.head.params, **stage}, around):
            if set(one.place[len(around) : len(around) + 1]) & stage.keys():
                yield one


def _metrics(recipe: Recipe) -> Iterator[Mistake]:
    task = get_task(recipe.task)
    shown = (("evaluate", "metrics"), recipe.evaluate.metrics, task.metrics)
    judged = (("gate", "metric"), [recipe.gate.metric], task.gate_metrics)
    for place, named, known in (shown, judged):
        for name in named:
            if name not in known:
                yield Mistake(place, f"has {name!r}; a model of the task {recipe.task} has {', '.join(known)}")


def _refresh(recipe: Recipe) -> Iterator[Mistake]:
    refresh = recipe.backbone.refresh
    named = isinstance(refresh, str) and refresh in ("never", "always")
    share = isinstance(refresh, int | float) and 0 < refresh <= 1
    if not named and not share:
        text = f"is {refresh!r}; allowed: never, always, or a share above 0 and up to 1"
        yield Mistake(("backbone", "refresh"), text)
