"""Where aliases point. A move is two writes: a row in the state database, which is the truth, then MLflow's alias.

Killed before the first write nothing has changed; killed after it `reconcile` makes MLflow follow. Where MLflow refuses
the second write the first is withdrawn.
"""

from __future__ import annotations

import dataclasses
import getpass
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from drillcore.errors import ConflictError, GateError, InputError, RegistryError, UnknownNameError
from drillcore.promotion.retreat import version_before
from drillcore.promotion.verdict import Verdict
from drillcore.registry.model_versions import get_version
from drillcore.settings import Settings
from drillcore.state import (
    Action,
    AliasMove,
    StateDatabase,
    finish_move,
    head,
    heads,
    insert_move,
    moves,
    open_state,
    withdraw_move,
)
from drillcore.tracking.connection import mlflow_client

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, CHALLENGER = "champion", "challenger"


def aliases(settings: Settings, model: str) -> dict[str, int]:
    """Return alias -> version of a model; MLflow is not asked. Raises StateError."""
    return {move.alias: move.version for move in heads(open_state(settings), model)}


def history(settings: Settings, model: str, alias: str | None = None) -> list[AliasMove]:
    """Return every move of a model's aliases, oldest first: who, when, why, figures, verdict. Raises StateError."""
    return moves(open_state(settings), model, alias)


def promote(
    settings: Settings,
    model: str,
    version: int,
    *,
    who: str = "",
    why: str = "",
    verdict: Verdict | None = None,
    figures: Mapping[str, Any] | None = None,
    expected_seq: int | None = None,
    force: bool = False,
) -> AliasMove:
    """Make a version the champion; where it is already, nothing happens.

    Args:
        settings: where state and MLflow are.
        model: registered name.
        version: the new champion.
        who: default `user@host`.
        why: one line, kept in the history.
        verdict: the gate's reasoning, kept in the history.
        figures: of the version; default those in the verdict.
        expected_seq: number of the champion's last move when the gate looked (0: never set); None: no check.
        force: move although the verdict refuses; the history keeps the verdict.

    Raises:
        GateError: the verdict refuses and `force` is not given.
        ConflictError: the champion was moved by somebody else since.
        UnknownNameError: no such version.
        RegistryError: MLflow refuses or cannot be reached; nothing has changed.
    """
    if verdict is not None and not verdict.passed and not force:
        raise GateError(f"{model} version {version} is not promoted: {verdict.summary}")
    if figures is None and verdict is not None:
        figures = verdict.challenger
    stored = verdict.as_dict() if verdict is not None else None
    return _move(
        settings, model, CHAMPION, version, "promote", who, why, figures=figures, verdict=stored, seq=expected_seq
    )


def rollback(settings: Settings, model: str, *, who: str = "", why: str = "") -> AliasMove:
    """Make the version champion that was it before the present one; a second rollback goes one further back.

    Raises:
        InputError: there is no earlier champion.
        ConflictError: somebody else moved it meanwhile.
        RegistryError: MLflow refuses or cannot be reached; nothing has changed.
    """
    past = moves(open_state(settings), model, CHAMPION)
    if not past:
        known = {move.model for move in heads(open_state(settings))}
        raise UnknownNameError("model with a champion", model, known)
    target = version_before(past)
    if target is None:
        raise InputError(f"{model} has no earlier champion than version {past[-1].version}; nothing to go back to")
    figures = next((move.figures for move in reversed(past) if move.version == target), {})
    why = why or f"back from version {past[-1].version}"
    return _move(settings, model, CHAMPION, target, "rollback", who, why, figures=figures, seq=past[-1].seq)


def set_alias(settings: Settings, model: str, alias: str, version: int, *, who: str = "", why: str = "") -> AliasMove:
    """Point an alias other than champion at a version. Raises as `promote` does.

    Raises:
        InputError: the champion is moved by `promote` alone.
    """
    if alias == CHAMPION:
        raise InputError("the champion is moved by `drillcore promote` and `drillcore rollback` only")
    return _move(settings, model, alias, version, "set", who, why)


