# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A JupyterHub with DockerSpawner that somebody set up by hand, as a hub's entry in the inventory.

The layout is jupyterhub-deploy-docker's: the hub is a container, its database is in a volume, and each user has one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._adopt import address, lab
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.shorten import some
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.escape import escape, username_problem
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.passwords import is_bcrypt
from ansible_collections.carrel.jupyter.plugins.module_utils._site.hub_images import JUPYTERHUB

_PREFIX = "jupyterhub-user-"
_IMAGE, _FOLDER, _USER = "DOCKER_NOTEBOOK_IMAGE", "DOCKER_NOTEBOOK_DIR", lab.USER
_HOME = "/home/jovyan/work"
_PORT = 8000  # the container's, of JupyterHub and of its proxy
_TLS = 443
_ANONYMOUS = re.compile(r"[0-9a-f]{64}")  # Docker's own names, of volumes that end with their container
_NAMES = 10  # are shown in a note


class Reference(str):
    """A template with a place in the secrets' file. All other text was read from the host."""


def describe(
    name: str, container: Mapping[str, Any], engine: Mapping[str, Any], host: Mapping[str, Any], secrets: str
) -> lab.Found:
    """HOST is the survey, SECRETS the variable with secrets. Raises lab.Refusal and UnknownAddressError."""
    database = container["database"]
    if database is None:
        raise lab.Refusal(
            "no folder or volume of it has a jupyterhub.sqlite, so its people are not known: declare a new hub beside "
            "it, and copy people's files (docs/howto/adopt.md)"
        )
    if database["others"]:
        paths = ", ".join([database["path"], *database["others"]])
        raise lab.Refusal(
            f"its folders have several databases, {paths}: move away those that its configuration does not name "
            "(db_url), and adopt again"
        )
    if database["problem"]:
        raise lab.Refusal(f"{database['problem']}; stop the hub, and adopt again")
    if not container["ports"]:
        raise lab.Refusal("it publishes no port of the host: publish its port in the compose file, and adopt again")
    notes = [*_stale(container, database)]
    servers = [other for other in engine["containers"] if lab.is_persons(other)]
    base = next((path for path in (one["environment"].get("JUPYTERHUB_BASE_URL") for one in servers) if path), None)
    published = lab.port_of(container, host, _PORT, "the hub")
    where = address.find(container, published, base, host, notes)
    image = container["environment"].get(_IMAGE) or _usual([one["image"] for one in servers])
    if not image:
        raise lab.Refusal("the image of people's servers is not known: start a server, and adopt again")
    home = container["environment"].get(_FOLDER) or _mounted_home(servers) or _HOME
    people, hashes = _people(database, secrets, name, notes)
    entry: dict[str, Any] = {
        "name": name, "kind": "hub", "url": where.url, "image": lab.usable(image), "tls": where.tls,
    }  # fmt: skip
    if published["host"] == _TLS and not where.sites:
        entry["url"], entry["tls"] = f"https://{host['hostname']}/", "selfsigned"
        notes.append("it had its own certificate: write tls with the certificate's files, or acme")
    elif where.port is not None:
        entry["port"] = where.port
    if not container["running"]:
        entry["state"] = "held"
        notes.append("it is stopped, so it is declared with state: held; write present to start it")
    if home.rstrip("/") != _HOME:
        entry["home"] = home
    limits = _limits(servers)
    if limits:
        entry["limits"] = limits
    notes.append(_source(database))
    if database["accounts"] is None:
        notes.append(
            "its database has no passwords, so people logged in elsewhere: write authenticator with that provider "
            "(docs/howto/authenticators.md), and people's names as it has them"
        )
    entry["users"] = people
    homes = _homes([person["name"] for person in people], home, servers, engine["volumes"], notes)
    notes += _not_read(container, image, servers, engine["account"])
    found = [*where.sites, *_jobs(container, host, notes)]
    shared = {file["path"] for file in found if file["shared"]}
    old = {
        "hub": name, "account": engine["account"], "container": container["name"], "port": published["host"],
        "homes": [{"user": user, "source": source} for user, source in homes.items()],
        "files": sorted({file["path"] for file in found} - shared), "shared": sorted(shared),
    }  # fmt: skip
    return lab.Found(entry, {"password_hashes": hashes} if hashes else {}, old, notes)


def _stale(container: Mapping[str, Any], database: Mapping[str, Any]) -> Iterator[str]:
    if container["running"] and database["written"] < container["started"]:
        yield (
            f"WARNING: {database['path']} was last written before the running hub was started ({_date(database)}): if "
            "it has another database by now, people, admins and passwords are old ones, so look at its configuration "
            "(db_url) first"
        )


def _source(database: Mapping[str, Any]) -> str:
    source = f"were read from {database['path']}, last written {_date(database)}"
    look = (
        "look whether its configuration has this database (db_url), else remove users and write those of the other one"
    )
    if database["accounts"] is None:
        return f"people {source}: {look}"
    return (
        f"people and passwords {source}: {look}; and whether people still log in with these passwords "
        "(authenticator_class), else remove password from users, or old ones work again"
    )


def _date(database: Mapping[str, Any]) -> str:
    return f"{datetime.fromtimestamp(database['written'], timezone.utc):%Y-%m-%d %H:%M} UTC"


def _usual(images: Sequence[str]) -> str | None:
    return max(images, key=images.count) if images else None


def _jobs(container: Mapping[str, Any], host: Mapping[str, Any], notes: list[str]) -> list[dict[str, Any]]:
    """The jobs of cron that start it again."""
    folder = container["directory"]
    jobs = [
        {**job, "shared": job["shared"] or {*job["projects"]} != {folder}}
        for job in host["cron"]
        if folder in job["projects"]
    ]
    if jobs:
        paths = ", ".join(dict.fromkeys(job["path"] for job in jobs))
        notes.append(f"{paths} starts it again, and ends: write reset for a nightly one")
    return jobs


