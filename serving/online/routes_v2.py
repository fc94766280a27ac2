"""The Open Inference Protocol (KServe V2) over REST: health, metadata, inference with JSON or binary tensors."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse

from drillcore.errors import InputError
from drillcore.json_types import Json
from drillcore.tasks import CLASSES, TASKS, Output
from drillcore_serving.online.batcher import Image
from drillcore_serving.online.batches import takes_padding
from drillcore_serving.online.cards import release
from drillcore_serving.online.document import examples
from drillcore_serving.online.door.limits import Share, read_body
from drillcore_serving.online.problems import RefusedError
from drillcore_serving.online.protocol_tensors import LENGTH_HEADER, InferenceRequest, read_request, write_response
from drillcore_serving.online.service import Service, check_size
from drillcore_serving.online.shelf import LoadedModel

_ERRORS: dict[int | str, dict[str, object]] = {
    status: examples.REFUSALS[status] for status in (401, 404, 422, 500, 503)
}
EXTENSIONS = ["binary_tensor_data", "model_repository", "statistics"]
_OCTETS = "application/octet-stream"

Name = Annotated[str, Path(description="Name of a model.", max_length=200)]
Version = Annotated[str, Path(description="The version that answers now.", max_length=20)]


def v2_routes(service: Service) -> APIRouter:
    """Return the routes of the protocol."""
    router = APIRouter(prefix="/v2", tags=["open inference protocol"], responses=_ERRORS)

    @router.get("", summary="What this server is")
    async def server() -> Json:
        return {"name": "drillcore", "version": release(), "extensions": EXTENSIONS}

    @router.get("/health/live", summary="Whether the process lives")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @router.get("/health/ready", summary="Whether new requests are welcome")
    async def ready() -> Response:
        return JSONResponse({"ready": service.ready}, 200 if service.ready else 503)

    @router.post("/repository/index", summary="The models of this server, and which are ready")
    async def index() -> list[Json]:
        return [
            {
                "name": loaded.name,
                "version": str(loaded.version),
                "state": "READY" if service.ready else "UNAVAILABLE",
                "reason": loaded.problem,
            }
            for loaded in service.shelf.current()
        ]

    @router.get("/models/{model}/stats", summary="How much a model has answered")
    @router.get("/models/{model}/versions/{version}/stats", summary="How much a version has answered")
    async def statistics(request: Request, model: Name, version: Version | None = None) -> Json:
        loaded = request.scope["drillcore.model"] = service.shelf.get(model, version)
        counts = service.metrics.statistics(loaded.name)
        return {"model_stats": [{"name": loaded.name, "version": str(loaded.version), **counts}]}

    @router.get("/models/{model}", summary="What a model takes and gives")
    @router.get("/models/{model}/versions/{version}", summary="What a version takes and gives")
    async def metadata(request: Request, model: Name, version: Version | None = None) -> Json:
        loaded = service.shelf.get(model, version)
        request.scope["drillcore.model"] = loaded
        return describe(loaded)

    @router.get("/models/{model}/ready", summary="Whether a model answers")
    @router.get("/models/{model}/versions/{version}/ready", summary="Whether a version answers")
    async def model_ready(request: Request, model: Name, version: Version | None = None) -> Response:
        request.scope["drillcore.model"] = service.shelf.get(model, version)
        return JSONResponse({"name": model, "ready": service.ready}, 200 if service.ready else 503)

    details: Json = {
        "description": examples.INFER_TEXT,
        "responses": examples.INFER_RESPONSES,
        "response_class": Response,
        "openapi_extra": {"requestBody": examples.INFER_BODY, "x-headers": examples.HEADERS},
    }

    @router.post("/models/{model}/infer", summary="Inference", **details)
    @router.post("/models/{model}/versions/{version}/infer", summary="Inference by a version", **details)
    async def infer(request: Request, model: Name, version: Version | None = None) -> Response:
        scope = request.scope
        turn = service.turns.place(scope["drillcore.client"])
        with service.shelf.get(model, version).lease() as loaded, turn as place:
            share: Share = scope["drillcore.share"]
            scope["drillcore.model"] = loaded
            deadline, options = service.deadline(request), service.options
            body = await read_body(request, options.max_body, share, options.read_seconds)
            length = request.headers.get(LENGTH_HEADER)
            # A number of JSON has two bytes or more, a binary one has one: no image has more pixels than that.
            await service.unless_gone(request, place.take(len(body), deadline))
            asked = await service.in_thread(lambda: read_request(body, length, options.max_json), deadline, place)
            images = _images(service, loaded, asked)
            share.take(sum(image.nbytes for image in images))
            wanted = _wanted(loaded, asked)
            share.take(_answer_bytes(service, loaded, images, wanted))
            work = service.answer(loaded, images, tuple(wanted), deadline, place.client)
            answers = await service.unless_gone(request, work)

            def respond() -> tuple[bytes, int | None]:
                arrays = {name: np.stack([answer.row[name] for answer in answers]) for name in wanted}
                facts = {"model_name": loaded.name, "model_version": str(loaded.version)}
                return write_response({**facts, **({"id": asked.id} if asked.id else {})}, arrays, wanted)

            data, head = await service.in_thread(respond, deadline, place)
            if head is None:
                return Response(data, media_type="application/json")
            return Response(data, media_type=_OCTETS, headers={LENGTH_HEADER: str(head)})

    return router


def describe(loaded: LoadedModel) -> Json:
    """Return a model's metadata as the protocol has it, with what is ours under `parameters`."""
    model, metadata, task = loaded.model, loaded.model.metadata, TASKS[loaded.task]
    inputs: list[Json] = [
        {"name": "images", "datatype": "UINT8", "shape": [-1, -1, -1, metadata.channels]},
    ]
    if takes_padding(model):
        inputs.append({"name": "sizes", "datatype": "INT32", "shape": [-1, 2], "parameters": {"optional": True}})
    outputs = []
    for name in model.outputs:
        output = task.output(name) or Output(name=name, axes=(CLASSES, *([-1, -1] if task.dense else [])))
        outputs.append({"name": name, "datatype": output.datatype, "shape": [-1, *output.shape(len(metadata.classes))]})
    return {
        "name": loaded.name,
        "versions": [str(loaded.version)],
        "platform": "onnxruntime_onnx",
        "inputs": inputs,
        "outputs": outputs,
        "parameters": {
            "sha256": loaded.pointer.sha256,
            "task": loaded.task,
            "classes": metadata.classes,
            "providers": model.providers,
            "problem": loaded.problem,
        },
    }


