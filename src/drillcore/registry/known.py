"""What this checkout itself knows of a model: said at once, without MLflow, which takes seconds to ask."""

from __future__ import annotations

from drillcore.errors import StateError, UnknownNameError
from drillcore.runtime.model.reference import ModelReference
from drillcore.runtime.model.served import known_models
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
