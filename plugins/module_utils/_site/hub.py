# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a hub on its host: directories, the files that its programs read, the compose project."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import json_text
from ansible_collections.carrel.jupyter.plugins.module_utils._shared import limits
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.login_page import (
    notice_from_html,
    notice_from_text,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._site import backup, container, deployed
from ansible_collections.carrel.jupyter.plugins.module_utils._site.compose import (
    bind,
    container_owner,
    escaped,
    guards,
    healthcheck,
    record,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._site.hub_images import overrides

HUB_DIRECTORY = "/etc/carrel/hub"
STATE_DIRECTORY = "/srv/jupyterhub"
BACKUPS = "/run/carrel-backups"  # in the container: the folder with the socket for users' backups
DATABASE_DIRECTORY = "/var/lib/postgresql/data"
DATABASE_PASSWORD = "/run/database-password"  # noqa: S105 - a path
DATABASE_USER = "jupyterhub"
# All of Jupyter's programs read this file. Images do not have it: they use jupyter_server_config and similar names.
SERVER_CONFIG = ("jupyter_config.py", "/etc/jupyter/jupyter_config.py")
# JUPYTER_CONFIG_PATH names this folder, so it comes before those of the image and the user.
SERVER_SETTINGS = ("server_settings.json", "/etc/carrel/jupyter_server_config.json")
LOGIN_PAGES = ("login.html", "native-login.html")
# The hub and the proxy, which have the same image, need no capability.
_HARDENED = {"cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
# PostgreSQL's image starts as root, changes the owner of its directory to postgres, and becomes this account.
_BECOMES_POSTGRES = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"]
_AS_DECLARED = (
    "name", "url", "base_url", "images", "command", "home", "limits", "authenticator", "devices",
    "gpu_devices",
    "normalize_usernames", "culler", "shutdown_on_logout", "default_url", "concurrent_spawns", "active_servers",
    "spawn_timeout_seconds", "http_timeout_seconds", "extra_config", "services", "backups",
    "user_domains", "sharing", "egress", "group_egress",
)  # fmt: skip


def project(
    instance: Mapping[str, Any], engine: Mapping[str, Any], images: Sequence[Mapping[str, Any]], hub_image: str
) -> dict[str, Any]:
    """Return everything that the role writes for an instance.

    `instance` is an entry of `hub_instances`, `engine` one of instance_info's `engines`. `images` are the results of
    lab_image_info for the instance's images; hub_images.problems must have found no problem in them.
    """
    uid, gid = container_owner(instance, images[0])
    config_text = json_text(config(instance, engine, images))
    config_path = f"{instance['directory']}/hub/config.json"
    optional = _optional_files(instance, images)
    return {
        "uid": uid,
        "gid": gid,
        "directories": _directories(instance, engine),
        "users": [
            *(
                {"name": user["name"], "identity": user["identity"], "state": "present", "disk": user.get("disk")}
                for user in instance["users"]
            ),
            *({**user, "state": "held", "disk": None} for user in instance.get("held_users", [])),
        ],
        "user_directories": [{"name": name, "mode": "0700"} for name in _kept(instance)],
        **people(instance),
        "config": config_text,
        "files": [
            {"path": config_path, "group": engine["gid"], "mode": "0640"},
            *({"path": path, "content": text} for path, text in optional.items() if text is not None),
        ],
        # Variables are often secret, so the diff shows neither the new file nor the old one.
        "secret_contents": {config_path: config_text},
        "absent": [path for path, text in optional.items() if text is None],
        "compose": compose(instance, engine, hub_image),
        "unenforceable": unenforceable(instance, engine),
    }


def people(instance: Mapping[str, Any]) -> dict[str, Any]:
    """Return who may use the hub, and what they get. This does not depend on images."""
    named = instance["backend"] == "volumes"
    return {
        "members": [{"name": user["name"], "groups": [], "admin": user["admin"]} for user in instance["users"]],
        "user_mounts": [] if named else [{"name": name, "target": path} for name, path in _kept(instance).items()],
        "passwords": {user["name"]: user["password"] for user in instance["users"] if user["password"] is not None},
        "roster": json_text(roster(instance)),
    }


def _kept(instance: Mapping[str, Any]) -> dict[str, str]:
    """Return the folders that each user has: name, and path in the container."""
    return {"home": instance["home"], **instance["persist"]}


def _optional_files(instance: Mapping[str, Any], images: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    """Return files by path. None means that the file must not exist."""
    directory = f"{instance['directory']}/hub"
    settings = overrides(instance, images)
    page = "native-login.html" if instance["authenticator"]["type"] == "native" else "login.html"
    pages = {name: instance["login"]["template"] if name == page else None for name in LOGIN_PAGES}
    server = instance["server_settings"]
    return {
        f"{directory}/{SERVER_SETTINGS[0]}": json_text(server) if server else None,
        f"{directory}/overrides.json": None if settings is None else json_text(settings),
        **{f"{directory}/templates/{name}": text for name, text in pages.items()},
    }


def unenforceable(instance: Mapping[str, Any], engine: Mapping[str, Any]) -> list[str]:
    """Return limits of users that the engine's control group cannot enforce."""
    declared = [instance["limits"], *instance["users"]]
    some = {name: next(filter(None, (each[name] for each in declared)), None) for name in limits.CONTROLLERS}
    return limits.unenforceable(some, engine["controllers"])


def _directories(instance: Mapping[str, Any], engine: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the directories. Parents belong to root, leaves to the account, which is the hub's user (container id 0).

    The database's server has another id and must be able to pass. Its files are one directory below, which is closed.
    """
    root = instance["directory"]
    account = {"owner": engine["uid"], "group": engine["gid"]}
    directories = [
        {"path": root, "mode": "0711"},
        {"path": f"{root}/data", "mode": "0711"},
        {"path": f"{root}/hub", "group": engine["gid"], "mode": "0750"},
        {"path": f"{root}/hub/templates", "mode": "0755"},
        {"path": f"{root}/data/hub", "mode": "0700", **account},
    ]
    if instance["backups"]:
        directories += backup.page_directories(instance["name"], engine["gid"])
    if instance["database"]["type"] == "postgresql":
        directories.append({"path": f"{root}/data/database", "mode": "0711", **account})
    return directories


def config(
    instance: Mapping[str, Any], engine: Mapping[str, Any], images: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return config.json, which the package carrel_hub in the hub's image reads."""
    named = instance["backend"] == "volumes"
    settings = {
        "source": f"{instance['directory']}/hub/overrides.json",
        "target": f"{(images[0]['jupyterlab'] or {}).get('settings')}/overrides.json",
        "read_only": True,
    }
    files = [SERVER_CONFIG, *([SERVER_SETTINGS] if instance["server_settings"] else [])]
    server = [
        {"source": f"{instance['directory']}/hub/{name}", "target": target, "read_only": True} for name, target in files
    ]
    database: dict[str, Any] = {"type": instance["database"]["type"]}
    if database["type"] == "postgresql":
        database.update(host="database", name=DATABASE_USER, user=DATABASE_USER)
    return {
        "version": 1,
        **{key: instance[key] for key in _AS_DECLARED},
        "network": f"{instance['name']}_users",
        "volumes": [{"name": name, "target": path} for name, path in _kept(instance).items()] if named else [],
        "environment": environment(instance),
        "mounts": [*server, *([] if overrides(instance, images) is None else [settings])],
        "group_servers": {user["server_of"]: user["name"] for user in instance["users"] if user["server_of"]},
        "provider_groups": sorted({name for names in instance["provider_groups"].values() for name in names}),
        "controllers": sorted(engine["controllers"]),
        # docker-py's options for every user's container, without limits.
        "host_config": guards(instance, any(image["uid"] == 0 for image in images)),
        "notice_html": _notice(instance["login"]),
        "database": database,
    }


def environment(instance: Mapping[str, Any]) -> dict[str, str]:
    variables = dict(instance["environment"])
    if instance["server_settings"]:
        own = variables.get("JUPYTER_CONFIG_PATH")
        variables["JUPYTER_CONFIG_PATH"] = ":".join([posixpath.dirname(SERVER_SETTINGS[1]), *([own] if own else [])])
    return variables


def _notice(login: Mapping[str, Any]) -> str | None:
    if login["notice"] is not None:
        return notice_from_text(login["notice"])
    return None if login["notice_html"] is None else notice_from_html(login["notice_html"])


def roster(instance: Mapping[str, Any]) -> dict[str, Any]:
    """Return roster.json: who may log in, their limits and their groups."""
    keys = ("identity", "admin", *instance["limits"])
    return {
        "version": 1,
        "users": {
            user["name"]: {key: user[key] for key in (*keys, *(["server_of"] if user["server_of"] else []))}
            for user in instance["users"]
        },
        "blocked": sorted(instance["blocked_users"]),
        "groups": {group["name"]: sorted({*group["members"], *group["admins"]}) for group in instance["groups"]},
        "provider_groups": instance["provider_groups"],
    }


def has_own_parts(instance: Mapping[str, Any]) -> bool:
    """Whether the hub's image must check something before anything is replaced."""
    authenticator = instance["authenticator"]
    each = authenticator.get("each", [authenticator])
    traits = [one.get(key) for one in each for key in ("class", "settings", "secret_settings")]
    return any([instance["extra_config"], instance["services"], *traits])


def compose(instance: Mapping[str, Any], engine: Mapping[str, Any], hub_image: str) -> dict[str, Any]:
    """Return the compose project; `labelled` completes it."""
    services = {
        "hub": _hub(instance, engine, hub_image),
        "proxy": _proxy(instance, hub_image),
    }
    if instance["database"]["type"] == "postgresql":
        services["database"] = _database(instance)
        services["hub"]["depends_on"]["database"] = {"condition": "service_healthy"}
    common = {**_HARDENED, **limits.in_compose({}, engine["controllers"])}
    project: dict[str, Any] = escaped(
        {
            "name": instance["name"],
            "services": {
                name: {"pull_policy": "never", "restart": "unless-stopped", **common, **service}
                for name, service in services.items()
            },
            "networks": {
                "users": {"name": f"{instance['name']}_users"},
                "private": {"name": f"{instance['name']}_private", "internal": True},
            },
        }
    )
    return project


def _hub(instance: Mapping[str, Any], engine: Mapping[str, Any], image: str) -> dict[str, Any]:
    root = instance["directory"]
    return {
        "image": image,
        "networks": ["users", "private"],
        "depends_on": {"proxy": {"condition": "service_started"}},
        "volumes": [
            bind(f"{root}/hub", HUB_DIRECTORY, True),
            bind(f"{root}/data/hub", STATE_DIRECTORY, False),
            bind(engine["socket"], "/var/run/docker.sock", False),
            *([bind(backup.PAGE_DIRECTORY.format(instance["name"]), BACKUPS, True)] if instance["backups"] else []),
        ],
        "healthcheck": healthcheck(
            ["CMD", "python3", "-m", "carrel_hub.healthcheck"], instance["start_timeout_seconds"]
        ),
    }


def _proxy(instance: Mapping[str, Any], image: str) -> dict[str, Any]:
    """Return the proxy's service. It answers at /_chp_healthz without any route (lib/configproxy.js)."""
    ask = (
        "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=5);"
        " c.request('GET', '/_chp_healthz'); raise SystemExit(c.getresponse().status != 200)"
    )
    return {
        "image": image,
        "command": ["proxy", *(["--host-routing"] if instance["user_domains"] else [])],
        "user": "65534:65534",
        "read_only": True,
        "env_file": ["proxy.env"],
        # As much as tornado accepts behind the proxy. Many open tabs need a good part of it.
        "environment": {
            "CARREL_BASE_URL": instance["base_url"],
            "CARREL_NETWORK": f"{instance['name']}_users",
            "NODE_OPTIONS": "--max-http-header-size=65536",
        },
        "networks": ["users"],
        "ports": [f"127.0.0.1:{instance['port']}:8000"],
        "healthcheck": healthcheck(["CMD", "python3", "-c", ask], instance["start_timeout_seconds"]),
    }


def _database(instance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the database's service. The check uses TCP: the temporary server of a first start has only a socket."""
    root = instance["directory"]
    return {
        "image": instance["database"]["image"],
        "cap_add": _BECOMES_POSTGRES,
        "networks": ["private"],
        "environment": {
            "PGDATA": f"{DATABASE_DIRECTORY}/pgdata",
            "POSTGRES_DB": DATABASE_USER,
            "POSTGRES_USER": DATABASE_USER,
            "POSTGRES_PASSWORD_FILE": DATABASE_PASSWORD,
        },
        "volumes": [
            bind(f"{root}/data/database", DATABASE_DIRECTORY, False),
            bind(f"{root}/database-password", DATABASE_PASSWORD, True),
        ],
        "stop_grace_period": "60s",
        "healthcheck": healthcheck(
            ["CMD", "pg_isready", "-h", "127.0.0.1", "-U", DATABASE_USER, "-d", DATABASE_USER],
            instance["start_timeout_seconds"],
        ),
    }


def labelled(decided: Mapping[str, Any], secrets: str) -> dict[str, Any]:
    """Return the compose project with labels that recreate the hub's container if config.json or secrets change."""
    checksum = deployed.hub_config(decided["config"], secrets)
    services = {}
    for name, service in decided["compose"]["services"].items():
        labels = {container.MADE_OF: container.made_of(service)}
        services[name] = {**service, "labels": {**labels, deployed.HUB_CONFIG: checksum} if name == "hub" else labels}
    return {**decided["compose"], "services": services}


def files(
    instance: Mapping[str, Any], engine: Mapping[str, Any], decided: Mapping[str, Any], secrets: str, server: str
) -> dict[str, Any]:
    """Return what install_files writes after the directories and secrets. SERVER is the text of jupyter_config.py.

    The compose project is JSON, which is also YAML.
    """
    root = instance["directory"]
    compose_text = json.dumps(labelled(decided, secrets), indent=2, ensure_ascii=False) + "\n"
    wanted = {
        "files": [
            *decided["files"],
            {"path": f"{root}/compose.yaml", "content": compose_text, "group": engine["gid"], "mode": "0640"},
            {"path": f"{root}/hub/{SERVER_CONFIG[0]}", "content": server},
        ],
        "secret_contents": decided["secret_contents"],
        "absent": decided["absent"],
    }
    record_path = f"/var/lib/carrel/{instance['name']}/instance.json"
    record_text = hub_record(instance, instance["database"]["type"])
    return deployed.described(instance["name"], wanted, {"path": record_path, "content": record_text})


def hub_record(instance: Mapping[str, Any], database: str) -> str:
    """Return /var/lib/carrel/NAME/instance.json. DATABASE is the type that the hub really has."""
    return record("hub", instance, database=database, backend=instance["backend"])
