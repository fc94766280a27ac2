"""What the OpenAPI page shows: bodies, answers and headers, with examples."""

from __future__ import annotations

from typing import Any

from drillcore.tasks import TASKS

# Replaced by names of models that are served, and the address that was asked, where the document is made.
HOST = "localhost:8080"
MODEL, DENSE_MODEL, ANY_MODEL = "NAME-OF-A-CLASSIFIER", "NAME-OF-A-DENSE-MODEL", "NAME-OF-A-MODEL"
MAX_NUMBERS = 64  # of a tensor that is shown
_SHA = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
_MS = {"decode": 0.8, "queue": 1.2, "infer": 6.4}

ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "string", "description": "One line for a person."},
        "reason": {"type": "string", "description": "A stable short word, where there is one."},
        "request_id": {"type": "string"},
    },
    "example": {"error": "truncated: the image ends too early", "reason": "truncated", "request_id": "6f1c0e"},
}


def _refusals(**texts: str) -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {int(status.removeprefix("s")): {"description": text, "content": content} for status, text in texts.items()}


REFUSALS = _refusals(
    s400="The request cannot be understood.",
    s401="An API key is needed.",
    s404="No such model or version here.",
    s408="The body did not come in time.",
    s413="The body, the image or the number of parts is too large.",
    s415="A kind of body that is not read.",
    s422="The image or the parameters cannot be used; `reason` says why.",
    s429="The queue is full; Retry-After says when to come again.",
    s500="An error of the server; the log has it under the request's id.",
    s503="The server stops, or has too much in work.",
    s504="The deadline has passed.",
)
NOT_ACCEPTABLE = _refusals(s406="The Accept header takes none of the media types there are.")

# Not among the parameters: who makes up requests from the document would ask for the impossible and be told so, 504.
HEADERS: dict[str, str] = {
    "X-Deadline-Ms": "Milliseconds after which the answer is of no use: 504, and nothing is computed any more.",
    "X-Request-Id": "Stands in the log and comes back; made up where it is missing.",
}

PREDICT_TEXT = f"""
Send an image file as the body, or several as fields `file` of a form.

    curl --data-binary @image.jpg -H 'Content-Type: image/jpeg' {HOST}/predict/{ANY_MODEL}
    curl -F file=@image.jpg -F file=@image.png {HOST}/predict/{ANY_MODEL}
    curl -F file=@image.png -H 'Accept: image/png' {HOST}/predict/{DENSE_MODEL} -o labels.png
    curl -F file=@image.png -H 'Accept: image/jpeg' {HOST}/predict/{DENSE_MODEL} -o overlay.jpg

By `Accept` the answer is JSON; `image/png`, a palette picture whose indices are the classes (dense models);
`image/jpeg`, the classes' colours over the image with the `opacity` asked for; or `image/tiff`, predicted values.
A form with several files is answered in JSON, one entry a file; a file that cannot be read has `error` and `reason` in
its entry and does not touch the others.
"""

_BINARY = {"schema": {"type": "string", "format": "binary"}}
PREDICT_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        **dict.fromkeys(("image/jpeg", "image/png", "image/webp", "image/tiff", "image/bmp"), _BINARY),
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}},
                },
            }
        },
    },
}

