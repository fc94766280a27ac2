"""Where a rollback leads: a promotion puts a version on a pile, a rollback takes it off again."""

from __future__ import annotations

from collections.abc import Sequence

from drillcore.state import AliasMove


def version_before(moves: Sequence[AliasMove]) -> int | None:
    """Return the version that was in place before the present one was promoted; None where there was none.

    A second rollback therefore goes one further back, not to and fro.

    Args:
        moves: the history of one alias, oldest first.
    """
    pile: list[int] = []
    for move in moves:
        if move.action == "rollback":
            while pile and pile[-1] != move.version:
                pile.pop()
        if not pile or pile[-1] != move.version:
            pile.append(move.version)
    return pile[-2] if len(pile) > 1 else None
