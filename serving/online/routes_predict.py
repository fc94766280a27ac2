"""Plain use: `POST /predict/{model}` with an image file; JSON, a picture of labels, or an overlay, by `Accept`."""

from __future__ import annotations

import asyncio
import base64
import itertools
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Annotated, TypeVar

import numpy as np
from fastapi import APIRouter, Path, Query, Request, Response

from drillcore.arrays import Array
from drillcore.errors import BadImageError
from drillcore.json_types import Json
from drillcore.runtime.images.hiding import encode_lost, hidden, lost, smaller
from drillcore_serving.online.answers import JPEG, JSON, PNG, shown, timings
from drillcore_serving.online.batcher import Answer, Image
from drillcore_serving.online.document import bodies, examples
from drillcore_serving.online.door.accepting import choose
from drillcore_serving.online.door.limits import Part, Share, read_body, split_multipart
from drillcore_serving.online.door.turns import Place
from drillcore_serving.online.problems import RefusedError, problem_of
from drillcore_serving.online.service import Service
from drillcore_serving.online.shelf import LoadedModel

IMAGE_TYPES = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP", "image/tiff": "TIFF", "image/bmp": "BMP"}
# Besides image/*, whose content decides: what clients say that know no better, curl --data-binary among them.
_RAW = ("application/octet-stream", "binary/octet-stream", "application/x-www-form-urlencoded", "")
_FIELD = "file"
_HIDDEN = 7  # copies of an image with parts hidden that are asked about at a time
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Asked:
    """One image that is asked about."""

    service: Service
    loaded: LoadedModel
    share: Share
    deadline: float
    place: Place

    async def in_thread(self, action: Callable[[], _T]) -> _T:
        return await self.service.in_thread(action, self.deadline, self.place)


@dataclass(frozen=True, slots=True)
class _Look:
    """How an answer is shown: its media type, and what pictures are asked for."""

    wanted: str
    mask: bool
    opacity: float
    label: str


def predict_routes(service: Service) -> APIRouter:
    """Return the route of plain predictions."""
    router = APIRouter(tags=["predict"])

    @router.post(
        "/predict/{model}",
        summary="Answer for an image file",
        description=examples.PREDICT_TEXT,
        responses=examples.PREDICT_RESPONSES,
        openapi_extra={"requestBody": examples.PREDICT_BODY, "x-headers": examples.HEADERS},
        response_class=Response,
    )
    async def predict(
        request: Request,
        model: Annotated[str, Path(description="Name of a model.", max_length=200)],
        opacity: Annotated[float, Query(ge=0, le=1, description="Of the labels in an overlay.")] = 0.5,
        mask: Annotated[bool, Query(description="Put the PNG of labels into the JSON, as a data URL.")] = False,
        label: Annotated[str, Query(description="Class whose overlay it is, of an image's; the answer's.")] = "",
    ) -> Response:
        with service.shelf.get(model).lease() as loaded:
            share: Share = request.scope["drillcore.share"]
            request.scope["drillcore.model"] = loaded
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            form = shown(loaded.task)
            wanted = choose(request.headers.get("accept", ""), form.offers)
            drawn = () if form.hides(loaded.model.metadata) else form.drawn
            if wanted != JSON and not set(drawn) <= set(loaded.model.outputs):
                raise RefusedError(406, f"{loaded.name} has no pictures of its answers; take application/json")
            if label and label not in loaded.model.metadata.classes:
                raise RefusedError(404, f"{loaded.name} has no class {label[:80]!r}")
            look = _Look(wanted, mask=mask, opacity=opacity, label=label)
            if kind == "multipart/form-data":
                return await _several(service, request, loaded, share, look)
            if kind not in _RAW and not kind.startswith("image/"):
                known = ", ".join((*IMAGE_TYPES, "multipart/form-data"))
                raise RefusedError(415, f"{kind[:80]} is not read; send one of {known}")
            return await _single(service, request, loaded, share, look)

    return router


async def _single(service: Service, request: Request, loaded: LoadedModel, share: Share, look: _Look) -> Response:
    deadline = service.deadline(request)
    data = await read_body(request, service.options.max_body, share, service.options.read_seconds)
    with service.turns.place(request.scope["drillcore.client"]) as place:
        asked = _Asked(service, loaded, share, deadline, place)
        image, answer, spent = await service.unless_gone(request, _answer(asked, Part("", "", data), look.wanted))
        if look.wanted != JSON:
            return await service.unless_gone(request, _picture(asked, image, answer, spent, look))
        return _answered(loaded, await _said(asked, answer, spent, mask=look.mask))


