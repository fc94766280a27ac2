"""Lets the tests of this folder, which is no package, import the cases they share; and a model to spoil."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture
def model(tiny_models: ModuleType) -> Any:
    """A valid classification model of three classes, to be spoilt."""
    return tiny_models.tiny_model()
