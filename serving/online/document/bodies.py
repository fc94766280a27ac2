"""Bodies of answers and of requests for inference: pydantic's models, of which the OpenAPI document has the schemas."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from drillcore.json_types import Json
from drillcore.tasks import TASKS

MAX_ID = 200  # characters

# Said, not checked: a sum of float32 may be a little above 1.
_Probability = Annotated[float, WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1})]


_Side = Annotated[int, Field(ge=1, lt=2**31)]


def _absent(text: str | None = None, **more: Any) -> Any:
    """Return a field that is left out where there is nothing to say."""
    return Field(None, description=text, **more)


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False, protected_namespaces=())


class Error(_Body):
    """A request that is refused."""

    error: str = Field(description="One line for a person.", examples=["truncated: the image ends too early"])
    reason: str = _absent("A stable short word, where there is one.", examples=["truncated"])
    request_id: str = _absent()


class Probable(_Body):
    """A class and how probable it is."""

    label: str
    probability: _Probability


class ClassShare(_Body):
    """Share of the pixels of a class, dense labels, and its colour in pictures."""

    label: str
    share: _Probability
    colour: list[Annotated[int, Field(ge=0, le=255)]]


class Bounds(_Body):
    """Of a predicted plane, dense regression."""

    min: float
    max: float
    mean: float


class SegmentFound(_Body):
    """A segment: the id it has in the map, pixels, their share, its code as hexadecimal digits, its box, half-open."""

    segment: int = Field(ge=0)
    area: int = Field(ge=1)
    share: _Probability
    code: str = Field(pattern="^([0-9a-f]{2})*$")
    box: list[int] = Field(min_length=4, max_length=4)
    colour: list[int] = Field(min_length=3, max_length=3)


class LabelFound(_Body):
    """One of several labels, and the colour it has in an overlay where it is shown there."""

    label: str
    probability: _Probability
    colour: list[int] = _absent(min_length=3, max_length=3)


class Milliseconds(_Body):
    """Of decoding, waiting for the batch, and of the batch itself."""

    decode: float
    queue: float
    infer: float


class Prediction(_Body):
    """What is said of one image; which of it depends on the task."""

    label: str = _absent()
    probability: _Probability = _absent()
    top5: list[Probable] = _absent(max_length=5)
    answered: bool = _absent("Of models that do not answer every image: whether the probability is high enough.")
    labels: list[LabelFound] = _absent("Of several labels, all of them, the most probable first.")
    present: list[str] = _absent("Of several labels, those that are more probable than not.")
    mapped: bool = _absent("Of several labels, whether an overlay shows where they are: Accept: image/jpeg.")
    size: list[int] = _absent("Height and width, dense models.")
    shares: list[ClassShare] = _absent()
    values: list[Bounds] = _absent()
    unit: str | None = _absent("Of the values, dense regression.")
    segments: list[SegmentFound] = _absent("In the order of their ids, models of segments.")
    mask: str = _absent("The PNG of labels as a data URL, where asked for; of segments, ids as colours.")
    ms: Milliseconds = _absent()
    batch: int = _absent("Images of the batch it went in.")


class _Facts(_Body):
    model: str
    version: int = Field(ge=0, description="0: an exported file, which no registry has numbered")
    model_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    task: str = Field(json_schema_extra={"enum": list(TASKS)})


class _File(_Body):
    name: str
    error: str = _absent()
    reason: str = _absent()


# The fields of the last base stand first.
class FilePrediction(Prediction, _File):
    """What is said of one of several files; `error` and `reason` where it cannot be read."""


class Answer(Prediction, _Facts):
    """What one model version says, of one image or of several."""

    images: list[FilePrediction] = _absent("One entry a file, where a form was sent.")


class TensorParameters(_Body, extra="allow"):
    """Where a tensor's numbers are: in the JSON, or behind it as bytes."""

    binary_data_size: Annotated[int, Field(ge=0)] | None = None
    binary_data: bool = _absent()


class InputTensor(_Body):
    """What all inputs have; the numbers are looked at one by one where they become an array."""

    parameters: TensorParameters | None = None
    data: Annotated[Any, WithJsonSchema({"type": "array", "items": {}})] = None


class ImagesTensor(InputTensor):
    """Images, N x height x width x channels."""

    name: Literal["images"]
    datatype: Literal["UINT8"]
    shape: list[_Side] = Field(min_length=4, max_length=4)


class SizesTensor(InputTensor):
    """Height and width of each image on its canvas."""

    name: Literal["sizes"]
    datatype: Literal["INT32"]
    shape: list[_Side] = Field(min_length=2, max_length=2)


AnyInput = Annotated[ImagesTensor | SizesTensor, Field(discriminator="name")]


class RequestedOutput(_Body):
    """An output that is asked for."""

    name: str
    parameters: TensorParameters | None = None


class RequestParameters(_Body):
    """What holds for outputs that say nothing of their own."""

    binary_data_output: bool = False


class InferenceRequest(_Body):
    """A request of the Open Inference Protocol."""

    id: Annotated[str, Field(max_length=MAX_ID)] | None = None
    parameters: RequestParameters | None = None
    inputs: list[AnyInput] = Field(max_length=64, json_schema_extra={"minItems": 1, "maxItems": 2})
    outputs: Annotated[list[RequestedOutput], Field(max_length=64)] | None = None


class OutputTensor(_Body):
    """An output, flat, in the order of its shape."""

    name: str
    shape: list[int]
    datatype: str
    parameters: TensorParameters = _absent()
    data: list[float] = _absent()


class InferenceResponse(_Body):
    """An answer of the Open Inference Protocol."""

    model_name: str
    model_version: str
    id: str = _absent()
    outputs: list[OutputTensor]


class _Plain(GenerateJsonSchema):
    """Without titles, which say names once more, and without defaults, which say that nothing is there."""

    def field_title_should_be_set(self, schema: object) -> bool:
        return False

    def default_schema(self, schema: Any) -> dict[str, object]:
        return self.generate_inner(schema["schema"])


def schemas() -> Json:
    """Return the JSON schemas of all bodies by name, as `components/schemas` of OpenAPI has them."""
    _, found = models_json_schema(
        [(kind, "validation") for kind in (Error, Answer, InferenceRequest, InferenceResponse)],
        ref_template="#/components/schemas/{model}",
        schema_generator=_Plain,
    )
    known: Json = found["$defs"]
    return known
