# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hub's database: dump it before its files are read, and try the dump in a drill."""

from __future__ import annotations

import os
import secrets
import time
from typing import Any

from . import containers, targets
from .commands import CommandError
from .run import BackupError, Run

USER = "jupyterhub"
START_SECONDS = 120
SQLITE = "jupyterhub.sqlite"
POSTGRESQL = "jupyterhub.pgdump"
TYPES = {SQLITE: "sqlite", POSTGRESQL: "postgresql"}


def dump(run: Run, record: dict[str, Any]) -> str | None:
    """Dump the database into stage/database; return the file's name, None if there is nothing to dump.

    Without a dump, the database's own files are backed up as they are, with a warning.
    """
    folder = f"{run.stage}/database"
    os.mkdir(folder, 0o711)
    kind = record.get("database") if run.settings.kind == "hub" else None
    try:
        if kind == "sqlite":
            run.own(folder)
            run.inside("sqlite", f"{run.settings.directory}/data/hub/{SQLITE}", f"{folder}/{SQLITE}")
            return SQLITE
        if kind == "postgresql":
            # The account gets the folder only afterwards: root does not write in a folder of the account's.
            container = run.database_container()
            if container is not None:
                target = f"{folder}/{POSTGRESQL}"
                run.docker("exec", container, "pg_dump", "--username", USER, "--format=custom", USER, target=target)
                return POSTGRESQL
            said = "the database's server is stopped; its files are backed up as they are, without a dump"
            if record.get("state") == "held":  # it was stopped on purpose, and nothing is missing
                run.step("database", said)
            else:
                run.warn(said)
    except (CommandError, OSError) as error:
        run.warn(f"the database was not dumped, and its files are backed up as they are: {error}")
    finally:
        run.own(folder)
    return None


def check_type(run: Run, then: str | None) -> None:
    """Refuse a database that the hub would not use: it would begin with an empty one, or keep that of now."""
    now = run.record().get("database") if run.settings.kind == "hub" else None
    if then and now and then != now:
        raise BackupError(
            f"the snapshot's database is {then}, and that of {run.settings.name} is {now}: set database: {then} in the"
            " inventory, run the site playbook and restore again; or restore only files (--user, --group, --path)"
        )


def server(run: Run) -> str:
    """The container of the hub's PostgreSQL, also if it is stopped. Raises BackupError."""
    if containers.listens(run.settings.socket):
        project = f"label=com.docker.compose.project={run.settings.name}"
        found = run.containers(project, "label=com.docker.compose.service=database", running=False)
        if found:
            return found[0]["ID"]
    raise BackupError(
        f"{run.settings.name} has no server that could load the database's dump: set state: present in the inventory,"
        " run the site playbook and restore again; or restore only files (--user, --group, --path)"
    )


def drill_postgresql(run: Run, dumped: str) -> None:
    """Load a dump into a temporary database, and drop it."""
    container = run.database_container()
    if container is None:
        run.warn("the database's server is stopped: its dump was not loaded")
        return
    name = f"drill_{secrets.token_hex(4)}"
    run.docker("exec", container, "createdb", "--username", USER, name)
    try:
        load(run, container, dumped, name)
    finally:
        run.docker("exec", container, "dropdb", "--username", USER, "--force", name)


def load(run: Run, container: str, dumped: str, name: str, *options: str) -> None:
    descriptor = targets.opened(dumped, os.O_RDONLY)
    try:
        run.docker(
            "exec", "--interactive", container, "pg_restore", "--username", USER, "--dbname", name,
            "--exit-on-error", "--single-transaction", *options, stdin=descriptor,
        )  # fmt: skip
    finally:
        os.close(descriptor)


def wait(run: Run, container: str) -> None:
    """Wait until the server answers over TCP; the temporary server of a first start does not listen there."""
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            run.docker("exec", container, "pg_isready", "--host", "127.0.0.1", "--username", USER)
            return
        except CommandError:
            if time.monotonic() > end:
                raise
            time.sleep(1)
