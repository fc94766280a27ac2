"""Versions of a tiny model in a registry of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from drillcore import registry
from drillcore.digests import sha256_file
from drillcore.settings import Settings
from drillcore.tracking import start_run

Add = Callable[..., int]


@pytest.fixture
def add_version(tracked: Settings, tiny_models: ModuleType, tmp_path: Path) -> Add:
    """Return a function that registers one more version of `tiny`: add(bias, lineage="sample") -> version."""

    def add(bias: float, lineage: str = "sample") -> int:
        file = tiny_models.write_tiny_model(tmp_path / "files" / f"{bias}.onnx", bias=bias, lineage=lineage)
        with start_run(tracked, "tiny") as run:
            return registry.register(
                tracked,
                file,
                name="tiny",
                run_id=run.id,
                sha256=sha256_file(file),
                metadata={"lineage": lineage, "classes": tiny_models.CLASSES},
            )

    return add
