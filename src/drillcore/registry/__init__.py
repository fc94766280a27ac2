"""Versions of models in MLflow's registry, their aliases (the state database is the truth), and bringing files here."""

from drillcore.registry.agreement import require_database
from drillcore.registry.alias_moves import (
    CHALLENGER,
    CHAMPION,
    aliases,
    history,
    mlflow_aliases,
    promote,
    reconcile,
    rollback,
    set_alias,
)
from drillcore.registry.announcing import announce, tell
from drillcore.registry.fetching import download, fetch, require_signed, resolve_version
from drillcore.registry.known import refuse_unknown
from drillcore.registry.losses import adopted_moves, lost_moves
from drillcore.registry.model_versions import ModelVersion, asked_names, get_version, model_names, register, versions

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "ModelVersion",
    "adopted_moves",
    "aliases",
    "announce",
    "asked_names",
    "download",
    "fetch",
    "get_version",
    "history",
    "lost_moves",
    "mlflow_aliases",
    "model_names",
    "promote",
    "reconcile",
    "refuse_unknown",
    "register",
    "require_database",
    "require_signed",
    "resolve_version",
    "rollback",
    "set_alias",
    "tell",
    "versions",
]
