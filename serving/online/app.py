"""The application of one server: its routes, its errors, its layers."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from drillcore.errors import DrillcoreError
from drillcore.json_types import Json
from drillcore_serving.online.cards import describe_all, release
from drillcore_serving.online.document import examples
from drillcore_serving.online.document.docs_page import docs_page
from drillcore_serving.online.document.openapi import Described
from drillcore_serving.online.door.guard import Guard, refusal
from drillcore_serving.online.problems import RefusedError, problem_of
from drillcore_serving.online.prometheus import CONTENT_TYPE
from drillcore_serving.online.routes_predict import predict_routes
from drillcore_serving.online.routes_v2 import v2_routes
from drillcore_serving.online.service import ClientGoneError, Service

PAGE = Path(__file__).with_name("page")
_ERRORS: dict[int | str, dict[str, object]] = {status: examples.REFUSALS[status] for status in (401, 422, 500, 503)}


def build_app(service: Service) -> ASGIApp:
    """Return the ASGI application; models are opened before, see `server.py`."""
    app = FastAPI(
        title="drillcore",
        version=release(),
        description="Answers of pretrained networks with light second stages, one ONNX file each.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.include_router(predict_routes(service))
    app.include_router(v2_routes(service))
    _about_routes(app, service)
    _page_routes(app, service)
    _errors(app)
    layered: ASGIApp = app
    if service.options.cors_origins:
        layered = CORSMiddleware(
            app,
            allow_origins=service.options.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-api-key", "x-deadline-ms", "x-request-id"],
            expose_headers=["server-timing", "x-model-version", "x-request-id", "retry-after"],
        )
    return Guard(layered, service)


def _about_routes(app: FastAPI, service: Service) -> None:
    @app.get("/api/models", tags=["about"], summary="The models of this server, with their cards", responses=_ERRORS)
    async def models() -> Json:
        return await describe_all(service)

    @app.get(
        "/metrics",
        tags=["about"],
        summary="For Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **_ERRORS},
    )
    async def prometheus() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)


def _page_routes(app: FastAPI, service: Service) -> None:
    described = Described(app.openapi, service)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi(request: Request) -> Response:
        return JSONResponse(described.document(request.headers))

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return Response(docs_page(described.document(request.headers)), media_type="text/html; charset=utf-8")

    @app.get("/docs.css", include_in_schema=False)
    async def style() -> Response:
        return FileResponse(Path(__file__).with_name("docs.css"))

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        index = PAGE / "index.html"
        if not index.is_file():
            return RedirectResponse("/docs")
        return FileResponse(index, headers={"cache-control": "no-cache"})

    if PAGE.is_dir():
        app.mount("/static", StaticFiles(directory=PAGE))


def _errors(app: FastAPI) -> None:
    async def known(request: Request, error: Exception) -> Response:
        problem = problem_of(error)
        if problem is None:
            raise error  # to `unknown`, and to the log
        return _refused(request, problem)

    async def unknown(request: Request, _: Exception) -> Response:
        # The guard outside writes it to the log.
        identity = request.scope.get("drillcore.id", "")
        return _refused(
            request, RefusedError(500, f"an error of the server; its log has it under the request id {identity}")
        )

    async def of_routing(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        words = {404: "there is nothing at this address", 405: "this method is not allowed here"}
        message = words.get(error.status_code, str(error.detail))
        headers = dict(error.headers or {})
        if "GET" in headers.get("Allow", "") and "HEAD" not in headers["Allow"]:
            headers["Allow"] += ", HEAD"  # the guard asks as GET
        return _refused(request, RefusedError(error.status_code, message, headers=headers))

    async def of_parameters(request: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        first = error.errors()[0]
        where = " ".join(str(part) for part in first.get("loc", ()))[:100]
        return _refused(request, RefusedError(422, f"{where}: {first.get('msg', 'cannot be used')}"[:300]))

    async def gone(_request: Request, _error: Exception) -> Response:
        return Response(status_code=499)

    for kind in (RefusedError, DrillcoreError, MemoryError):
        app.add_exception_handler(kind, known)
    for absent in (ClientGoneError, ClientDisconnect):
        app.add_exception_handler(absent, gone)
    app.add_exception_handler(HTTPException, of_routing)
    app.add_exception_handler(RequestValidationError, of_parameters)
    app.add_exception_handler(Exception, unknown)


def _refused(request: Request, problem: RefusedError) -> Response:
    status, headers, body = refusal(problem, request.scope.get("drillcore.id", ""))
    response = Response(body, status)
    response.raw_headers = headers
    return response
