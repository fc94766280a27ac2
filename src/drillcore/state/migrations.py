"""Tables of the state database and the migrations that lead to them. A migration, once released, is never changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from drillcore.errors import StateError

metadata = sa.MetaData()

schema_version = sa.Table(
    "schema_version",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
)

lease = sa.Table(
    "lease",
    metadata,
    sa.Column("name", sa.String(250), primary_key=True),
    sa.Column("holder", sa.String(500), nullable=False),
    sa.Column("token", sa.String(250), nullable=False),
    sa.Column("expires", sa.Float, nullable=False),  # seconds since 1970
    sa.Column("seconds", sa.Float, nullable=False),  # its time limit
    sa.Column("beat", sa.Integer, nullable=False),  # 0, 1, ... one more with each renewal
    sa.Column("ends", sa.Float, nullable=True),  # `expires` on the steady clock of the holder's machine
)

alias_history = sa.Table(
    "alias_history",
    metadata,
    sa.Column("model", sa.String(250), primary_key=True),
    sa.Column("alias", sa.String(250), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),  # 1, 2, ... the key decides races
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("previous", sa.Integer, nullable=True),
    sa.Column("action", sa.String(20), nullable=False),  # promote | rollback | set
    sa.Column("who", sa.String(250), nullable=False),
    sa.Column("moved_at", sa.String(40), nullable=False),  # ISO 8601, UTC
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("figures", sa.Text, nullable=False),  # JSON
    sa.Column("verdict", sa.Text, nullable=True),  # JSON
    sa.Column("status", sa.String(20), nullable=False),  # pending | done
    sa.Column("sha256", sa.String(64), nullable=True),  # of the version's file; null in rows of schema 1, until seen
)

delivery = sa.Table(
    "delivery",
    metadata,
    sa.Column("model", sa.String(250), primary_key=True),
    sa.Column("alias", sa.String(250), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),  # of the move that is told
    sa.Column("url", sa.String(1000), primary_key=True),
    sa.Column("status", sa.String(20), nullable=False),  # waiting | sent | given up
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("due", sa.Float, nullable=False),  # seconds since 1970; of one that waits
    sa.Column("error", sa.Text, nullable=False),  # of the last try; empty: none
)

notice = sa.Table(
    "notice",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),  # the message's id
    sa.Column("url", sa.String(1000), primary_key=True),
    sa.Column("body", sa.Text, nullable=False),  # JSON: what is told
    sa.Column("noted", sa.Float, nullable=False),  # seconds since 1970
    sa.Column("status", sa.String(20), nullable=False),  # waiting | given up; one that was told is removed
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("due", sa.Float, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
)


def _first_schema(connection: sa.Connection) -> None:
    for statement in (
        "CREATE TABLE lease (name VARCHAR(250) NOT NULL PRIMARY KEY, holder VARCHAR(500) NOT NULL,"
        " token VARCHAR(250) NOT NULL, expires DOUBLE PRECISION NOT NULL)",
        "CREATE TABLE alias_history (model VARCHAR(250) NOT NULL, alias VARCHAR(250) NOT NULL, seq INTEGER NOT NULL,"
        " version INTEGER NOT NULL, previous INTEGER, action VARCHAR(20) NOT NULL, who VARCHAR(250) NOT NULL,"
        " moved_at VARCHAR(40) NOT NULL, why TEXT NOT NULL, figures TEXT NOT NULL, verdict TEXT,"
        " status VARCHAR(20) NOT NULL, PRIMARY KEY (model, alias, seq))",
    ):
        connection.exec_driver_sql(statement)


def _files_and_beats(connection: sa.Connection) -> None:
    for statement in (
        "ALTER TABLE alias_history ADD COLUMN sha256 VARCHAR(64)",
        "ALTER TABLE lease ADD COLUMN seconds DOUBLE PRECISION NOT NULL DEFAULT 120",
        "ALTER TABLE lease ADD COLUMN beat INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE lease ADD COLUMN ends DOUBLE PRECISION",
    ):
        connection.exec_driver_sql(statement)


def _deliveries(connection: sa.Connection) -> None:
    connection.exec_driver_sql(
        "CREATE TABLE delivery (model VARCHAR(250) NOT NULL, alias VARCHAR(250) NOT NULL, seq INTEGER NOT NULL,"
        " url VARCHAR(1000) NOT NULL, status VARCHAR(20) NOT NULL, tries INTEGER NOT NULL,"
        " due DOUBLE PRECISION NOT NULL, error TEXT NOT NULL, PRIMARY KEY (model, alias, seq, url))"
    )


def _notices(connection: sa.Connection) -> None:
    connection.exec_driver_sql(
        "CREATE TABLE notice (name VARCHAR(64) NOT NULL, url VARCHAR(1000) NOT NULL, body TEXT NOT NULL,"
        " noted DOUBLE PRECISION NOT NULL, status VARCHAR(20) NOT NULL, tries INTEGER NOT NULL,"
        " due DOUBLE PRECISION NOT NULL, error TEXT NOT NULL, PRIMARY KEY (name, url))"
    )


Migration = Callable[[sa.Connection], None]
MIGRATIONS: tuple[Migration, ...] = (
    _first_schema,
    _files_and_beats,
    _deliveries,
    _notices,
)  # the n-th leads from schema n-1 to n


def migrate(connection: sa.Connection, shown: str, migrations: Sequence[Migration] = MIGRATIONS) -> int:
    """Bring the database to the newest schema inside the caller's transaction; return the schema it had.

    Args:
        connection: in a transaction that may write.
        shown: the database's name in messages.
        migrations: the steps there are.

    Raises:
        StateError: the database has a schema newer than the newest step.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7240101)")  # one migrator at a time
    connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL PRIMARY KEY)")
    had = connection.execute(sa.select(sa.func.max(schema_version.c.version))).scalar() or 0
    if had > len(migrations):
        raise StateError(
            f"the state database {shown} has schema {had}, this drillcore knows {len(migrations)}; update drillcore"
        )
    for number, step in enumerate(migrations[had:], start=had + 1):
        step(connection)
        connection.execute(sa.insert(schema_version).values(version=number))
    return int(had)
