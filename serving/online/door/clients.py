"""Who asks, and how much of the server one of them may have at a time."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping

from drillcore.json_types import Values
from drillcore_serving.online.door.connections import address_group
from drillcore_serving.online.problems import busy


def caller(scope: Values, headers: Mapping[str, str], *, keys: bool) -> str:
    """Return whom a request is counted for: the address, and where keys are asked for the key, as a digest."""
    address = address_group(scope.get("client"))
    if not keys:
        return address
    given = headers.get("x-api-key") or headers.get("authorization", "").partition(" ")[2].strip()
    return f"{address} {hashlib.sha256(given.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"


class RequestsInWork:
    """Requests whose bodies have come and whose answers have not gone.

    Args:
        limit: of all.
        per_client: of one client; 0: half of all.
        changed: told their number after each change.
    """

    def __init__(self, limit: int, per_client: int = 0, changed: Callable[[int], None] = lambda count: None) -> None:
        self._limit, self._per_client, self._changed = limit, per_client or max(1, limit // 2), changed
        self._clients: Counter[str] = Counter()
        self._count = 0

    def check(self, client: str) -> None:
        """Refuse where there is no place.

        Raises:
            RefusedError: 503.
        """
        if self._count >= self._limit:
            raise busy(f"{self._limit} requests are in work", 1, status=503)
        if self._clients[client] >= self._per_client:
            raise busy(f"{self._per_client} requests of one client are in work", 1, status=503)

    def begin(self, client: str) -> None:
        """Take a place; raises as `check` does."""
        self.check(client)
        self._clients[client] += 1
        self._count += 1
        self._changed(self._count)

    def end(self, client: str) -> None:
        """Give the place back."""
        self._count -= 1
        self._clients[client] -= 1
        if not self._clients[client]:
            del self._clients[client]
        self._changed(self._count)