def _images(service: Service, loaded: LoadedModel, asked: InferenceRequest) -> list[Image]:
    """Return the images of a request, each cut to its size."""
    metadata, shape = loaded.model.metadata, asked.images.shape
    if shape[3] != metadata.channels:
        raise RefusedError(400, f"images have {shape[3]} channels; {metadata.channels} are expected")
    pixels = shape[0] * shape[1] * shape[2]
    if pixels > service.options.max_pixels:
        raise RefusedError(413, f"{pixels} pixels in one request; at most {service.options.max_pixels} are taken")
    images = list(asked.images)
    if asked.sizes is not None:
        if asked.sizes.shape != (len(images), 2):
            raise RefusedError(400, f"sizes have the shape {list(asked.sizes.shape)}; [{len(images)}, 2] is expected")
        if bool((asked.sizes < 1).any()) or bool((asked.sizes > shape[1:3]).any()):
            raise RefusedError(400, f"sizes must be from 1 to the canvas' {shape[1]} x {shape[2]} pixels")
        if not takes_padding(loaded.model) and not bool((asked.sizes == shape[1:3]).all()):
            raise RefusedError(400, "this model takes images of one size per batch, without padding")
        images = [image[:height, :width] for image, (height, width) in zip(images, asked.sizes, strict=True)]
    for image in images:
        check_size(loaded, *image.shape[:2])
    return images


def _answer_bytes(service: Service, loaded: LoadedModel, images: list[Image], wanted: dict[str, bool]) -> int:
    """Return the bytes that the outputs take, before they are computed: they may be many times those of the image.

    Raises:
        RefusedError: 413, more than the server may hold, or more numbers than are written as JSON.
    """
    dense, classes, options = TASKS[loaded.task].dense, len(loaded.model.metadata.classes), service.options
    places = sum(image.shape[0] * image.shape[1] for image in images) if dense else len(images)
    numbers = {name: places * (classes if name == "probabilities" else 1) for name in wanted}
    held = sum(count * (1 if dense and name == "label" else 4) for name, count in numbers.items())
    text = sum(count for name, count in numbers.items() if not wanted[name])
    if held > options.max_memory:
        raise RefusedError(413, f"the outputs take {held} bytes; at most {options.max_memory}", reason="too_large")
    if text > options.max_json // 2:
        raise RefusedError(
            413,
            f"the outputs have {text} numbers; {options.max_json // 2} are written as JSON: ask for binary data",
            reason="too_large",
        )
    return held


def _wanted(loaded: LoadedModel, asked: InferenceRequest) -> dict[str, bool]:
    """Return name -> whether as binary data, of the outputs to compute."""
    if not asked.outputs:
        return dict.fromkeys(loaded.outputs, asked.binary)
    for name in asked.outputs:
        if name not in loaded.model.outputs:
            raise InputError(f"unknown output {name[:80]!r}; known: {', '.join(loaded.model.outputs)}")
    return asked.outputs
