"""A run read back as it was logged."""

from __future__ import annotations

from pathlib import Path

import pytest

from drillcore.errors import RegistryError
from drillcore.settings import Settings
from drillcore.tracking import bring_artifacts, run_facts, start_run


def test_a_run_is_read_back(tracked: Settings, tmp_path: Path) -> None:
    with start_run(tracked, "shells", name="first", tags={"lineage": "sample"}) as run:
        run.params({"recipe": {"seed": 3}})
        run.metrics({"accuracy": 0.5})
        run.picture("confusion", b"png")
        run.json("evaluation.json", {"accuracy": 0.5})
    facts = run_facts(tracked, run.id)
    assert (facts.name, facts.status, facts.params["recipe.seed"]) == ("first", "FINISHED", "3")
    assert facts.metrics == {"accuracy": 0.5}
    assert facts.tags == {"model": "shells", "lineage": "sample"}
    assert facts.ended is not None
    assert facts.ended >= facts.started
    folder = bring_artifacts(tracked, run.id, tmp_path)
    assert (folder / "pictures" / "confusion.png").read_bytes() == b"png"
    assert (folder / "evaluation.json").is_file()


def test_a_run_that_is_not_there_is_one_line(tracked: Settings, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="not found"):
        run_facts(tracked, "0" * 32)
    with pytest.raises(RegistryError, match="MLflow at"):
        bring_artifacts(tracked, "0" * 32, tmp_path)
