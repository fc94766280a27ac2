"""A recipe's `representation.params` of core samples: what a core is made of, which pixels of which views are read."""

from __future__ import annotations

from dataclasses import dataclass

from drillcore.errors import InputError
from drillcore.json_types import Json
from drillcore.recipes.schema import Recipe
from drillcore.representations.core_samples.context_spec import ContextSpec
from drillcore.representations.core_samples.core_spec import CoreSpec
from drillcore.representations.core_samples.pixel_answers import Answers
from drillcore.representations.core_samples.sampling import SamplingSpec
from drillcore.representations.core_samples.views import ViewSpec
from drillcore.representations.parameters import check_names
from drillcore.tasks import get_task

STORAGES = ("store", "subset")
HELD_OUT = "held_out"
_OWN = ("sampling", "views", "storage", "max_rows", "weighted", "dtype", "tile", "answers", "auto_context")
_SHOWN = {
    "sampling": "{seed: 1}",
    "views": "{seed: 1}",
    "answers": "{window: 5}",
    "auto_context": "{cells: [1, 5, 11], offsets: [16, 40]}",
}
_MAX_ROWS, _TILE, _FOLDS, _IMAGES = 4_000_000, 1024, 4, 100
_FIRST_FOLDS, _MOST_FOLDS = 2, 20  # of the first stage
_OF_HEADS = ("epochs", "folds", "hidden")  # what auto_context says of the heads, beside what the second one sees


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """A bias fitted on whole training images that the head which answers them has not learnt from.

    Attributes:
        folds: parts of the training groups; as many heads are fitted beside the one that is kept.
        images: answered at most, in all; what it costs is bounded by this.
    """

    folds: int
    images: int


@dataclass(frozen=True, kw_only=True)
class ContextPlan:
    """Two stages: the head of the recipe sees what a first one answered around each pixel.

    Attributes:
        spec: what it sees.
        folds: parts of the training images; as many heads answer the images they have not learnt from, and one more
            learns from all of them for the exported file.
        first: parameters in which the first stage's heads differ from the recipe's.
        second: those in which the second stage's does.
    """

    spec: ContextSpec
    folds: int
    first: Json
    second: Json


@dataclass(frozen=True, kw_only=True)
class CorePlan:
    """How core samples are taken.

    Attributes:
        spec: planes of a core.
        sampling: pixels per image and view.
        views: variants of each training image.
        storage: "store": every sample in the feature store; "subset": at most `max_rows` of them, drawn at random
            (paper 000, section III-D, names both answers to their size).
        max_rows: of a subset.
        weighted: in training a sample counts as the number of pixels it stands for, to this power; 0: all the same.
        dtype: of the stored samples.
        tile: side of the tiles in which large scenes are answered, pixels.
        answers: how values become answers.
        bias: how the bias of the answers is fitted when the head is; None: it stands in `answers`.
        context: how there are two stages; None: there is one.
    """

    spec: CoreSpec
    sampling: SamplingSpec
    views: ViewSpec
    storage: str
    max_rows: int
    weighted: float
    dtype: str
    tile: int
    answers: Answers
    bias: HeldOut | None
    context: ContextPlan | None = None


def core_plan(recipe: Recipe) -> CorePlan:
    """Read the parameters of a recipe whose representation is `core_samples`; draws are seeded by the recipe.

    Raises:
        InputError: an unknown name, or a value that cannot be meant.
    """
    params = dict(recipe.representation.params)
    own = {name: params.pop(name) for name in _OWN if name in params}
    sampling, views = ({"seed": recipe.seeds.train, **_mapping(own, name)} for name in ("sampling", "views"))
    storage, dtype = own.get("storage", STORAGES[0]), own.get("dtype", "float16")
    if storage not in STORAGES:
        raise InputError(f"storage is {storage!r}; allowed: {', '.join(STORAGES)}")
    if dtype not in ("float16", "float32"):
        raise InputError(f"dtype is {dtype!r}; allowed: float16, float32")
    weighted = own.get("weighted", False)
    if not isinstance(weighted, int | float) or not 0 <= weighted <= 1:
        raise InputError(f"weighted is {weighted!r}; true, false, or a power from 0 to 1 is expected")
    answers, bias = answer_plan(recipe)
    check_names(params, [*CoreSpec.__dataclass_fields__, *_OWN], "core_samples")
    return CorePlan(
        spec=CoreSpec.from_dict(params),
        sampling=SamplingSpec.from_dict(sampling),
        views=ViewSpec.from_dict(views),
        storage=storage,
        max_rows=_whole(own, "max_rows", _MAX_ROWS, 1000),
        weighted=float(weighted),
        dtype=dtype,
        tile=_whole(own, "tile", _TILE, 64),
        answers=answers,
        bias=bias,
        context=context_plan(recipe),
    )


def answer_plan(recipe: Recipe) -> tuple[Answers, HeldOut | None]:
    """Read `answers` of the representation's parameters: how values become answers, and how their bias is fitted.

    Raises:
        InputError: an unknown name, or a value that cannot be meant.
    """
    own = dict(_mapping(recipe.representation.params, "answers"))
    fitted = own.get("bias") == HELD_OUT
    held_out = None
    if fitted:
        del own["bias"]
        held_out = HeldOut(folds=_whole(own, "folds", _FOLDS, 2), images=_whole(own, "images", _IMAGES, 1))
    for name in ("folds", "images"):
        if own.pop(name, None) is not None and not fitted:
            raise InputError(f"{name} is for a bias that is fitted; write bias: {HELD_OUT}, or leave {name} out")
    answers = Answers.from_dict(own)
    if not get_task(recipe.task).named:
        if fitted:
            raise InputError(f"bias: {HELD_OUT} is for classes; the values of a regression have a window only")
        answers.check(len(answers.bias), labels=False)
    return answers, held_out


def context_plan(recipe: Recipe) -> ContextPlan | None:
    """Read `auto_context` of the representation's parameters; None where there is one stage.

    Raises:
        InputError: an unknown name, a value that cannot be meant, or a task that has no stages.
    """
    if "auto_context" not in recipe.representation.params:
        return None
    if not get_task(recipe.task).named:
        raise InputError("a second stage sees probabilities of classes; a regression has one stage")
    if answer_plan(recipe)[1] is not None:
        raise InputError(f"bias: {HELD_OUT} is for one stage; write the bias down, or leave auto_context out")
    own = dict(_mapping(recipe.representation.params, "auto_context"))
    check_names(own, [*ContextSpec.__dataclass_fields__, *_OF_HEADS], "auto_context")
    first: Json = {}
    second: Json = {}
    if "epochs" in own:
        first["epochs"] = _whole(own, "epochs", 1, 1)
    if "hidden" in own:
        second["hidden"] = own["hidden"]
    folds = _whole(own, "folds", _FIRST_FOLDS, 2)
    if folds > _MOST_FOLDS:
        raise InputError(f"folds is {folds}; 2 to {_MOST_FOLDS} are expected")
    given = {name: value for name, value in own.items() if name not in _OF_HEADS}
    return ContextPlan(spec=ContextSpec.from_dict(given), folds=folds, first=first, second=second)


def _mapping(own: dict[str, object], name: str) -> dict[str, object]:
    found = own.get(name, {})
    if not isinstance(found, dict):
        raise InputError(f"{name} is {found!r}; a mapping is expected, for instance {name}: {_SHOWN[name]}")
    return found


def _whole(own: dict[str, object], name: str, default: int, least: int) -> int:
    value = own.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name} is {value!r}; a whole number from {least} on is expected")
    return value
