"""The outermost layer: request ids, keys, limits on requests in work, headers for browsers, one log line, one count.

Plain ASGI, and outside of everything else: what goes wrong further in ends here as JSON that names a request id only.
"""

from __future__ import annotations

import http
import json
import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from drillcore.json_types import Json
from drillcore.remote import is_loopback
from drillcore_serving.online.door.clients import caller
from drillcore_serving.online.door.limits import Share, declared_bytes
from drillcore_serving.online.json_lines import log
from drillcore_serving.online.problems import RefusedError, problem_of
from drillcore_serving.online.service import ClientGoneError, Service

REQUEST_ID = "x-request-id"
# Open to all: what says whether the server lives, and the page, which sends the key with what it asks.
OPEN_PATHS = ("/", "/docs", "/docs.css", "/openapi.json", "/favicon.ico", "/v2/health/live", "/v2/health/ready")
_OPEN_BELOW = ("/static/",)
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_PIECE = 2**18  # bytes of an answer that are given to the connection at a time
_LEFT_UNREAD = 2**20  # bytes of a body that was refused unread and that are taken in to keep the connection
_CLIENT_GONE = 499  # as nginx counts it; never sent
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Guard:
    """Wraps the application of one server."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        # A copy: the protocol below must know that it was HEAD, and sends no body then.
        scope = {**scope, "method": "GET" if method == "HEAD" else method, "path": path.rstrip("/") or "/"}
        with self._service.memory.share() as share:
            visit = _Visit(self._service, scope, send, share, method)
            try:
                self._admit(visit)
                await self._app(scope, visit.receiver(receive), visit.send)
            except (ClientGoneError, ClientDisconnect):
                visit.status = _CLIENT_GONE
            except Exception as error:  # noqa: BLE001 - the last one to see it
                await visit.refuse(error)
            finally:
                visit.finish()

    def _admit(self, visit: _Visit) -> None:
        service, path = self._service, visit.scope["path"]
        if not service.keys and not _is_local(visit.headers.get("host", "")):
            # A page elsewhere may point a name of its own at this machine (DNS rebinding).
            raise RefusedError(421, "without API keys this server answers to localhost only", close=True)
        if path in OPEN_PATHS or path.startswith(_OPEN_BELOW):
            return
        # A preflight carries no key; what may be asked from elsewhere is for the CORS layer to say.
        preflight = visit.scope["method"] == "OPTIONS" and "access-control-request-method" in visit.headers
        if not preflight and not service.keys.allow_headers(visit.headers):
            raise RefusedError(
                401,
                "an API key is needed: Authorization: Bearer KEY, or X-Api-Key: KEY",
                headers={"www-authenticate": 'Bearer realm="drillcore"'},
            )
        visit.admit()


class _Visit:
    """One request on its way: what is known of it, and its answer."""

    def __init__(self, service: Service, scope: Scope, send: Send, share: Share, method: str) -> None:
        self.scope, self.status, self.sent, self._method = scope, 0, 0, method
        self.headers = Headers(scope=scope)
        self._service, self._send, self._share, self._started = service, send, share, False
        given = self.headers.get(REQUEST_ID, "")
        self.id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        self.began = time.monotonic()
        chunked, declared = "chunked" in self.headers.get("transfer-encoding", ""), declared_bytes(self.headers)
        self._unread = chunked or declared > _LEFT_UNREAD
        self._body_comes, self._admitted, self._at_work = chunked or declared > 0, False, False
        self.client = caller(scope, self.headers, keys=bool(service.keys))
        scope["drillcore.began"], scope["drillcore.id"] = self.began, self.id
        scope["drillcore.client"], scope["drillcore.share"] = self.client, share

    def admit(self) -> None:
        """Let it be worked at, at once or when its body has come: a body that trickles keeps nobody from working.

        Raises:
            RefusedError: 503, as many requests are in work as may be.
        """
        self._admitted = True
        self._service.work.check(self.client)
        if not self._body_comes:
            self._begin()

    def _begin(self) -> None:
        self._service.work.begin(self.client)
        self._at_work = True

    def receiver(self, receive: Receive) -> Receive:
        """Return `receive`, noting whether the body was read to its end."""

        async def noted() -> Message:
            message = await receive()
            if not message.get("more_body", False):
                self._unread = False
                if self._admitted and not self._at_work and message["type"] == "http.request":
                    self._begin()
            return message

        return noted

    async def send(self, message: Message) -> None:
        """Pass a message on, with our headers."""
        if message["type"] == "http.response.start":
            self._started, self.status = True, message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID] = self.id
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "no-store")
            if self._unread:
                # Nobody will read the rest; on an open connection it would have to be taken in to be dropped.
                headers["connection"] = "close"
            loaded = self.scope.get("drillcore.model")
            if loaded is not None:
                headers["x-model-version"] = str(loaded.version)
        elif message["type"] == "http.response.body":
            body = message.get("body", b"")
            self.sent += len(body)
            if len(body) > _PIECE:
                await self._send_large(body, more=message.get("more_body", False))
                return
        await self._send(message)

    async def _send_large(self, body: bytes, *, more: bool) -> None:
        """Send piece by piece: each waits until the client has taken those before, and till then the memory is held."""
        self._share.keep(len(body))
        for start in range(0, len(body), _PIECE):
            last = start + _PIECE >= len(body)
            piece = {"type": "http.response.body", "body": body[start : start + _PIECE], "more_body": more or not last}
            await self._send(piece)

    async def refuse(self, error: Exception) -> None:
        """Answer an error, unless the answer has begun."""
        problem = problem_of(error)
        if problem is None:
            log("error", level=logging.ERROR, error=error, request_id=self.id, path=self._path())
            problem = RefusedError(500, f"an error of the server; its log has it under the request id {self.id}")
        if self._started:
            return
        status, headers, body = refusal(problem, self.id)
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    def finish(self) -> None:
        """Write the line of the log and count."""
        if self._at_work:
            self._service.work.end(self.client)
        seconds, loaded = time.monotonic() - self.began, self.scope.get("drillcore.model")
        model, route = loaded.name if loaded is not None else "", self._route()
        metrics = self._service.metrics
        metrics.requests.labels(route, model, str(self.status)).inc()
        metrics.seconds.labels(route, model).observe(seconds)
        fields: Json = {
            "request_id": self.id,
            "method": self._method,
            "path": self._path(),
            "status": self.status,
            "ms": round(1e3 * seconds, 2),
            "bytes": self.sent,
            "client": (self.scope.get("client") or [""])[0],
        }
        if loaded is not None:
            fields |= {"model": model, "version": loaded.version}
        # What a probe asks every few seconds is no news.
        level = logging.DEBUG if route.startswith(("/v2/health", "/metrics")) else logging.INFO
        log("request", level=level, **fields)

    def _path(self) -> str:
        return str(self.scope["path"])[:200]

    def _route(self) -> str:
        """Return the route's template: few different ones, whatever is asked for."""
        route = self.scope.get("route")
        return str(getattr(route, "path", "")) or "other"


def refusal(problem: RefusedError, request_id: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return status, headers and JSON of a refusal."""
    body = json.dumps({**problem.body(), "request_id": request_id}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **problem.headers}
    return problem.status, [(name.encode(), value.encode()) for name, value in headers.items()], body


def whole_refusal(problem: RefusedError) -> bytes:
    """Return a refusal as it goes over the wire, for what never becomes a request."""
    identity = uuid.uuid4().hex
    status, headers, body = refusal(problem, identity)
    about = {REQUEST_ID: identity, "cache-control": "no-store", "connection": "close", **_HEADERS}
    lines = [f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}".encode()]
    lines += [name + b": " + value for name, value in headers]
    lines += [f"{name}: {value}".encode() for name, value in about.items()]
    return b"\r\n".join([*lines, b"", body])


def _is_local(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host
    return is_loopback(name or "localhost")
