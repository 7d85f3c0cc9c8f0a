# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a lab on its host: directories, the server's settings, the environment, the compose project."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._engine import egress
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.ids import mapped_id
from ansible_collections.carrel.jupyter.plugins.module_utils._shared import disk, limits
from ansible_collections.carrel.jupyter.plugins.module_utils._site import container, deployed, server_settings
from ansible_collections.carrel.jupyter.plugins.module_utils._site.compose import (
    bind,
    container_owner,
    devices,
    dotenv,
    escaped,
    guards,
    healthcheck,
    record,
)

# One of the two runs. In a reset the other one takes over.
SERVICES = {"lab-1": "port", "lab-2": "second_port"}
CONTAINER_PORT = 8888
CONFIG_DIRECTORY = "/etc/carrel"
HEALTHCHECK = "healthcheck.py"


def project(instance: Mapping[str, Any], engine: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that the role writes for an instance.

    `instance` is an entry of `lab_instances`, `engine` one of instance_info's `engines`, `image` the result of
    lab_image_info. The result has the keys `server_owner` and `server_group` (mapped ids), `directories`, `limits` (of
    their sizes), `settings` (of jupyter_server), `environment`, `compose` and `unenforceable` (limits).
    """
    uid, gid = container_owner(instance, image)
    owner = mapped_id(uid, engine["uid"], **engine["subuid"])
    group = mapped_id(gid, engine["gid"], **engine["subgid"])
    return {
        "server_owner": mapped_id(image["uid"], engine["uid"], **engine["subuid"]),
        "server_group": mapped_id(image["gid"], engine["gid"], **engine["subgid"]),
        "directories": _directories(instance, owner, group),
        "limits": [{"paths": _leaves(instance), "bytes": instance["limits"].get("disk") or 0}],
        "settings": settings(instance, image),
        "environment": environment(instance),
        "compose": compose(instance, image, engine["controllers"]),
        "unenforceable": limits.unenforceable(instance["limits"], engine["controllers"]),
    }


def _directories(instance: Mapping[str, Any], owner: int, group: int) -> list[dict[str, Any]]:
    """Return the directories. Parents belong to root, and others can only pass. Leaves belong to the mapped id."""
    root = instance["directory"]
    parents = [
        (root, "0711"),
        (f"{root}/data", "0711"),
        (f"{root}/server", "0755"),
        (f"{root}/server/labconfig", "0755"),
    ]
    return [{"path": path, "owner": 0, "group": 0, "mode": mode} for path, mode in parents] + [
        {"path": path, "owner": owner, "group": group, "mode": "0750"} for path in _leaves(instance)
    ]


def _leaves(instance: Mapping[str, Any]) -> list[str]:
    return [f"{instance['directory']}/data/{name}" for name in ("notebooks", *instance["persist"])]


def settings(instance: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, Any]:
    """Return the traits of jupyter_server, for its configuration file.

    trust_xheaders and allow_remote_access: Apache sets X-Forwarded-Proto and keeps the Host
    (https://jupyter-server.readthedocs.io/en/latest/operators/public-server.html). Each instance has another name for
    its cookie: a server below a path also clears the log-in cookie at /, which may be another lab's
    (jupyter_server.auth.identity, clear_login_cookie). 1.x reads the name from tornado's settings.
    """
    cookie = f"username-{instance['name']}"
    server: dict[str, Any] = {
        "allow_remote_access": True,
        "base_url": instance["base_url"],
        # This file outlives the container, so log-ins do, too.
        "cookie_secret_file": f"{CONFIG_DIRECTORY}/cookie_secret",
        "custom_display_url": instance["url"],
        "ip": "0.0.0.0",  # noqa: S104 - inside the container, whose port is published on 127.0.0.1 alone
        "open_browser": False,
        "port": CONTAINER_PORT,
        "port_retries": 0,
        # JupyterLab has Log Out only together with Shut Down. labconfig hides the latter.
        "quit_button": True,
        "root_dir": instance["notebooks"],
        "shutdown_no_activity_timeout": instance["idle_shutdown_seconds"],
        "tornado_settings": {"cookie_name": cookie},
        "trust_xheaders": True,
    }
    if image["uid"] == 0:
        server["allow_root"] = True
    traits: dict[str, Any] = {"ServerApp": server, "IdentityProvider": {"cookie_name": cookie}}
    if instance["collaboration"] is not None:
        traits["YDocExtension"] = {"disable_rtc": not instance["collaboration"]}
    return server_settings.merged(instance["server_settings"], traits)


def environment(instance: Mapping[str, Any]) -> dict[str, str]:
    """Return the container's environment: variables for images like Carto-Lab's, and the administrator's own."""
    variables = {**disk.ENVIRONMENT, "JUPYTER_AUTOSHUTDOWN_TIMEOUT": str(instance["idle_shutdown_seconds"])}
    if instance["collaboration"] is not None:
        variables["COLLABORATIVE"] = str(instance["collaboration"]).lower()
    return {**variables, **instance["environment"], "JUPYTER_CONFIG_PATH": CONFIG_DIRECTORY}


def compose(instance: Mapping[str, Any], image: Mapping[str, Any], controllers: Collection[str]) -> dict[str, Any]:
    """Return the compose project, with the limits that the control group can enforce.

    The label `carrel.python` names the Python for the programs beside the server's configuration.
    """
    root = instance["directory"]
    service: dict[str, Any] = {
        **guards(instance, image["uid"] == 0),
        **limits.in_compose(instance["limits"], controllers),
        **devices(instance["devices"]),
        **egress.in_compose(instance["egress"]),
        "image": image["image"],
        "pull_policy": "never",
        "hostname": instance["name"],
        "restart": "unless-stopped",
        "env_file": [".env"],
        "labels": {"carrel.instance": instance["name"], "carrel.python": image["python"]},
        "volumes": _volumes(instance),
        "healthcheck": healthcheck(
            ["CMD", image["python"], f"{CONFIG_DIRECTORY}/{HEALTHCHECK}", instance["base_url"]],
            instance["start_timeout_seconds"],
        ),
    }
    optional = {"user": instance["user"], "command": instance["command"]}
    service.update({key: value for key, value in optional.items() if value is not None})
    service["volumes"].append(bind(f"{root}/server", CONFIG_DIRECTORY, True))
    services = {
        name: {**service, "ports": [f"127.0.0.1:{instance[port]}:{CONTAINER_PORT}"]} for name, port in SERVICES.items()
    }
    project: dict[str, Any] = escaped({"name": instance["name"], "services": services})
    return project


def labelled(decided: Mapping[str, Any], server_config: str) -> dict[str, Any]:
    """Return the project with labels that make compose recreate the container when they change.

    SERVER_CONFIG is the checksum of the server's configuration, which a server reads only when it starts.
    """
    text = dotenv(decided["environment"])
    services = {}
    for name, service in decided["compose"]["services"].items():
        made_of = container.made_of(service, text)
        labels = {**service["labels"], deployed.SERVER_CONFIG: server_config, container.MADE_OF: made_of}
        services[name] = {**service, "labels": labels}
    return {**decided["compose"], "services": services}


def files(
    instance: Mapping[str, Any],
    engine: Mapping[str, Any],
    decided: Mapping[str, Any],
    server_config: str,
    programs: Mapping[str, str],
) -> dict[str, Any]:
    """Return what install_files writes, without the directories. PROGRAMS are the role's files by their name in server.

    The compose project is JSON, which is also YAML.
    """
    root = instance["directory"]
    compose_text = json.dumps(labelled(decided, server_config), indent=2, ensure_ascii=False) + "\n"
    wanted = {
        "files": [
            *({"path": f"{root}/server/{name}", "content": text} for name, text in programs.items()),
            {"path": f"{root}/server/smoke.json", "content": smoke(instance)},
            {"path": f"{root}/.env", "group": engine["gid"], "mode": "0640"},
            {"path": f"{root}/compose.yaml", "content": compose_text, "group": engine["gid"], "mode": "0640"},
        ],
        "secret_contents": {f"{root}/.env": dotenv(decided["environment"])},
    }
    record_path = f"/var/lib/carrel/{instance['name']}/instance.json"
    return deployed.described(instance["name"], wanted, {"path": record_path, "content": lab_record(instance)})


def smoke(instance: Mapping[str, Any]) -> str:
    """Return what smoke.py reads in the container."""
    return json.dumps({"seconds": instance["smoke_timeout_seconds"], "notebooks": instance["smoke"]}, indent=1) + "\n"


def server_options(
    instance: Mapping[str, Any], engine: Mapping[str, Any], decided: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options of the module server_config, for the role and the comparison."""
    directory = f"{instance['directory']}/server"
    return {
        "path": f"{directory}/jupyter_server_config.json",
        "settings": decided["settings"],
        "password": instance["password"],
        "token": instance["token"],
        "token_file": instance["token_file"],
        "cookie_secret_file": f"{directory}/cookie_secret",
        "owner": decided["server_owner"],
        "group": decided["server_group"],
        "account_owner": engine["uid"],
        "account_group": engine["gid"],
    }


def lab_record(instance: Mapping[str, Any]) -> str:
    """Return /var/lib/carrel/NAME/instance.json."""
    return record("lab", instance, second_port=instance["second_port"], token_file=instance["token_file"])


def _volumes(instance: Mapping[str, Any]) -> list[dict[str, Any]]:
    data = f"{instance['directory']}/data"
    own = {"notebooks": instance["notebooks"], **instance["persist"]}
    return [bind(f"{data}/{name}", target, False) for name, target in own.items()] + [
        bind(volume["source"], volume["target"], volume["read_only"]) for volume in instance["volumes"]
    ]
