"""What this checkout itself knows of a model: said at once, without MLflow, which takes seconds to ask."""

from __future__ import annotations

from collections.abc import Callable

from drillcore.errors import StateError, UnknownNameError
from drillcore.runtime.model.reference import ModelReference
from drillcore.runtime.model.served import ServedModel, known_models, pointer_path, resolve
from drillcore.settings import Settings
from drillcore.state import AliasMove, heads, moves, open_state


def local_history(settings: Settings, name: str) -> list[AliasMove] | None:
    """Return the moves of a model where its history and MLflow's database are this checkout's own; None elsewhere.

    None as well where the history cannot be read: scoring asks for nothing but a pointer and a file.
    """
    if settings.state_url or settings.tracking_uri:
        return None
    if not (settings.state / "state.db").is_file():
        return []
    try:
        return moves(open_state(settings), name)
    except StateError:
        return None


def brought(settings: Settings, wanted: ModelReference, fetch: Callable[[], object]) -> ServedModel:
    """Return the file of a reference; it is fetched where it is not here, or may be another one.

    The champion is read from the pointer that promotion and `fetch` keep; anything else is fetched now, as is one whose
    number the history of this checkout knows with another file.

    Args:
        settings: where things are.
        wanted: the model.
        fetch: brings it.

    Raises:
        UnknownNameError: no such model, alias or version.
        IntegrityError: the file is not the one that was registered.
    """
    is_here = pointer_path(settings, wanted.name, wanted.key).is_file()
    if not is_here:
        refuse_unknown(settings, wanted)
    if not wanted.is_default or not is_here:
        fetch()
    served = resolve(settings, wanted)
    past = local_history(settings, wanted.name) or ()
    files = {move.sha256 for move in past if move.version == served.version} - {None}
    if files and served.sha256 not in files:
        fetch()
        served = resolve(settings, wanted)
    return served


def refuse_unknown(settings: Settings, wanted: ModelReference) -> None:
    """Refuse a mistyped model or alias; do nothing where only MLflow can tell.

    Raises:
        UnknownNameError: names what there is.
    """
    past = local_history(settings, wanted.name)
    if past is None:
        return
    if not past:
        known = known_models(settings)
        if (settings.state / "state.db").is_file():
            known |= {move.model for move in heads(open_state(settings))}
        if wanted.name not in known:
            raise UnknownNameError("model", wanted.name, known)
        return
    aliases = {move.alias for move in past}
    if wanted.version is None and not wanted.is_default and wanted.key not in aliases:
        raise UnknownNameError(f"alias of {wanted.name}", wanted.key, aliases)