def reconcile(settings: Settings, model: str | None = None, *, pending_only: bool = False) -> list[AliasMove]:
    """Make MLflow's aliases follow the state database; called when a command that moves or lists aliases starts.

    An alias that MLflow has and the history has not (a lost state database) is taken into the history.

    Args:
        settings: where state and MLflow are.
        model: one model, or all that have a history.
        pending_only: look only at moves that were not finished; MLflow is not asked where there are none.

    Returns:
        The moves that MLflow had not followed.

    Raises:
        RegistryError: MLflow cannot be reached.
        StateError: the state database cannot be used.
    """
    database = open_state(settings)
    last = heads(database, model)
    if pending_only:
        last = [move for move in last if move.status == "pending"]
        if not last:
            return []
    mended: list[AliasMove] = []
    with mlflow_client(settings) as client:
        names = {move.model for move in last} | ({model} if model and not pending_only else set())
        for name in sorted(names):
            found = _mlflow_aliases(client, name)
            own = [move for move in last if move.model == name]
            for move in own:
                if found.get(move.alias) != move.version:
                    if _follow_if_there(client, database, move):
                        mended.append(move)
                elif move.status == "pending":
                    finish_move(database, move)
                    mended.append(move)
            if not pending_only:
                _adopt(database, name, {a: v for a, v in found.items() if a not in {move.alias for move in own}})
    return mended


def _move(
    settings: Settings,
    model: str,
    alias: str,
    version: int,
    action: Action,
    who: str,
    why: str,
    *,
    figures: Mapping[str, Any] | None = None,
    verdict: Mapping[str, Any] | None = None,
    seq: int | None = None,
) -> AliasMove:
    get_version(settings, model, version)
    reconcile(settings, model)
    database = open_state(settings)
    last = head(database, model, alias)
    if last is not None and last.version == version:
        return last
    move = insert_move(
        database,
        model,
        alias,
        version,
        action=action,
        who=who or _whoami(),
        why=why,
        expected_seq=seq,
        figures=figures,
        verdict=verdict,
    )
    try:
        with mlflow_client(settings) as client:
            _follow(client, database, move)
    except RegistryError:
        if withdraw_move(database, move):
            raise
        # Somebody's reconcile finished it, or a later move has taken its place: it did happen.
    return dataclasses.replace(move, status="done")


def _follow(client: MlflowClient, database: StateDatabase, move: AliasMove) -> None:
    """Set MLflow's alias, mark the move done, and go on while others have moved it further in between."""
    current: AliasMove | None = move
    for _ in range(10):
        if current is None:
            return
        client.set_registered_model_alias(current.model, current.alias, str(current.version))
        finish_move(database, current)
        newest = head(database, move.model, move.alias)
        if newest is None or newest.seq == current.seq:
            return
        current = newest
    raise ConflictError(f"{move.model}@{move.alias} is being moved by others again and again; look at its history")


def _follow_if_there(client: MlflowClient, database: StateDatabase, move: AliasMove) -> bool:
    """Follow a move; False where MLflow has no such version (its database was lost): that must not block the rest."""
    from mlflow.exceptions import MlflowException

    try:
        _follow(client, database, move)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True


def _mlflow_aliases(client: MlflowClient, model: str) -> dict[str, int]:
    from mlflow.exceptions import MlflowException

    try:
        return {name: int(version) for name, version in client.get_registered_model(model).aliases.items()}
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}


def _adopt(database: StateDatabase, model: str, unknown: Mapping[str, int]) -> None:
    for alias, version in sorted(unknown.items()):
        why = "found in MLflow without a history"
        finish_move(
            database,
            insert_move(database, model, alias, version, action="set", who="reconcile", why=why, expected_seq=0),
        )


def _whoami() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
