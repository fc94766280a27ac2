"""A server of tiny models in a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from online_case import Running, serve_tiny

from drillcore.settings import Settings


@pytest.fixture
def start(settings: Settings) -> Iterator[Callable[..., Running]]:
    """Return a function that starts a server in a thread: `start("tiny", max_body=1000)`; stopped after the test."""
    servers: list[Running] = []

    def begin(*models: str, **options: object) -> Running:
        servers.append(Running(settings, models or ("tiny",), options))
        return servers[-1]

    yield begin
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def tiny_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of the tiny model that the tests of a file share."""
    root = tmp_path_factory.mktemp("checkout")
    (root / "models").mkdir()
    env = {"DRILLCORE_THREADS": "1", "DRILLCORE_WORKERS": "1", "DRILLCORE_DEVICE": "cpu"}
    settings = Settings.load(root, env=env)
    serve_tiny(settings)
    server = Running(settings, ["tiny"], {})
    yield server
    server.stop()
