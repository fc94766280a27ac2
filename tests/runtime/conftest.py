"""A model to spoil."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def model(tiny_models: ModuleType) -> Any:
    """A valid classification model of three classes, to be spoilt."""
    return tiny_models.tiny_model()
