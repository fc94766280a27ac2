"""Small blocks of rows."""

from __future__ import annotations

import pytest

from drillcore.heads import row_source
from drillcore.heads.dbn import stages as dbn_stages


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few batches, so that a small table has many; and a checkpoint after each."""
    monkeypatch.setattr(row_source, "BLOCK_VALUES", 20 * 128)
    monkeypatch.setattr(row_source, "_SLICE_VALUES", 20 * 100)
    monkeypatch.setattr(row_source, "RUN", 16)
    monkeypatch.setattr(dbn_stages, "CHECKPOINT_SECONDS", 0.0)
