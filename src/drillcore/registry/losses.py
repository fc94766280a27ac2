"""What a lost or emptied database leaves behind, told without changing anything."""

from __future__ import annotations

from drillcore.registry.agreement import compare, note_files
from drillcore.registry.alias_moves import ADOPTED_BY, mlflow_aliases
from drillcore.registry.model_versions import model_names, versions
from drillcore.settings import Settings
from drillcore.state import AliasMove, heads, moves, open_state


def lost_moves(settings: Settings) -> list[str]:
    """Return one line, with what to do, for each alias on which the history and MLflow do not agree.

    Raises:
        RegistryError: MLflow cannot be reached.
        StateError: the state database cannot be used.
    """
    database = open_state(settings)
    told = []
    for name in sorted({*model_names(settings), *(move.model for move in heads(database))}):
        there = versions(settings, name)
        note_files(settings, database, name, there)
        last = heads(database, name)
        told += [str(one) for one in compare(last, there)]
        missing = mlflow_aliases(settings, name)
        told += [
            f"MLflow has {name}@{alias} = version {missing[alias]}, and the history does not know of it: the state "
            "database was lost; restore it from a backup, or leave it: the next retrain, promote or rollback takes "
            "over what MLflow has, and the moves before stay lost"
            for alias in sorted(missing.keys() - {move.alias for move in last})
        ]
    return told


def adopted_moves(settings: Settings) -> list[AliasMove]:
    """Return the moves that were taken over from MLflow, for want of a history. Raises StateError."""
    database = open_state(settings)
    first = [moves(database, last.model, last.alias)[0] for last in heads(database)]
    return [move for move in first if (move.who, move.action) == (ADOPTED_BY, "set")]