_NUMBER = {"type": "number"}
_PROBABILITY = {"type": "number", "minimum": 0, "maximum": 1}
_FACTS = {
    "model": {"type": "string"},
    "version": {"type": "integer", "minimum": 1},
    "model_sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "task": {"type": "string", "enum": list(TASKS)},
}
_ONE = {
    "label": {"type": "string"},
    "probability": _PROBABILITY,
    "top5": {
        "type": "array",
        "maxItems": 5,
        "items": {
            "type": "object",
            "required": ["label", "probability"],
            "properties": {"label": {"type": "string"}, "probability": _PROBABILITY},
        },
    },
    "size": {"type": "array", "items": {"type": "integer"}, "description": "Height and width, dense models."},
    "shares": {
        "type": "array",
        "description": "Share of the pixels of each class, dense labels.",
        "items": {
            "type": "object",
            "required": ["label", "share", "colour"],
            "properties": {
                "label": {"type": "string"},
                "share": _PROBABILITY,
                "colour": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}},
            },
        },
    },
    "values": {
        "type": "array",
        "description": "Bounds of each predicted plane, dense regression.",
        "items": {"type": "object", "properties": {"min": _NUMBER, "max": _NUMBER, "mean": _NUMBER}},
    },
    "unit": {"type": ["string", "null"], "description": "Of the values, dense regression."},
    "mask": {"type": "string", "description": "The PNG of labels as a data URL, where asked for."},
    "ms": {
        "type": "object",
        "description": "Milliseconds of decoding, waiting for the batch, and of the batch itself.",
        "required": ["decode", "queue", "infer"],
        "properties": {"decode": _NUMBER, "queue": _NUMBER, "infer": _NUMBER},
    },
    "batch": {"type": "integer", "description": "Images of the batch it went in."},
}
_FILE = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "error": {"type": "string"}, "reason": {"type": "string"}, **_ONE},
}
ANSWER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["model", "version", "model_sha256", "task"],
    "properties": {
        **_FACTS,
        **_ONE,
        "images": {"type": "array", "items": _FILE, "description": "One entry a file, where a form was sent."},
    },
}
_ANSWER_FACTS = {"model": MODEL, "version": 3, "model_sha256": _SHA, "task": "classification"}
_CLASSIFIED = {
    "label": "copepod_calanoid",
    "probability": 0.81,
    "top5": [{"label": "copepod_calanoid", "probability": 0.81}, {"label": "copepod_cyclopoid", "probability": 0.1}],
    "ms": _MS,
    "batch": 4,
}
_DENSE = {
    **_ANSWER_FACTS,
    "model": DENSE_MODEL,
    "task": "dense_labels",
    "size": [360, 480],
    "shares": [
        {"label": "road", "share": 0.62, "colour": [128, 64, 128]},
        {"label": "sky", "share": 0.38, "colour": [128, 128, 128]},
    ],
    "ms": _MS,
    "batch": 1,
}
PREDICT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer; one model version made all of it.",
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Answer"},
                "examples": {
                    "one image": {"value": {**_ANSWER_FACTS, **_CLASSIFIED}},
                    "several images": {
                        "value": {
                            **_ANSWER_FACTS,
                            "images": [
                                {"name": "a.jpg", **_CLASSIFIED},
                                {"name": "b.jpg", "error": "truncated: b.jpg ends too early", "reason": "truncated"},
                            ],
                        }
                    },
                    "labels of pixels": {"value": _DENSE},
                },
            },
            "image/png": _BINARY,
            "image/jpeg": _BINARY,
            "image/tiff": _BINARY,
        },
        "headers": {
            "X-Model-Version": {"description": "The version that answered.", "schema": {"type": "string"}},
            "X-Request-Id": {"description": "The id in the log.", "schema": {"type": "string"}},
        },
    },
    **REFUSALS,
    **NOT_ACCEPTABLE,
}

_TENSOR_PARAMETERS = {
    "type": "object",
    "properties": {"binary_data_size": {"type": "integer", "minimum": 0}, "binary_data": {"type": "boolean"}},
}
INFER_TEXT = """
Inference as the Open Inference Protocol (KServe V2) has it, tensors as JSON numbers or as binary data after the JSON
(`Inference-Header-Content-Length`). Images of several sizes stand top-left on one canvas, with their sizes in `sizes`.
"""
INFER_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"$ref": "#/components/schemas/InferenceRequest"},
            "example": {
                "id": "42",
                "inputs": [
                    {
                        "name": "images",
                        "shape": [1, 2, 2, 1],
                        "datatype": "UINT8",
                        "data": [0, 64, 128, 255],
                    }
                ],
                "outputs": [{"name": "label"}],
            },
        },
        "application/octet-stream": _BINARY,
    },
}
INFER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": ["string", "null"], "maxLength": 200},
        "parameters": {"type": "object", "properties": {"binary_data_output": {"type": "boolean"}}},
        "inputs": {
            "type": "array",
            "minItems": 1,
            "maxItems": 2,
            "items": {
                "type": "object",
                "required": ["name", "shape", "datatype"],
                "properties": {
                    "name": {"type": "string", "enum": ["images", "sizes"]},
                    "shape": {
                        "type": "array",
                        "minItems": 2,
                        "maxItems": 4,
                        "items": {"type": "integer", "minimum": 1},
                    },
                    "datatype": {"type": "string", "enum": ["UINT8", "INT32"]},
                    "parameters": _TENSOR_PARAMETERS,
                    "data": {"type": "array", "items": {}},
                },
            },
        },
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "parameters": _TENSOR_PARAMETERS},
            },
        },
    },
}
INFERENCE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["model_name", "model_version", "outputs"],
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "shape", "datatype"],
                "properties": {
                    "name": {"type": "string"},
                    "shape": {"type": "array", "items": {"type": "integer"}},
                    "datatype": {"type": "string"},
                    "parameters": _TENSOR_PARAMETERS,
                    "data": {"type": "array", "items": {"type": "number"}},
                },
            },
        },
    },
}
INFER_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The outputs that were asked for, else all that a plain prediction has.",
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/InferenceResponse"},
                "example": {
                    "model_name": ANY_MODEL,
                    "model_version": "3",
                    "id": "42",
                    "outputs": [{"name": "label", "shape": [1], "datatype": "INT64", "data": [17]}],
                },
            },
            "application/octet-stream": _BINARY,
        },
    },
    **REFUSALS,
}

SCHEMAS = {
    "Error": ERROR_SCHEMA,
    "Answer": ANSWER_SCHEMA,
    "InferenceRequest": INFER_SCHEMA,
    "InferenceResponse": INFERENCE_SCHEMA,
}
