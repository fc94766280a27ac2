"""A server from start to exit: models are opened first, then the door; on SIGTERM the other way round."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence

import uvicorn
from starlette.types import ASGIApp

from drillcore.errors import InputError
from drillcore.settings import Settings
from drillcore_serving.online.app import build_app
from drillcore_serving.online.door.connections import Connections, Phase, room_for
from drillcore_serving.online.door.guard import whole_refusal
from drillcore_serving.online.door.http_protocol import guarded_protocol
from drillcore_serving.online.json_lines import Seldom, log
from drillcore_serving.online.options import ServeOptions
from drillcore_serving.online.service import Service
from drillcore_serving.online.shelf import LoadedModel

_BACKLOG = 2048


def serve(
    settings: Settings,
    references: Sequence[str],
    options: ServeOptions,
    *,
    opened: Callable[[str, list[LoadedModel]], None] = lambda url, models: None,
) -> None:
    """Serve models until SIGTERM or SIGINT; return when all that was taken is finished.

    Args:
        settings: where what was fetched stands.
        references: `NAME`, `NAME@ALIAS` or `NAME@VERSION`, each fetched; or exported files.
        options: limits, keys, address.
        opened: told the address and the models once requests are welcome.

    Raises:
        InputError: the address cannot be listened on, or a model was not fetched.
        DrillcoreError: a model cannot be opened.
    """
    with listening(options.host, options.port) as door:
        server = OnlineServer(settings, references, options, door, opened)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(server.serve())


class OnlineServer:
    """One server; made in one thread, it lives in one event loop.

    Attributes:
        service: its parts.
    """

    def __init__(
        self,
        settings: Settings,
        references: Sequence[str],
        options: ServeOptions,
        door: socket.socket,
        opened: Callable[[str, list[LoadedModel]], None],
    ) -> None:
        self._references, self._door, self._opened = references, door, opened
        self.service = Service(settings, options)
        self._http: _Uvicorn | None = None
        self._cut_off = Seldom("connections closed")

    async def serve(self) -> None:
        """Open the models, answer until `stop`, finish what was taken."""
        began, service = time.monotonic(), self.service
        try:
            for reference in self._references:
                await service.shelf.add(reference)
            self._http = _Uvicorn(self._config(build_app(service)))
            with _stopping(self.stop):
                background = [
                    asyncio.create_task(service.shelf.watch(), name="watch"),
                    asyncio.create_task(service.sketches.keep(), name="sketches"),
                ]
                # Whoever knocks from here on waits in the queue: one who was told the address is not refused.
                self._door.listen(_BACKLOG)
                service.ready = True
                url = self._url()
                log("ready", url=url, models=service.shelf.names, seconds=round(time.monotonic() - began, 3))
                self._opened(url, service.shelf.current())
                await self._http.serve(sockets=[self._door])
                service.ready = False
                for task in background:
                    task.cancel()
        finally:
            await service.close()
        log("stopped")

    async def stop(self) -> None:
        """Say that we are not ready, give those who balance the load a moment, then close the door."""
        if self._http is None:
            return
        if not self.service.ready:
            self._http.should_exit = self._http.force_exit = True  # asked twice
            return
        self.service.ready = False
        drain = self.service.options.drain_seconds
        log("stopping", drain_seconds=drain)
        await asyncio.sleep(drain)
        self._http.should_exit = True

    def _config(self, app: ASGIApp) -> uvicorn.Config:
        return uvicorn.Config(
            app,
            http=guarded_protocol(self._connections(), whole_refusal, self._closed),
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            # Later than our own, which is the one that counts.
            timeout_keep_alive=math.ceil(2 * self.service.options.idle_seconds),
            timeout_graceful_shutdown=max(1, round(self.service.options.stop_seconds)),
        )

    def _connections(self) -> Connections:
        options = self.service.options
        limit = room_for(options.max_connections)
        if limit < options.max_connections:
            log("fewer connections", level=logging.WARNING, limit=limit, why="the limit of open files (ulimit -n)")
        seconds = {
            Phase.HEAD: options.head_seconds,
            Phase.IDLE: options.idle_seconds,
            Phase.ANSWER: options.send_seconds,
        }
        per_address = options.max_connections_per_address or max(1, limit // 2)
        return Connections(limit, per_address, seconds, self.service.metrics.connections.set)

    def _closed(self, why: str, address: str, status: int) -> None:
        metrics = self.service.metrics
        metrics.closed.labels(why).inc()
        if status:
            metrics.requests.labels("other", "", str(status)).inc()
        if why != Phase.IDLE.value:
            self._cut_off.count(why, address)

    def _url(self) -> str:
        host, port = self._door.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Uvicorn(uvicorn.Server):
    """Uvicorn without its own signal handlers, which would end the process by the signal, not with exit code 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def _stopping(stop: Callable[[], Coroutine[object, object, None]]) -> Iterator[None]:
    """Call the coroutine function `stop` on SIGTERM and SIGINT, where this is the main thread."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    def begin() -> None:
        task = loop.create_task(stop())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    signals: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGINT)
    try:
        for number in signals:
            loop.add_signal_handler(number, begin)
    except (RuntimeError, ValueError):  # another thread, as in tests: whoever runs it stops it
        signals = ()
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Bind before models are opened: a port in use is said at once."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        door = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InputError(f"cannot listen on {host}: {error.strerror or error}") from None
    with door:
        try:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(address)
            door.setblocking(False)
        except OSError as error:
            raise InputError(
                f"cannot listen on {host} port {port}: {error.strerror}; choose another with --port"
            ) from None
        yield door


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        logging.getLogger("drillcore").debug("uvloop is not here; asyncio's own loop is used")
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
