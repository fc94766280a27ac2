"""The state database: who is at what (leases), and where each alias of a model points (history). Its own truth."""

from drillcore.state.aliases import (
    Action,
    AliasMove,
    finish_move,
    head,
    heads,
    insert_move,
    moves,
    note_digests,
    withdraw_move,
)
from drillcore.state.database import StateDatabase, open_state
from drillcore.state.leases import Lease, acquire_lease, current_leases, hold_lease

__all__ = [
    "Action",
    "AliasMove",
    "Lease",
    "StateDatabase",
    "acquire_lease",
    "current_leases",
    "finish_move",
    "head",
    "heads",
    "hold_lease",
    "insert_move",
    "moves",
    "note_digests",
    "open_state",
    "withdraw_move",
]
