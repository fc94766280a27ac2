"""MLflow's file is read as MLflow reads it, without MLflow; where it may not be, MLflow is asked."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable

import pytest

from drillcore import registry
from drillcore.errors import RegistryError
from drillcore.registry import own_database
from drillcore.settings import Settings
from drillcore.tracking.connection import mlflow_client

Add = Callable[..., int]

_LIST = """
import json, sys
from drillcore.settings import Settings
from drillcore.upkeep.listing import list_models, model_history
settings = Settings.load()
print(json.dumps({
    "rows": [[row["model"], row["version"], row["aliases"]] for row in list_models(settings)],
    "moves": len(model_history(settings, "tiny")),
    "loaded": sorted({"mlflow", "pandas", "torch", "prefect"} & set(sys.modules)),
}))
"""


@pytest.fixture
def registered(tracked: Settings, add_version: Add) -> Settings:
    """Versions 1 (champion), 2 (deleted) and 3, beside a prompt and a model that lost all its versions."""
    for bias in (1, 2, 3):
        add_version(bias)
    registry.promote(tracked, "tiny", 1)
    with mlflow_client(tracked) as client:
        client.delete_model_version("tiny", "2")
        client.register_prompt("greeting", "hello {{name}}")
        client.create_registered_model("bare")
    return tracked


def test_the_rows_are_those_mlflow_gives(registered: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_database.read_names(registered) == ["tiny"] == registry.asked_names(registered)
    read = registry.versions(registered, "tiny"), registry.mlflow_aliases(registered, "tiny")
    assert [row.version for row in read[0]] == [3, 1]
    monkeypatch.setattr(own_database, "KNOWN_REVISIONS", frozenset())
    assert own_database.read_versions(registered, "tiny") is None
    assert (registry.versions(registered, "tiny"), registry.mlflow_aliases(registered, "tiny")) == read


def test_the_installed_mlflow_has_a_known_revision(tracked: Settings) -> None:
    with sqlite3.connect(tracked.state / "mlflow.db") as database:
        assert {row[0] for row in database.execute("SELECT version_num FROM alembic_version")} <= (
            own_database.KNOWN_REVISIONS
        )


def test_listing_imports_neither_mlflow_nor_pandas(registered: Settings) -> None:
    environment = {**os.environ, "DRILLCORE_ROOT": str(registered.root), "DRILLCORE_STATE": str(registered.state)}
    done = subprocess.run([sys.executable, "-c", _LIST], env=environment, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert told == {"rows": [["tiny", 3, ""], ["tiny", 1, "champion"]], "moves": 1, "loaded": []}


def test_a_damaged_file_is_left_to_mlflow(tracked: Settings) -> None:
    (tracked.state / "mlflow.db").write_bytes(b"no database" * 1000)
    assert own_database.read_names(tracked) is None
    with pytest.raises(RegistryError, match="failed"):
        registry.model_names(tracked)


def test_no_file_means_no_versions(settings: Settings) -> None:
    assert registry.model_names(settings) == []
    assert registry.versions(settings, "tiny") == []
    assert not (settings.state / "mlflow.db").exists()
