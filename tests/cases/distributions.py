"""What requirements bring, read from what is installed."""

from __future__ import annotations

import importlib.metadata


def needed(roots: list[str]) -> set[str]:
    """Distributions that requirements bring on this machine, by what is installed: another way than the lock's."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, set[str]] = {}
    waiting = [Requirement(root) for root in roots]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in found and wanted.extras <= found[name]:
            continue
        found[name] = found.get(name, set()) | wanted.extras
        for text in importlib.metadata.requires(name) or []:
            more = Requirement(text)
            extras = found[name] or {""}
            if more.marker is None or any(more.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(more)
    return set(found)
