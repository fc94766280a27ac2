"""A checkout that was made somewhere else: the absolute paths that MLflow and the runs keep are made its own."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path


def relocate(root: Path, old: str) -> None:
    """Write `root` wherever the state of the checkout in `root` says `old`."""
    with contextlib.closing(sqlite3.connect(root / ".drillcore" / "mlflow.db")) as connection, connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            columns = [
                row[1]
                for row in connection.execute(f"PRAGMA table_info({table})")
                if "CHAR" in row[2] or "TEXT" in row[2]
            ]
            for column in columns:
                connection.execute(f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?)', (old, str(root)))  # noqa: S608
    for record in (root / ".drillcore" / "runs").glob("*/*/summary.json"):
        record.write_text(record.read_text().replace(old, str(root)))
