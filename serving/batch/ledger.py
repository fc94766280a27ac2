"""What an inbox has been seen to hold: files by their stamps, contents by their digests, and the batch in the making.

A tick asks it about each file of a listing, and writes what is new in one transaction: after a kill it is as before or
as after. Contents are what counts: a file of a known digest, under whatever name, is scored.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from drillcore.errors import StateError

LEDGER = "ledger.db"
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, stamp TEXT NOT NULL, sha256 TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS contents (sha256 TEXT PRIMARY KEY, batch INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS batches (
        number INTEGER PRIMARY KEY, folder TEXT NOT NULL, model_sha256 TEXT NOT NULL, closed INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS pending (path TEXT PRIMARY KEY, stamp TEXT NOT NULL, sha256 TEXT NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A file that a batch is to score.

    Attributes:
        path: below the inbox, as it is recorded.
        stamp: what changes when the file does: size, times and number of the file; of an object, size and tag.
        sha256: of its content; empty where it is too large to be read.
    """

    path: str
    stamp: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that was begun: its number, its folder below the output, and the model that was to score it."""

    number: int
    folder: str
    model_sha256: str


class Ledger:
    """The ledger of one output; used by one process at a time, which holds the output.

    Args:
        output: the folder it lies in.

    Raises:
        StateError: it is damaged.
    """

    def __init__(self, output: Path) -> None:
        self.path = output / LEDGER
        with self._errors():
            self._base = sqlite3.connect(self.path, isolation_level=None)
            self._base.execute("PRAGMA synchronous = FULL")
            self._base.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._base.close()

    def knows(self, path: str, stamp: str) -> bool:
        """Whether a file was seen as it is now."""
        with self._errors():
            row = self._base.execute("SELECT stamp FROM files WHERE path = ?", (path,)).fetchone()
        return row is not None and row[0] == stamp

    def has(self, sha256: str) -> bool:
        """Whether a content is in a closed batch."""
        with self._errors():
            return self._base.execute("SELECT 1 FROM contents WHERE sha256 = ?", (sha256,)).fetchone() is not None

    def note(self, files: Iterable[Waiting]) -> None:
        """Note files whose contents are known."""
        with self._change():
            self._note(files)

    def begin(self, folder: str, model_sha256: str, files: Sequence[Waiting]) -> Batch:
        """Begin a batch; `folder` gets the batch's number appended."""
        with self._change():
            (last,) = self._base.execute("SELECT coalesce(max(number), 0) FROM batches").fetchone()
            batch = Batch(last + 1, f"{folder}/{last + 1:06d}", model_sha256)
            self._base.execute("DELETE FROM pending")
            self._base.executemany(
                "INSERT INTO pending VALUES (?, ?, ?)", [(file.path, file.stamp, file.sha256) for file in files]
            )
            self._base.execute(
                "INSERT INTO batches VALUES (?, ?, ?, 0)", (batch.number, batch.folder, batch.model_sha256)
            )
        return batch

    def begun(self) -> tuple[Batch, list[Waiting]] | None:
        """Return the batch that was begun and not closed, with its files in the order of their paths."""
        with self._errors():
            row = self._base.execute("SELECT number, folder, model_sha256 FROM batches WHERE closed = 0").fetchone()
            if row is None:
                return None
            files = self._base.execute("SELECT path, stamp, sha256 FROM pending ORDER BY path").fetchall()
        return Batch(*row), [Waiting(*file) for file in files]

    def move(self, batch: Batch, model_sha256: str) -> None:
        """Note that another model scores a batch that was begun."""
        with self._change():
            self._base.execute("UPDATE batches SET model_sha256 = ? WHERE number = ?", (model_sha256, batch.number))

    def close(self, batch: Batch, files: Iterable[Waiting], contents: Iterable[str]) -> None:
        """Close a batch.

        Args:
            batch: it.
            files: those that were answered as they were when the batch was begun.
            contents: digests of all that it has answered or set aside.
        """
        with self._change():
            self._note(files)
            self._base.executemany(
                "INSERT OR IGNORE INTO contents VALUES (?, ?)",
                [(sha256, batch.number) for sha256 in contents if sha256],
            )
            self._base.execute("UPDATE batches SET closed = 1 WHERE number = ?", (batch.number,))
            self._base.execute("DELETE FROM pending")

    def _note(self, files: Iterable[Waiting]) -> None:
        self._base.executemany(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?)", [(file.path, file.stamp, file.sha256) for file in files]
        )

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        with self._errors():
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StateError(
                f"the ledger {self.path} cannot be used: {error}; bring it back from a backup, or move its folder "
                "away: what is in the inbox is scored again then"
            ) from None
