"""What the OpenAPI page says of requests and answers, with examples; `bodies.py` has their schemas."""

from __future__ import annotations

# Replaced by names of models that are served, and the address that was asked, where the document is made.
HOST = "localhost:8080"
MODEL, DENSE_MODEL, ANY_MODEL = "NAME-OF-A-CLASSIFIER", "NAME-OF-A-DENSE-MODEL", "NAME-OF-A-MODEL"
MAX_NUMBERS = 64  # of a tensor that is shown
_SHA = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
_MS = {"decode": 0.8, "queue": 1.2, "infer": 6.4}


def _refusals(**texts: str) -> dict[int | str, dict[str, object]]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {int(status.removeprefix("s")): {"description": text, "content": content} for status, text in texts.items()}


REFUSALS = _refusals(
    s400="The request cannot be understood.",
    s401="An API key is needed.",
    s404="No such model, version or class here.",
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

By `Accept` the answer is JSON; `image/png`, a palette picture whose indices are the classes (dense models), or the ids
of segments in grey of 16 bits; `image/jpeg`, the classes' colours over the image with the `opacity` asked for, or the
outlines of segments; or `image/tiff`, predicted values. Of a model that answers whole images `image/jpeg` is the image,
red where hiding it makes the answer, or the class `label`, less probable: as far as the log-odds fall, times the
probability, at its reddest 2 or more. It takes as long as fifty answers.
A form with several files is answered in JSON, one entry a file; a file that cannot be read has `error` and `reason` in
its entry and does not touch the others.
"""

_BINARY = {"schema": {"type": "string", "format": "binary"}}
PREDICT_BODY: dict[str, object] = {
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
PREDICT_RESPONSES: dict[int | str, dict[str, object]] = {
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

INFER_TEXT = """
Inference as the Open Inference Protocol (KServe V2) has it, tensors as JSON numbers or as binary data after the JSON
(`Inference-Header-Content-Length`). Images of several sizes stand top-left on one canvas, with their sizes in `sizes`.
"""
INFER_BODY: dict[str, object] = {
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
INFER_RESPONSES: dict[int | str, dict[str, object]] = {
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
