"""What a model file says about itself: one strict JSON under one key of its metadata, and nothing that changes by time.

No version (given later by the registry), no times and no paths: a rebuild makes the same bytes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drillcore.digests import canonical_json
from drillcore.errors import InputError, UnsafeModelError
from drillcore.json_types import Json
from drillcore.runtime.images.value_range import Range, read_range
from drillcore.tasks import CLASSIFICATION, TASKS

if TYPE_CHECKING:
    import onnx

METADATA_KEY = "drillcore"
SCHEMA = 1
MAX_METADATA_BYTES = 4 * 2**20
RGB_UNIT = "rgb 0..1"  # three channels: red, green, blue as shares of the full level
# Of the JSON where they are None: files without them stand.
_LEFT_OUT = {"unit", "answers", "limits", "abstain", "precision"}
_LIMITS = ("side", "side_by_target")
_ABSTAIN = ("accuracy", "confidence", "threshold", "images", "answered", "right")
_PRECISION = {"name": str, "metric": str, "loss": float, "bound": float, "margin": float, "confidence": float,
              "images": int, "calibrated": int, "float_sha256": str}  # fmt: skip
_INPUT_FIELDS = ("channels", "preprocessing", "resize")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMetadata:
    """The metadata of a model file; constructing it validates it.

    Attributes:
        schema: version of this record, 1.
        task: what is predicted, a name of `drillcore.tasks.TASKS`.
        model: the recipe's name.
        classes: names in the order of the outputs; empty for regression.
        colours: one [r, g, b] per class, or None.
        input: channels (1 or 3), resize ([height, width] or None: any size) and preprocessing (a JSON object; in it
            `value_range` where the recipe states one).
        data_digest: digest of the rows it learned from.
        lineage: "sample" or "import-<n>".
        git: revision of the code.
        dirty: the checkout had changes that were not committed.
        recipe_sha256: digest of the recipe.
        weights_sha256: digest of the backbone's weights.
        seeds: every seed by name.
        parent: "model@version" it was compared with or grew from, or None.
        min_size: smallest [height, width] in pixels the model takes.
        tile: side in pixels of what a tile of a scene answers, or None. Images of at most tile x tile pixels go whole.
        halo: pixels around a tile that its answers depend on, or None.
        align: tiles begin at multiples of this many pixels, or None. Scenes are tiled where all three are given.
        unit: of the values of a dense regression, or None; "rgb 0..1" for three channels of colour. Left out of the
            JSON where it is None.
        answers: how the values of pixels became answers (window, limit, bias), for people: the graph does it; of a
            model of segments how codes become them behind the file (`runtime.segments.segment_params`); or None, left
            out likewise.
        limits: the largest images it takes, {side, side_by_target} in pixels, see `runtime.images.image_limits`; or
            None, left out likewise: models without an input size, and older files.
        abstain: of a classifier that does not answer every image {accuracy, confidence, threshold, images, answered,
            right}: the top probability, from 0 to 1, from which on it answers (None: no image), the accuracy the recipe
            asks for with the confidence of its bound, and counts of the validation images the threshold was fitted on;
            or None, left out likewise: it always answers.
        precision: of a file whose network computes in int8 {name, metric, loss, bound, margin, confidence, images,
            calibrated, float_sha256}: how much worse than the float file of that digest it is by the gate's metric on
            so many validation images, the upper bound of that at a one-sided confidence, the bound that was allowed,
            and the number of training images it was calibrated on; or None, left out likewise: float32.

    Raises:
        UnsafeModelError: a field of the wrong kind or out of range.
    """

    schema: int = SCHEMA
    task: str
    model: str
    classes: list[str]
    colours: list[list[int]] | None = None
    input: Json
    data_digest: str
    lineage: str
    git: str
    dirty: bool
    recipe_sha256: str
    weights_sha256: str
    seeds: dict[str, int]
    parent: str | None = None
    min_size: list[int]
    tile: int | None = None
    halo: int | None = None
    align: int | None = None
    unit: str | None = None
    answers: Json | None = None
    limits: dict[str, int] | None = None
    abstain: dict[str, float | None] | None = None
    precision: Json | None = None

    def __post_init__(self) -> None:
        for name, expected, fits in _checks(self):
            if not fits:
                raise UnsafeModelError(f"model metadata: {name} must be {expected}, not {_short(getattr(self, name))}")

    @property
    def channels(self) -> int:
        """Channels of the images, 1 or 3."""
        return int(self.input["channels"])

    @property
    def any_size(self) -> bool:
        """Whether images are looked at as they are, those of a batch all of one size."""
        return self.input["resize"] is None

    @property
    def value_range(self) -> Range | None:
        """Stored numbers (low, high) that become levels 0 and 255, where the recipe states them."""
        return read_range(self.input["preprocessing"])

    def to_json(self) -> str:
        """Return JSON with sorted keys; equal metadata give equal text."""
        values = dataclasses.asdict(self)
        for name in _LEFT_OUT:
            if values[name] is None:
                del values[name]
        return canonical_json(values)

    @classmethod
    def from_json(cls, text: str) -> ModelMetadata:
        """Read `to_json`'s text.

        Raises:
            UnsafeModelError: no JSON object, an unknown or missing field, or a value that does not fit.
        """
        if len(text) > MAX_METADATA_BYTES:
            raise UnsafeModelError(f"model metadata of {len(text)} characters; at most {MAX_METADATA_BYTES} are read")
        try:
            values = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            raise UnsafeModelError("model metadata is not JSON; export the model again with drillcore") from None
        if not isinstance(values, dict):
            raise UnsafeModelError("model metadata must be a JSON object; export the model again with drillcore")
        if values.get("schema") != SCHEMA:
            raise UnsafeModelError(
                f"model metadata has schema {_short(values.get('schema'))}; this drillcore reads schema {SCHEMA}"
            )
        known = {item.name for item in dataclasses.fields(cls)}
        unknown, missing = sorted(set(values) - known), sorted(known - set(values) - _LEFT_OUT)
        if unknown or missing:
            problem = f"unknown field {_short(unknown[0])}" if unknown else f"missing field {missing[0]!r}"
            raise UnsafeModelError(f"model metadata has an {problem}" if unknown else f"model metadata has a {problem}")
        return cls(**values)

    @classmethod
    def from_props(cls, props: Mapping[str, str]) -> ModelMetadata:
        """Read the metadata from a model's properties.

        Raises:
            UnsafeModelError: the model was not exported by drillcore, or its metadata does not fit.
        """
        if METADATA_KEY not in props:
            raise UnsafeModelError(
                f"the model has no metadata under {METADATA_KEY!r}: it was not exported by drillcore and is not run"
            )
        return cls.from_json(props[METADATA_KEY])

    @classmethod
    def of_model(cls, model: onnx.ModelProto) -> ModelMetadata:
        """Read the metadata of a model; raises as `from_props`."""
        return cls.from_props({item.key: item.value for item in model.metadata_props})


def _checks(item: ModelMetadata) -> list[tuple[str, str, bool]]:
    texts = ("task", "model", "data_digest", "lineage", "git", "recipe_sha256", "weights_sha256")
    checks = [("schema", str(SCHEMA), _is_int(item.schema) and item.schema == SCHEMA)]
    checks += [(name, "a text", isinstance(getattr(item, name), str)) for name in texts]
    checks += [(name, "a text that is not empty", bool(getattr(item, name))) for name in ("task", "model")]
    checks.append(("classes", "a list of different names", _are_names(item.classes)))
    checks.append(("colours", "null or one [r, g, b] per class", _are_colours(item.colours, item.classes)))
    checks.append(("input", "{channels: 1 or 3, resize: null or [h, w], preprocessing: {...}}", _is_input(item.input)))
    checks.append(("dirty", "true or false", isinstance(item.dirty, bool)))
    checks.append(("seeds", "an object of integers", _are_seeds(item.seeds)))
    checks.append(("parent", "null or a text", item.parent is None or isinstance(item.parent, str)))
    most = task.most_classes if (task := TASKS.get(str(item.task))) else 0
    names_fit = not most or 1 <= len(item.classes) <= most
    checks.append(("classes", f"1 to {most} names for dense labels, which are uint8", names_fit))
    checks.append(("unit", "null or a text", item.unit is None or isinstance(item.unit, str)))
    checks.append(("answers", "null or an object", item.answers is None or isinstance(item.answers, dict)))
    checks.append(("limits", "null or {side, side_by_target}, both 1 or more", _are_limits(item.limits)))
    names_one = item.abstain is None or item.task == CLASSIFICATION
    checks.append(("abstain", f"null or {{{', '.join(_ABSTAIN)}}}", names_one and _is_abstain(item.abstain)))
    checks.append(("precision", f"null or {{{', '.join(_PRECISION)}}}", _is_precision(item.precision)))
    checks.append(("min_size", "[height, width], both 1 or more", _is_size(item.min_size)))
    for name, least in (("tile", 1), ("halo", 0), ("align", 1)):
        value = getattr(item, name)
        checks.append((name, f"null or an integer of {least} or more", value is None or _is_int(value, least)))
    return checks


def _is_int(value: object, least: int | None = None) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and (least is None or value >= least)


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value) and len(set(value)) == len(value)


def _are_colours(value: object, classes: object) -> bool:
    if value is None:
        return True
    if not isinstance(value, list) or not isinstance(classes, list) or len(value) != len(classes):
        return False
    return all(
        isinstance(colour, list) and len(colour) == 3 and all(_is_int(level, 0) and level <= 255 for level in colour)
        for colour in value
    )


def _is_input(value: object) -> bool:
    if not isinstance(value, dict) or tuple(sorted(map(str, value))) != _INPUT_FIELDS:
        return False
    resize_fits = value["resize"] is None or _is_size(value["resize"])
    channels_fit = _is_int(value["channels"]) and value["channels"] in (1, 3)
    return channels_fit and resize_fits and isinstance(value["preprocessing"], dict) and _has_range(value)


def _has_range(value: Json) -> bool:
    try:
        read_range(value["preprocessing"])
    except InputError:
        return False
    return True


def _is_size(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(_is_int(side, 1) for side in value)


def _are_limits(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, dict) and set(value) == set(_LIMITS) and all(_is_int(most, 1) for most in value.values())


def _is_abstain(value: object) -> bool:
    if value is None:
        return True
    if not isinstance(value, dict) or set(value) != set(_ABSTAIN):
        return False
    shares = [value["accuracy"], value["confidence"], 0.0 if value["threshold"] is None else value["threshold"]]
    counts = [value["right"], value["answered"], value["images"]]
    return all(map(_is_share, shares)) and all(_is_int(one, 0) for one in counts) and counts == sorted(counts)


def _is_precision(value: object) -> bool:
    if value is None:
        return True
    if not isinstance(value, dict) or set(value) != set(_PRECISION):
        return False
    kinds = {str: str, int: int, float: int | float}
    fits = all(isinstance(value[k], kinds[v]) and not isinstance(value[k], bool) for k, v in _PRECISION.items())
    return fits and value["images"] >= 1 and value["calibrated"] >= 1 and _is_share(value["confidence"])


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _are_seeds(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) and _is_int(seed) for name, seed in value.items())


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
