"""What every hostile model meets: it is refused by the check and by the opening."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from drillcore.errors import UnsafeModelError
from drillcore.runtime.model.safety import check_model
from drillcore.runtime.model.session import open_model

Model = Any


def refused(model: Model, tmp_path: Path, match: str) -> None:
    """Both the check and the opening refuse it, in one line that names no folder."""
    path = tmp_path / "hostile.onnx"
    path.write_bytes(model.SerializeToString())
    for attempt in (lambda: check_model(model), lambda: open_model(path)):
        with pytest.raises(UnsafeModelError, match=match) as caught:
            attempt()
        assert "\n" not in str(caught.value)
        assert str(tmp_path) not in str(caught.value)
