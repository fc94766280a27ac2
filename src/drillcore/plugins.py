"""Names that other packages add to the registries, by entry points; nothing of them is imported before its use.

A package says in its pyproject.toml, for instance:

    [project.entry-points."drillcore.heads"]
    nearest_mean = "my_package.nearest_mean:ROW"
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from drillcore.errors import InputError, UnknownNameError

BACKBONES, REPRESENTATIONS, HEADS, LAYOUTS = (
    f"drillcore.{axis}" for axis in ("backbones", "representations", "heads", "layouts")
)
Row = TypeVar("Row")
GROUPS = (BACKBONES, REPRESENTATIONS, HEADS, LAYOUTS)


@functools.cache
def found(group: str) -> Mapping[str, EntryPoint]:
    """Return the entry points of one of GROUPS by name, none of them loaded; of equal names the first package's."""
    named: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        named.setdefault(point.name, point)
    return named


def names(group: str, own: Iterable[str]) -> list[str]:
    """Return the names of a registry, its own first, then those that packages add."""
    known = list(own)
    return known + sorted(set(found(group)) - set(known))


def load_plugin(group: str, name: str, kind: type | tuple[type, ...]) -> Any | None:
    """Return what a package offers under a name; None where none does. A registry asks its own names first.

    Args:
        group: one of GROUPS.
        name: as a recipe or command gives it.
        kind: that it has to be an instance of; of a class: a subclass.

    Raises:
        InputError: its module cannot be imported, or it is something else; names the package.
    """
    point = found(group).get(name)
    if point is None:
        return None
    where = f"{group} {name!r} of the package {point.dist.name if point.dist else 'unknown'} ({point.value})"
    try:
        made = point.load()
    except Exception as error:  # another package's code: whatever it raises is said with its name
        raise InputError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not (isinstance(made, kinds) or (isinstance(made, type) and issubclass(made, kinds))):
        wanted = " or ".join(one.__name__ for one in kinds)
        raise InputError(f"{where} is a {type(made).__name__}; {wanted} is expected")
    return made


def row_of(group: str, title: str, name: str, own: Mapping[str, Row]) -> Row:
    """Return the row of a registry under a name: its own first, then what a package offers.

    Args:
        group: one of GROUPS.
        title: what a row is of, for the error.
        name: as a recipe gives it.
        own: rows of ours, at least one; a package's is of their kind.

    Raises:
        UnknownNameError: no such name; names the known ones.
        InputError: a package offers one that cannot be loaded.
    """
    if name in own:
        return own[name]
    offered: Row | None = load_plugin(group, name, type(next(iter(own.values()))))
    if offered is None:
        raise UnknownNameError(title, name, names(group, own))
    return offered


def attribute(reference: str) -> Any:
    """Return what "module:attribute" names; a registry's row tells so where its parts are, without importing them."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)
