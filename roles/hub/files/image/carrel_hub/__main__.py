# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait for the database, load the content of another database into it if there is any, and become JupyterHub."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from docker.errors import DockerException
from requests import RequestException
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from . import database, egress, networks, provider_groups
from .config import database_url
from .files import DIRECTORY, STATE, Unusable, read_json
from .people import read_roster

SECONDS = 2.0
SWITCH = "switch.json"


def say(text: str) -> None:
    print(f"hub: {text}", file=sys.stderr, flush=True)


def wait_for(url: str) -> None:
    engine = create_engine(url)
    while True:
        try:
            with engine.connect():
                break
        except OperationalError as error:
            reason = str(error.orig).strip().splitlines()[0]
            say(f"waiting for the database, which does not answer: {reason}")
            time.sleep(SECONDS)
    engine.dispose()


def take_over(url: str) -> None:
    """Load the copy that `carrel_hub.database dump` wrote when the inventory changed the database."""
    path = STATE / SWITCH
    if path.exists():
        with path.open(encoding="utf-8") as stream:
            rows = database.load(url, stream)
        path.chmod(0o600)
        path.replace(STATE / "switched.json")
        say(f"took {rows} rows over from the database that was used before")


def limits(config: Mapping[str, Any]) -> set[egress.Limit]:
    """Return the hub's limit, and those of all members of groups, so that changes also count for servers that run."""
    groups = config["group_egress"]
    members = provider_groups.by_person(read_roster(), provider_groups.ever()).values() if groups else ()
    return {egress.limit(config), *(egress.limit(config, groups) for groups in members)}


def main() -> NoReturn:
    config, secrets = read_json(DIRECTORY / "config.json"), read_json(DIRECTORY / "secrets.json")
    url = database_url(config, secrets, STATE)
    wait_for(url)
    take_over(url)
    networks.work(config["name"], lambda ours: ours.limit(limits(config)))
    # JupyterHub stops servers that it cannot reach.
    networks.work(config["name"], networks.Networks.settle)
    program = Path(__file__).parents[1] / "bin" / "jupyterhub_config.py"
    os.execvp("jupyterhub", ["jupyterhub", "-f", str(program), *sys.argv[1:]])  # noqa: S606


if __name__ == "__main__":
    try:
        main()
    except (Unusable, database.Refused, networks.NoNetwork, DockerException, RequestException) as error:
        say(str(error))
        sys.exit(1)
