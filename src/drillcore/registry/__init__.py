"""Versions of models in MLflow's registry, their aliases (the state database is the truth), and bringing files here."""

from drillcore.registry.alias_moves import (
    CHALLENGER,
    CHAMPION,
    aliases,
    history,
    promote,
    reconcile,
    rollback,
    set_alias,
)
from drillcore.registry.fetching import download, fetch, resolve_version
from drillcore.registry.model_versions import ModelVersion, get_version, model_names, register, versions

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "ModelVersion",
    "aliases",
    "download",
    "fetch",
    "get_version",
    "history",
    "model_names",
    "promote",
    "reconcile",
    "register",
    "resolve_version",
    "rollback",
    "set_alias",
    "versions",
]