def _limits(servers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Limits that all servers have."""
    found: dict[str, Any] = {}
    if len({(one["memory"], one["cpus"]) for one in servers}) == 1:
        if servers[0]["memory"]:
            found["memory"] = f"{servers[0]['memory'] >> 20}M"
        if servers[0]["cpus"]:
            found["cpus"] = servers[0]["cpus"]
    return found


def _people(
    database: Mapping[str, Any], secrets: str, hub: str, notes: list[str]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The users, and the hashes of their passwords by escaped name, which no template can escape from."""
    native = database["accounts"] is not None
    accounts = {account["name"]: account for account in database["accounts"] or []}
    known = {user["name"]: user["admin"] for user in database["users"]}
    waiting = [name for name, account in accounts.items() if not account["authorized"] and name not in known]
    people, hashes, refused = [], {}, []
    for name in sorted({*known, *accounts} - {*waiting}):
        if username_problem(name) or (native and {",", " "} & set(name)):
            refused.append(name)
            continue
        account = accounts.get(name)
        person: dict[str, Any] = {"name": name}
        if known.get(name):
            person["admin"] = True
        if account and is_bcrypt(account["hash"]):
            hashes[escape(name)] = account["hash"]
            person["password"] = Reference(f"{{{{ {secrets}['{hub}'].password_hashes['{escape(name)}'] }}}}")
        if account and not account["authorized"]:
            person["state"] = "held"
        people.append(person)
    without = [person["name"] for person in people if native and "password" not in person]
    second = [name for name, account in accounts.items() if account["second_factor"]]
    for names, text in (
        (refused, "have names that are refused here, so they are left out: give them others"),
        (waiting, "have signed up and were not approved, so they are left out"),
        (without, "have no password, so they cannot log in: write one, or signup: true and invite them"),
        (second, "had a second factor, which a hub here does not ask for: their password is enough"),
    ):
        if names:
            notes.append(f"{some(names, _NAMES)} {text}")
    if native:
        notes.append(
            "nobody can sign up: write authenticator: {type: native, signup: true} if people may, and an admin "
            "approves them then"
        )
    return people, hashes


def _mounted_home(servers: Sequence[Mapping[str, Any]]) -> str | None:
    """Where all running servers have their users' volumes, if that is one place."""
    targets = {
        mount["target"].rstrip("/")
        for server in servers
        for mount in server["mounts"]
        if mount["name"].startswith(_PREFIX)
    }
    return targets.pop() if len(targets) == 1 else None


def _homes(
    people: Sequence[str],
    home: str,
    servers: Sequence[Mapping[str, Any]],
    volumes: Sequence[Mapping[str, str]],
    notes: list[str],
) -> dict[str, str]:
    """The folder with each user's files: what a server has, else the volume that DockerSpawner names after the user."""
    named = {volume["name"]: volume["source"] for volume in volumes}
    seen, passing = {}, []
    for server in servers:
        for mount in server["mounts"]:
            if mount["target"].rstrip("/") == home.rstrip("/") and mount["source"]:
                user, volume = server["environment"][_USER], mount["name"]
                if not volume or (volume in named and not _ANONYMOUS.fullmatch(volume)):
                    seen[user] = mount["source"]
                elif user in people:
                    passing.append(f"{user} ({volume})")
    if passing:
        notes.append(
            f"servers have volumes at {home} that have no name of their own, or another driver or options, so they are "
            f"not copied: copy what is in them yourself before the servers end: {some(passing, _NAMES)}"
        )
    found, without = {}, []
    for name in people:
        source = seen.get(name) or named.get(f"{_PREFIX}{escape(name)}")
        if source:
            found[name] = source
        else:
            without.append(name)
    if without:
        notes.append(f"{some(without, _NAMES)} have no volume {_PREFIX}NAME, so none of their files were found")
    others = [name for name, source in named.items() if name.startswith(_PREFIX) and source not in found.values()]
    if others:
        notes.append(f"volumes of nobody who is listed: {some(others, _NAMES)}")
    return found


def _not_read(
    container: Mapping[str, Any], image: str, servers: Sequence[Mapping[str, Any]], account: str | None
) -> Iterator[str]:
    files = [
        mount["source"]
        for mount in container["mounts"]
        if mount["target"].endswith("jupyterhub_config.py") and mount["source"]
    ]
    yield (
        f"its configuration{' ' if files else ''}{', '.join(files)} is Python, and was not read: look there for "
        "groups, services, limits, the idle culler, further images and folders, and who is allowed or blocked, and "
        "write them into the inventory"
    )
    yield (
        f"the hub here is JupyterHub {JUPYTERHUB}, and the site playbook refuses an image with another one: look "
        f"{f'as {account} ' if account else ''}with `docker run --rm --network none --cap-drop ALL --user 65534 "
        f"--entrypoint jupyterhub {image} --version` before the old hub ends"
    )
    images = sorted({one["image"] for one in servers})
    if len(images) > 1:
        yield f"people's servers have several images, so write images: {', '.join(images)}"
    shared = sorted({f"{mount['name'] or mount['source']} at {mount['target']}" for mount in _shared(servers)})
    if shared:
        yield f"people's servers also have {', '.join(shared)}: copy it, and write groups or shared"


def _shared(servers: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """What more than one server has."""
    sources = [mount["source"] for server in servers for mount in server["mounts"]]
    return (mount for server in servers for mount in server["mounts"] if sources.count(mount["source"]) > 1)
