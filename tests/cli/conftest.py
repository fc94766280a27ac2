"""Running commands inside the test process, with environment, logs and progress bars put back afterwards."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from drillcore import progress
from drillcore.cli.failures import guarded
from drillcore.cli.root import cli
from drillcore.settings import Settings


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def drillcore(settings: Settings, capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Ended]]:
    """Return a function that runs a command in the checkout of `settings`."""
    environment, root = dict(os.environ), logging.getLogger()
    handlers, level, filters = list(root.handlers), root.level, list(warnings.filters)
    os.environ |= {"DRILLCORE_ROOT": str(settings.root), "DRILLCORE_THREADS": "1", "DRILLCORE_WORKERS": "1"}

    def run(*arguments: object) -> Ended:
        capfd.readouterr()
        code = guarded(cli, [str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Ended(code, captured.out, captured.err)

    yield run
    for handler in root.handlers:
        handler.close()
    root.handlers[:], root.level = handlers, level
    warnings.filters[:] = filters  # type: ignore[index]
    logging.captureWarnings(False)
    progress.set_quiet(False)
    os.environ.clear()
    os.environ.update(environment)
