"""Where aliases point. A move is two writes: a row in the state database, which is the truth, then MLflow's alias.

Killed before the first write nothing has changed; killed after it `reconcile` makes MLflow follow. Where MLflow refuses
the second write the first is withdrawn. A row names the version's file: where MLflow has another one under the number,
or no champion any more, nothing moves (`agreement`).
"""

from __future__ import annotations

import dataclasses
import getpass
import logging
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING

from drillcore.errors import (
    ConflictError,
    GateError,
    InputError,
    IntegrityError,
    RegistryError,
    StateError,
    UnknownNameError,
)
from drillcore.json_types import Values
from drillcore.promotion.retreat import version_before
from drillcore.promotion.verdict import Verdict
from drillcore.registry.agreement import Disagreement, compare, note_files
from drillcore.registry.announcing import announce
from drillcore.registry.model_versions import get_version, versions
from drillcore.registry.own_database import read_aliases
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
from drillcore.tracking.connection import mlflow_client, mlflow_library

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

CHAMPION, CHALLENGER = "champion", "challenger"
ADOPTED_BY = "reconcile"  # who moved an alias that MLflow had and the history had not


def aliases(settings: Settings, model: str) -> dict[str, int]:
    """Return alias -> version of a model; MLflow is not asked. Raises StateError."""
    return {move.alias: move.version for move in heads(open_state(settings), model)}


def history(settings: Settings, model: str, alias: str | None = None) -> list[AliasMove]:
    """Return every move of a model's aliases, in their order: who, when, why, figures, verdict. Raises StateError."""
    return moves(open_state(settings), model, alias)


def promote(
    settings: Settings,
    model: str,
    version: int,
    *,
    who: str = "",
    why: str = "",
    verdict: Verdict | None = None,
    figures: Values | None = None,
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
    reconcile(settings, model, moving=CHAMPION)
    past = moves(open_state(settings), model, CHAMPION)
    if not past:
        known = {move.model for move in heads(open_state(settings))}
        raise UnknownNameError("model with a champion", model, known)
    target = version_before(past)
    if target is None:
        raise InputError(f"{model} has no earlier champion than version {past[-1].version}; nothing to go back to")
    figures = next((move.figures for move in reversed(past) if move.version == target), {})
    why = why or f"back from version {past[-1].version}"
    moved = _move(settings, model, CHAMPION, target, "rollback", who, why, figures=figures, seq=past[-1].seq)
    if moved.seq == past[-1].seq:
        raise ConflictError(f"{model} version {target} is the champion already: nothing was moved; look at its history")
    return moved


def set_alias(
    settings: Settings,
    model: str,
    alias: str,
    version: int,
    *,
    who: str = "",
    why: str = "",
    figures: Mapping[str, object] | None = None,
) -> AliasMove:
    """Point an alias other than champion at a version. Raises as `promote` does.

    Raises:
        InputError: the champion is moved by `promote` alone.
    """
    if alias == CHAMPION:
        raise InputError("the champion is moved by `drillcore promote` and `drillcore rollback` only")
    return _move(settings, model, alias, version, "set", who, why, figures=figures)


def reconcile(
    settings: Settings, model: str | None = None, *, pending_only: bool = False, adopt: bool = True, moving: str = ""
) -> list[AliasMove]:
    """Make MLflow's aliases follow the state database; called when a command that moves or lists aliases starts.

    An alias that MLflow has and the history has not (a lost state database) is taken into the history.

    Args:
        settings: where state and MLflow are.
        model: one model, or all that have a history.
        pending_only: look only at moves that were not finished; MLflow is not asked where there are none.
        adopt: False where nothing is moved: what was lost must not look like a history.
        moving: an alias that is about to be moved to a version that is there: where it points now may be lost.

    Returns:
        The moves that MLflow had not followed.

    Raises:
        IntegrityError: the history and MLflow mean other files; every other alias was seen to.
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
    refused: list[Disagreement] = []
    for name in sorted({move.model for move in last} | ({model} if model and not pending_only else set())):
        found, there = mlflow_aliases(settings, name), versions(settings, name)
        note_files(settings, database, name, there)
        # Read again: their files may have been noted just now.
        own = [move for move in heads(database, name) if move.status == "pending" or not pending_only]
        lost = {one.move.alias: one for one in compare(own, there)}
        refused += [one for one in lost.values() if one.is_refused and one.move.alias != moving]
        for move in own:
            if move.alias in lost:
                continue
            if found.get(move.alias) != move.version:
                with mlflow_client(settings) as client:
                    _follow(client, database, move)
                mended.append(move)
            elif move.status == "pending":
                finish_move(database, move)
                mended.append(move)
        if adopt and not pending_only:
            unknown = {alias: number for alias, number in found.items() if alias not in {m.alias for m in own}}
            _adopt(database, name, unknown, {row.version: row.sha256 for row in there})
    for one in refused:
        raise IntegrityError(str(one))
    return mended


def mlflow_aliases(settings: Settings, model: str) -> dict[str, int]:
    """Return alias -> version as MLflow has it, which follows the history. Raises RegistryError."""
    own = read_aliases(settings, model)
    if own is not None:
        return own
    with mlflow_client(settings) as client:
        try:
            return {name: int(version) for name, version in client.get_registered_model(model).aliases.items()}
        except mlflow_library().exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}


def _move(
    settings: Settings,
    model: str,
    alias: str,
    version: int,
    action: Action,
    who: str,
    why: str,
    *,
    figures: Mapping[str, object] | None = None,
    verdict: Mapping[str, object] | None = None,
    seq: int | None = None,
) -> AliasMove:
    sha256 = get_version(settings, model, version).sha256
    reconcile(settings, model, moving=alias)
    database = open_state(settings)
    last = head(database, model, alias)
    if last is not None and (last.version, last.sha256) == (version, sha256):
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
        sha256=sha256,
        tell=settings.webhooks if alias == CHAMPION else (),
    )
    try:
        with mlflow_client(settings) as client:
            _follow(client, database, move)
    except RegistryError:
        if withdraw_move(database, move):
            raise
        # Somebody's reconcile finished it, or a later move has taken its place: it did happen.
    try:
        announce(settings)
    except StateError as error:  # the move is done: what is to be told is kept, and told later
        logger.warning("nobody was told of %s version %d: %s", model, version, error)
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


def _adopt(database: StateDatabase, model: str, unknown: Mapping[str, int], digests: Mapping[int, str]) -> None:
    why = "found in MLflow without a history"
    for alias, version in sorted(unknown.items()):
        sha256 = digests.get(version)
        move = insert_move(
            database, model, alias, version, action="set", who=ADOPTED_BY, why=why, expected_seq=0, sha256=sha256
        )
        finish_move(database, move)


def _whoami() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