async def _several(service: Service, request: Request, loaded: LoadedModel, share: Share, look: _Look) -> Response:
    deadline, options, client = service.deadline(request), service.options, request.scope["drillcore.client"]
    data = await read_body(request, options.max_body, share, options.read_seconds)
    content_type = request.headers.get("content-type", "")
    parts = await service.in_thread(lambda: split_multipart(data, content_type, options.max_parts), deadline)
    share.take(sum(len(part.data) for part in parts))
    files = [part for part in parts if part.field == _FIELD and part.filename]
    if not files:
        raise RefusedError(400, f"no file in a field {_FIELD!r} of the body: curl -F {_FIELD}=@image.jpg sends one")
    if look.wanted != JSON:
        if len(files) > 1:
            raise RefusedError(406, f"{look.wanted} is one picture and {len(files)} files came; take application/json")
        with service.turns.place(client) as place:
            asked = _Asked(service, loaded, share, deadline, place)
            image, answer, spent = await service.unless_gone(request, _answer(asked, files[0], look.wanted))
            return await service.unless_gone(request, _picture(asked, image, answer, spent, look))

    async def one(part: Part) -> Json:
        said: Json
        with service.turns.place(client) as place:
            asked = _Asked(service, loaded, share, deadline, place)
            try:
                _, answer, spent = await _answer(asked, part)
                said = await _said(asked, answer, spent, mask=look.mask)
            except BadImageError as error:
                problem = problem_of(error)
                said = problem.body() if problem else {}
        return {"name": part.filename[-200:], **said}

    return _answered(loaded, {"images": await service.unless_gone(request, _all(map(one, files)))})


async def _all(works: Iterable[Coroutine[object, object, _T]]) -> list[_T]:
    """Do all at once; where one fails the rest is cancelled."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _answer(asked: _Asked, part: Part, wanted: str = JSON) -> tuple[Image, Answer, float]:
    service, loaded = asked.service, asked.loaded
    form = shown(loaded.task)
    plain = wanted == JSON or form.hides(loaded.model.metadata)
    outputs = loaded.outputs if plain else (*loaded.outputs, *form.drawn)
    began = time.monotonic()
    try:
        image = await service.decode(loaded, part.data, part.filename, asked.share, asked.deadline, asked.place)
    except BadImageError as error:
        service.metrics.refused.labels(loaded.name, error.reason).inc()
        raise
    spent = time.monotonic() - began
    service.metrics.stages.labels(loaded.name, "decode").observe(spent)
    answers = await service.answer(loaded, [image], outputs, asked.deadline, asked.place.client)
    return image, answers[0], spent


async def _said(asked: _Asked, answer: Answer, spent: float, *, mask: bool) -> dict[str, object]:
    metadata, form = asked.loaded.model.metadata, shown(asked.loaded.task)
    if PNG not in form.offers:
        said = form.answer(metadata, answer.row)
    else:
        said = await asked.in_thread(lambda: form.answer(metadata, answer.row))
        if mask:
            png = await asked.in_thread(lambda: form.mask(metadata, answer.row))
            said["mask"] = f"data:{PNG};base64,{base64.b64encode(png).decode()}"
    return {**said, "ms": timings([answer], spent), "batch": answer.batch}


async def _picture(asked: _Asked, image: Image, answer: Answer, spent: float, look: _Look) -> Response:
    metadata, form = asked.loaded.model.metadata, shown(asked.loaded.task)
    if look.wanted == JPEG and form.hides(metadata):
        data = await _hiding(asked, image, answer, look)
    elif look.wanted == JPEG:
        data = await asked.in_thread(lambda: form.overlay(metadata, answer.row, image, look.opacity))
    else:
        data = await asked.in_thread(lambda: form.picture(metadata, answer.row, look.wanted))
    times = ", ".join(f"{name};dur={value}" for name, value in timings([answer], spent).items())
    return Response(data, media_type=look.wanted, headers={"server-timing": times, "vary": "accept"})


async def _hiding(asked: _Asked, image: Image, answer: Answer, look: _Look) -> bytes:
    """Return the overlay of what hiding each part of the image costs a class, a few parts asked at a time."""
    service, loaded = asked.service, asked.loaded
    metadata = loaded.model.metadata
    seen = await asked.in_thread(lambda: smaller(image, metadata.min_size))
    asked.share.take((_HIDDEN + 1) * seen.nbytes)

    async def probabilities(images: list[Image]) -> list[Array]:
        answers = await service.answer(loaded, images, loaded.outputs, asked.deadline, asked.place.client)
        return [one.row["probabilities"] for one in answers]

    whole = answer.row["probabilities"] if seen is image else (await probabilities([seen]))[0]
    parts, each = hidden(seen), list[Array]()
    while batch := await asked.in_thread(lambda: list(itertools.islice(parts, _HIDDEN))):
        each += await probabilities(batch)
    number = metadata.classes.index(look.label) if look.label else int(np.argmax(whole))
    return await asked.in_thread(lambda: encode_lost(image, lost(whole, each)[number], look.opacity))


def _answered(loaded: LoadedModel, said: dict[str, object]) -> Response:
    facts = {"model": loaded.name, "version": loaded.version, "model_sha256": loaded.pointer.sha256}
    answer = bodies.Answer.model_validate({**facts, "task": loaded.task, **said})
    return Response(answer.model_dump_json(exclude_unset=True), media_type=JSON)
