# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy the hub's database between SQLite and PostgreSQL: `dump` writes to stdout, `load` reads from stdin.

All tables are copied as they are, including NativeAuthenticator's.
"""

from __future__ import annotations

import base64
import json
import sys
from datetime import datetime
from typing import Any, TextIO

from jupyterhub import orm
from nativeauthenticator.orm import UserInfo
from sqlalchemy import Engine, MetaData, Table, create_engine, select, text

from .config import database_url
from .files import DIRECTORY, STATE, Unusable, read_json

VERSION = 1
SCHEMA = "alembic_version"


class Refused(Exception):
    """The copy cannot be loaded."""


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return {"datetime": value.isoformat()}
    if isinstance(value, bytes | memoryview):
        return {"bytes": base64.b64encode(bytes(value)).decode()}
    return value


def _value(plain: Any) -> Any:
    if not isinstance(plain, dict):
        return plain
    if "datetime" in plain:
        return datetime.fromisoformat(plain["datetime"])
    return base64.b64decode(plain["bytes"])


def _tables(engine: Engine) -> list[Table]:
    metadata = MetaData()
    metadata.reflect(engine)
    return list(metadata.sorted_tables)


def _rows(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    with engine.connect() as connection:
        return {
            table.name: [
                {key: _plain(value) for key, value in row.items()}
                for row in connection.execute(select(table)).mappings()
            ]
            for table in _tables(engine)
        }


def _same(one: dict[str, list[dict[str, Any]]], other: dict[str, list[dict[str, Any]]]) -> bool:
    """Whether both have the same rows, in any order."""
    sets = [
        {name: sorted(json.dumps(row, sort_keys=True) for row in rows) for name, rows in tables.items() if rows}
        for tables in (one, other)
    ]
    return sets[0] == sets[1]


def dump(url: str, stream: TextIO) -> int:
    """Write all rows. Return how many there were."""
    engine = create_engine(url)
    tables = _rows(engine)
    engine.dispose()
    json.dump({"version": VERSION, "tables": tables}, stream)
    return sum(map(len, tables.values()))


def load(url: str, stream: TextIO) -> int:
    """Fill an empty database, all or nothing. Return how many rows there were. To do this twice is no error."""
    try:
        content = json.load(stream)
        tables: dict[str, list[dict[str, Any]]] = content["tables"]
        revision = tables[SCHEMA]
        complete = content["version"] == VERSION
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(f"the copy of the database is damaged: {error!r}") from error
    if not complete:
        raise Refused(f"the copy of the database has version {content['version']!r}, this program reads {VERSION}")
    engine = create_engine(url)
    present = _rows(engine)
    taken = sorted(name for name, found in present.items() if found and name != SCHEMA)
    if taken and _same(present, tables):
        return sum(map(len, tables.values())) - len(revision)
    if taken:
        raise Refused(
            f"the database is not empty, so nothing was loaded into it: {', '.join(taken)} have rows. "
            "Move it away first (SQLite: data/hub/jupyterhub.sqlite, PostgreSQL: data/database)"
        )
    orm.new_session_factory(url)().close()  # makes JupyterHub's tables
    UserInfo.__table__.create(engine, checkfirst=True)
    rows = 0
    with engine.begin() as connection:
        here = {table.name: table for table in _tables(engine)}
        if [dict(row) for row in connection.execute(select(here[SCHEMA])).mappings()] != revision:
            raise Refused("the copy of the database is of another version of JupyterHub: start that one's image once")
        missing = sorted(name for name, found in tables.items() if found and name not in here)
        if missing:
            raise Refused(f"the copy of the database has tables that are unknown here: {', '.join(missing)}")
        for name, table in here.items():
            found = [{key: _value(value) for key, value in row.items()} for row in tables.get(name, [])]
            if found and name != SCHEMA:
                connection.execute(table.insert(), found)
                rows += len(found)
            if engine.dialect.name == "postgresql" and "id" in table.c:
                # The rows have ids already, so the sequence for new ids is still at its beginning.
                connection.execute(
                    text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :last)"),
                    {"name": name, "last": max((row["id"] for row in found), default=0) + 1},
                )
    engine.dispose()
    return rows


def main(arguments: list[str]) -> int:
    url = database_url(read_json(DIRECTORY / "config.json"), read_json(DIRECTORY / "secrets.json"), STATE)
    try:
        if arguments == ["dump"]:
            print(f"{dump(url, sys.stdout)} rows written", file=sys.stderr)
        elif arguments == ["load"]:
            print(f"{load(url, sys.stdin)} rows loaded", file=sys.stderr)
        else:
            print("usage: python -m carrel_hub.database dump | load", file=sys.stderr)
            return 2
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Unusable as error:
        sys.exit(str(error))
