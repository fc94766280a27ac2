"""Whether the history and MLflow mean the same files: a number alone says nothing once a database was lost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drillcore.errors import InputError, IntegrityError
from drillcore.runtime.model.reference import DEFAULT_ALIAS
from drillcore.runtime.model.served import read_pointer
from drillcore.settings import Settings
from drillcore.state import AliasMove, StateDatabase, heads, moves, note_digests, open_state

if TYPE_CHECKING:
    from drillcore.registry.model_versions import ModelVersion

# Each of the ways is whole: followed, the next command works.
WAY_OUT = (
    "restore MLflow's database from a backup; is it gone for good, move the state database away too: both begin anew, "
    "and a retrain registers what is trained already"
)


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A move, the last of its alias, whose file MLflow does not have under its number.

    Attributes:
        move: the move.
        found: SHA-256 of what MLflow has under that number; None where it has nothing.
    """

    move: AliasMove
    found: str | None

    @property
    def is_refused(self) -> bool:
        """Whether nothing may go on: a champion, or a number that was given twice.

        Any other version may have been deleted in MLflow's page by somebody who meant it.
        """
        return self.found is not None or self.move.alias == DEFAULT_ALIAS

    def __str__(self) -> str:
        move = self.move
        return _text(f"{move.model}@{move.alias} is {_named(move.version, move.sha256)}", self.found)


def compare(last: Iterable[AliasMove], versions: Iterable[ModelVersion]) -> list[Disagreement]:
    """Return the moves, each the last of its alias, whose file is not among these versions."""
    digests = {(version.model, version.version): version.sha256 for version in versions}
    pairs = [(move, digests.get((move.model, move.version))) for move in last]
    return [Disagreement(move, there) for move, there in pairs if there is None or move.sha256 not in (None, there)]


def require_agreement(settings: Settings, model: str, version: int, found: str | None) -> None:
    """Refuse a version that the history knows with another file, or that MLflow has no more.

    Args:
        settings: where the state database is.
        model: registered name.
        version: its number.
        found: SHA-256 of what MLflow has; None where it has nothing.

    Raises:
        IntegrityError: says what to do.
    """
    told = {move.sha256 for move in moves(open_state(settings), model) if move.version == version}
    known = told - {None}
    if (told and found is None) or (known and found not in known):
        raise IntegrityError(_text(f"{model} had {_named(version, min(filter(None, known), default=None))}", found))


def require_database(settings: Settings, model: str) -> None:
    """Refuse to begin work whose result could not be registered: MLflow's own file is empty or gone. Imports no MLflow.

    Raises:
        IntegrityError: the history names versions of this model; says what to do.
    """
    if settings.tracking_uri:
        return
    file = settings.state / "mlflow.db"
    if file.is_file() and file.stat().st_size:
        return
    for move in heads(open_state(settings), model):
        if (lost := Disagreement(move, None)).is_refused:
            raise IntegrityError(str(lost))


def note_files(settings: Settings, database: StateDatabase, model: str, versions: Iterable[ModelVersion]) -> None:
    """Complete the moves of an earlier drillcore, which name numbers only, by the files those numbers stand for.

    What was fetched to this machine under a number was verified then, and is believed before what MLflow has now.

    Raises:
        StateError: the state database cannot be used.
    """
    digests = {version.version: version.sha256 for version in versions}
    for path in settings.served.glob(f"{model}*.json"):
        name, _, alias = path.stem.partition("@")
        if name != model:
            continue
        try:
            fetched = read_pointer(settings, name, alias or DEFAULT_ALIAS)
        except (InputError, IntegrityError):
            continue  # damaged: it says nothing
        digests[fetched.version] = fetched.sha256
    note_digests(database, model, digests)


def _named(version: int, sha256: str | None) -> str:
    return f"version {version}" + (f" ({sha256[:12]})" if sha256 else "")


def _text(said: str, found: str | None) -> str:
    has = f"has another file under that number ({found[:12]})" if found else "has no such version"
    return f"the history says that {said}, and MLflow {has}: a database was lost; {WAY_OUT}"
