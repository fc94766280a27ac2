"""Prefect for tests: one server of its own, in a temporary folder, for all tests of a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from retrained import retrained, retrained_template

__all__ = ["prefect", "retrained", "retrained_template"]


@pytest.fixture(scope="session")
def prefect() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=600):
        yield
