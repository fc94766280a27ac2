"""A server from start to exit: models are opened first, then the door; on SIGTERM the other way round."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from drillcore.errors import InputError
from drillcore.settings import Settings
from serving.online.app import build_app
from serving.online.http_protocol import guarded_protocol
from serving.online.logs import log
from serving.online.models import LoadedModel
from serving.online.options import ServeOptions
from serving.online.service import Service

_BACKLOG = 2048
_KEEP_ALIVE = 30


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
        references: `NAME`, `NAME@ALIAS` or `NAME@VERSION`; each must have been fetched.
        options: limits, keys, address.
        opened: told the address and the models once requests are welcome.

    Raises:
        InputError: the address cannot be listened on, or a model was not fetched.
        DrillcoreError: a model cannot be opened.
    """
    with _listening(options.host, options.port) as door:
        server = _Server(settings, references, options, door, opened)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(server.serve())


class _Server:
    def __init__(
        self,
        settings: Settings,
        references: Sequence[str],
        options: ServeOptions,
        door: socket.socket,
        opened: Callable[[str, list[LoadedModel]], None],
    ) -> None:
        self._settings, self._references, self._options = settings, references, options
        self._door, self._opened = door, opened

    async def serve(self) -> None:
        began = time.monotonic()
        service = Service(self._settings, self._options)
        try:
            for reference in self._references:
                await service.shelf.add(reference)
            http = _Uvicorn(self._config(build_app(service)))
            with _stopping(lambda: self._stop(service, http)):
                watching = asyncio.create_task(service.shelf.watch(), name="watch")
                service.ready = True
                url = self._url()
                log("ready", url=url, models=service.shelf.names, seconds=round(time.monotonic() - began, 3))
                self._opened(url, service.shelf.current())
                await http.serve(sockets=[self._door])
                service.ready = False
                watching.cancel()
        finally:
            await service.close()
        log("stopped")

    def _config(self, app: ASGIApp) -> uvicorn.Config:
        return uvicorn.Config(
            app,
            http=guarded_protocol(),
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=max(1, round(self._options.stop_seconds)),
        )

    async def _stop(self, service: Service, http: uvicorn.Server) -> None:
        """Say that we are not ready, give those who balance the load a moment, then close the door."""
        if not service.ready:
            http.should_exit = http.force_exit = True  # asked twice
            return
        service.ready = False
        log("stopping", drain_seconds=self._options.drain_seconds)
        await asyncio.sleep(self._options.drain_seconds)
        http.should_exit = True

    def _url(self) -> str:
        host, port = self._door.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Uvicorn(uvicorn.Server):
    """Uvicorn without its own signal handlers, which would end the process by the signal, not with exit code 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def _stopping(stop: Callable[[], Coroutine[Any, Any, None]]) -> Iterator[None]:
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
def _listening(host: str, port: int) -> Iterator[socket.socket]:
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
