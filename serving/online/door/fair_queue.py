"""A queue of several clients: each in its turn, and where there is no room the one that waits for most gives way."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """What waits, by client; the order is the oldest of each client, then the second of each, and so on.

    Args:
        limit: of all items.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._clients: dict[str, deque[T]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        rows = [iter(items) for items in self._clients.values()]
        while rows:
            left = []
            for row in rows:
                for item in row:
                    yield item
                    left.append(row)
                    break
            rows = left

    def append(self, client: str, items: Collection[T]) -> list[T] | None:
        """Let the items of one request wait.

        Returns:
            What had to give way: the newest items of the client that waits for most, if that is more than this one
            then does. None: there is no room, and nothing was changed.
        """
        given_up: list[T] = []
        over = self._count + len(items) - self.limit
        if over > 0:
            greedy = max(self._clients, key=lambda name: len(self._clients[name]), default=client)
            mine = len(self._clients.get(client, ())) + len(items)
            if greedy == client or len(self._clients[greedy]) - over < mine:
                return None
            given_up = [self._clients[greedy].pop() for _ in range(over)]
            self._count -= over
        self._clients.setdefault(client, deque()).extend(items)
        self._count += len(items)
        return given_up

    def remove(self, items: Collection[T], *, served: bool = False) -> None:
        """Take items out; clients of whom some were served come last now."""
        gone = {id(item) for item in items}
        for client, waiting in list(self._clients.items()):
            left = deque(item for item in waiting if id(item) not in gone)
            if len(left) == len(waiting):
                continue
            self._count += len(left) - len(waiting)
            if served or not left:
                del self._clients[client]
            if left:
                self._clients[client] = left
